// Charts as SVG. Colours and dashes are classes of page.css: the page's policy forbids styles here.

import { clock, count, duration, element, number, percent, svg } from "./dom.js";

const MARGIN = { left: 52, right: 40, top: 8, bottom: 22 };

/** Round numbers from 0 to at least `top`, some `wanted` of them. */
export function ticks(top, wanted = 4) {
  const power = 10 ** Math.floor(Math.log10(top / wanted));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => top / each <= wanted);
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, i) => i * step);
}

function decades(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.max(first + 1, Math.ceil(Math.log10(high)));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

function frame(width, height, label) {
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

function gridLine(width, y, text) {
  return [
    svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
    svg("text", { class: "tick end", x: MARGIN.left - 6, y: y + 4 }, text),
  ];
}

/** Of values with nulls, the path that skips them; a lone point is a dot of the round line cap. */
function path(xs, ys) {
  let d = "";
  let down = false;
  ys.forEach((y, i) => {
    if (y === null) down = false;
    else {
      d += `${down ? "L" : "M"}${xs[i].toFixed(1)} ${y.toFixed(1)}`;
      const alone = !down && (i + 1 === ys.length || ys[i + 1] === null);
      if (alone) d += "h0.01";
      down = true;
    }
  });
  return d;
}

/** Keeps labels at the lines' ends from lying on each other; lowest value first. */
function spread(labels, gap) {
  const sorted = [...labels].sort((a, b) => b.y - a.y);
  for (let i = 1; i < sorted.length; i++) {
    sorted[i].y = Math.min(sorted[i].y, sorted[i - 1].y - gap);
  }
  return sorted;
}

/**
 * Lines over time.
 *
 * @param points `[{time, ...}]`, oldest first
 * @param names the keys of a point that are drawn, in seconds or null
 * @param log whether the axis is logarithmic
 * @param onPoint told the point under the pointer or chosen by arrow keys, or null
 */
export function lines(holder, points, names, log, onPoint) {
  const width = Math.max(240, holder.clientWidth);
  const height = 210;
  const values = points.flatMap((point) => names.map((name) => point[name])).filter((v) => v > 0);
  if (values.length === 0) {
    holder.replaceChildren(element("p", { class: "empty" }, "No request in the last 5 minutes"));
    return;
  }
  const high = Math.max(...values);
  const marks = log ? decades(Math.min(...values), high) : ticks(high);
  const [bottom, top] = [marks[0], marks[marks.length - 1]];
  const inner = height - MARGIN.top - MARGIN.bottom;
  const share = (v) =>
    log ? Math.log(v / bottom) / Math.log(top / bottom) : (v - bottom) / (top - bottom);
  const y = (v) => (v > 0 || (v === 0 && !log) ? height - MARGIN.bottom - share(v) * inner : null);
  // Always five minutes wide: a young server's line starts in the middle, it is not stretched.
  const end = points[points.length - 1].time;
  const start = Math.min(points[0].time, end - 295);
  const x = (time) =>
    MARGIN.left + ((time - start) / (end - start)) * (width - MARGIN.left - MARGIN.right);
  const xs = points.map((point) => x(point.time));
  const last = points[points.length - 1];
  const told = names.map((name) => `${name} ${duration(last[name])}`).join(", ");
  const root = frame(width, height, `Latency percentiles of the last 5 minutes; latest: ${told}`);
  for (const mark of marks) root.append(...gridLine(width, y(mark) ?? height - MARGIN.bottom, duration(mark)));
  for (const back of [300, 240, 180, 120, 60, 0]) {
    const at = x(end - Math.min(back, end - start));
    const anchor = back === 300 ? "" : back === 0 ? "end" : "middle";
    const text = back === 0 ? "now" : `−${back / 60} min`;
    if (width > 420 || back >= 180 && back !== 240 || back === 0) {
      root.append(svg("text", { class: `tick ${anchor}`, x: at, y: height - 6 }, text));
    }
  }
  const labels = [];
  for (const name of names) {
    const ys = points.map((point) => (point[name] === null ? null : y(point[name])));
    root.append(svg("path", { class: `line ${name}`, d: path(xs, ys) }));
    const latest = ys.findLast((each) => each !== null);
    if (latest !== undefined) labels.push({ name, y: latest });
  }
  for (const label of spread(labels, 13)) {
    const place = { class: `name ${label.name}`, x: width - MARGIN.right + 5, y: label.y + 4 };
    root.append(svg("text", place, label.name));
  }
  const cursor = svg("line", { class: "cursor", y1: MARGIN.top, y2: height - MARGIN.bottom, visibility: "hidden" });
  root.append(cursor);
  const hadFocus = holder.contains(document.activeElement);
  holder.replaceChildren(root);
  point(root, cursor, points, xs, onPoint);
  if (hadFocus) root.focus({ preventScroll: true });
}

/** By holder, the time that was chosen: it stays chosen when the chart is drawn again. */
const chosenTimes = new WeakMap();

/** The readout follows the pointer, and the arrow keys. */
function point(root, cursor, points, xs, onPoint) {
  let chosen = null;
  const choose = (index) => {
    chosen = index;
    chosenTimes.set(root.parentNode, index === null ? null : points[index].time);
    if (index === null) cursor.setAttribute("visibility", "hidden");
    else {
      cursor.setAttribute("x1", xs[index]);
      cursor.setAttribute("x2", xs[index]);
      cursor.setAttribute("visibility", "visible");
    }
    onPoint(index === null ? null : points[index]);
  };
  root.setAttribute("tabindex", "0");
  root.addEventListener("pointermove", (event) => {
    const at = event.clientX - root.getBoundingClientRect().left;
    let nearest = 0;
    xs.forEach((x, i) => {
      if (Math.abs(x - at) < Math.abs(xs[nearest] - at)) nearest = i;
    });
    choose(nearest);
  });
  root.addEventListener("pointerleave", () => choose(null));
  root.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") choose(null);
    else if (step !== undefined) {
      event.preventDefault();
      const from = chosen ?? points.length - (step < 0 ? 0 : 1);
      choose(Math.min(points.length - 1, Math.max(0, from + step)));
    }
  });
  const again = points.findIndex((each) => each.time === chosenTimes.get(root.parentNode));
  choose(again < 0 ? null : again);
}

/**
 * Batches by their rows.
 *
 * @param sizes `[[rows, batches]]`, ascending
 */
export function bars(holder, sizes) {
  const total = sizes.reduce((sum, [, batches]) => sum + batches, 0);
  if (total === 0) {
    holder.replaceChildren(element("p", { class: "empty" }, "No batch since the start"));
    return;
  }
  const width = Math.max(240, holder.clientWidth);
  const height = 150;
  const groups = grouped(sizes, Math.floor((width - MARGIN.left) / 14));
  const marks = ticks(Math.max(...groups.map((group) => group.batches)) / total, 3);
  const top = marks[marks.length - 1];
  const floor = height - MARGIN.bottom;
  const y = (share) => floor - (share / top) * (floor - MARGIN.top);
  const modal = groups.reduce((a, b) => (b.batches > a.batches ? b : a));
  const root = frame(width, height, `Batches by rows; most have ${modal.name}, ${percent(modal.batches / total)} of ${count(total)}`);
  for (const mark of marks) root.append(...gridLine(width, y(mark), percent(mark)));
  const step = (width - MARGIN.left - 8) / groups.length;
  const letters = Math.max(...groups.map((group) => group.name.length));
  const every = Math.ceil((letters * 6 + 12) / step);
  groups.forEach((group, i) => {
    const x = MARGIN.left + i * step;
    const bar = { class: "bar live", x: x + step * 0.1, width: Math.min(step * 0.8, 60), y: y(group.batches / total) };
    bar.height = Math.max(0.5, floor - bar.y);
    const title = `${group.name} rows: ${count(group.batches)} batches, ${percent(group.batches / total)}`;
    root.append(svg("rect", bar, svg("title", {}, title)));
    if (i % every === 0) {
      const middle = bar.x + bar.width / 2;
      root.append(svg("text", { class: "tick middle", x: middle, y: height - 6 }, group.name));
    }
  });
  holder.replaceChildren(root);
}

/** Neighbouring sizes as one where there are more than fit. */
function grouped(sizes, most) {
  const each = Math.ceil(sizes.length / Math.max(1, most));
  const groups = [];
  for (let i = 0; i < sizes.length; i += each) {
    const part = sizes.slice(i, i + each);
    const [low, high] = [part[0][0], part[part.length - 1][0]];
    const batches = part.reduce((sum, [, n]) => sum + n, 0);
    groups.push({ name: low === high ? `${low}` : `${low}–${high}`, batches });
  }
  return groups;
}

/**
 * A feature's reference and live histograms over each other: the reference as wide pale bars,
 * the live one as slim bars before them.
 *
 * @param slots of `slotsOf`
 * @param live whether there are live rows to draw
 */
export function histogram(slots, live, label) {
  const [width, height, floor, ceiling] = [320, 112, 94, 6];
  const gap = 9;
  const apart = slots.filter((slot) => slot.apart).length;
  const step = (width - gap * apart) / slots.length;
  const largest = Math.max(1e-9, ...slots.map((slot) => Math.max(slot.reference, live ? slot.live : 0)));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  root.append(svg("line", { class: "axis", x1: 0, x2: width, y1: floor, y2: floor }));
  let x = 0;
  slots.forEach((slot, i) => {
    if (i > 0 && (slot.apart || slots[i - 1].apart)) x += gap;
    const tall = (share) => (share > 0 ? Math.max(1, (share / largest) * (floor - ceiling)) : 0);
    const part = (kind, share, inset) => {
      const size = { x: x + step * inset, width: step * (1 - 2 * inset), y: floor - tall(share), height: tall(share) };
      return svg("rect", { class: `bar ${kind}${slot.apart ? " apart" : ""}`, ...size });
    };
    const title = `${slot.name}: reference ${percent(slot.reference)}` + (live ? `, live ${percent(slot.live)}` : "");
    root.append(
      svg("g", {}, svg("title", {}, title),
        svg("rect", { class: "catch", x, width: step, y: 0, height: floor }),
        part("reference", slot.reference, 0.04),
        live ? part("live", slot.live, 0.27) : null),
    );
    if (slot.mark) {
      root.append(svg("text", { class: `tick ${slot.mark.anchor}`, x: x + step * slot.mark.at, y: height - 4 }, slot.mark.text));
    }
    x += step;
  });
  return root;
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/**
 * Shares of every slot, in drawing order: below, bins, above (or the values and other), missing.
 *
 * @param reference of `reference` in the report
 * @param liveCounts of the same feature's `drift`, or null
 */
export function slotsOf(reference, liveCounts) {
  const numeric = reference.kind === "numeric";
  const bins = reference.counts.length - 3;
  const total = (counts) => Math.max(1, counts.reduce((sum, each) => sum + each, 0));
  const all = [total(reference.counts), liveCounts ? total(liveCounts) : 1];
  const slot = (i, name, apart, mark = null) => ({
    name,
    apart,
    mark,
    reference: reference.counts[i] / all[0],
    live: liveCounts ? liveCounts[i] / all[1] : 0,
    counts: [reference.counts[i], liveCounts ? liveCounts[i] : null],
  });
  const inner = [];
  for (let i = 0; i < bins; i++) {
    if (numeric) {
      const [low, high] = [number(reference.edges[i]), number(reference.edges[i + 1])];
      let mark = null;
      if (i === 0) mark = { text: low, at: 0, anchor: "" };
      else if (i === bins - 1) mark = { text: high, at: 1, anchor: "end" };
      else if (bins > 4 && i === Math.floor(bins / 2)) mark = { text: low, at: 0, anchor: "middle" };
      inner.push(slot(i, `${i === 0 ? "[" : "("}${low}, ${high}]`, false, mark));
    } else {
      const value = String(reference.values[i]) || "(empty)";
      const every = Math.ceil(bins / 6);
      // A letter takes some 6 of the 320 units.
      const text = short(value, Math.max(2, Math.floor((290 / (bins + 2)) * every / 6)));
      inner.push(slot(i, value, false, i % every === 0 ? { text, at: 0.5, anchor: "middle" } : null));
    }
  }
  const below = numeric
    ? slot(bins, "below", true, { text: "<", at: 0.5, anchor: "middle" })
    : slot(bins, "other", true, { text: "other", at: 1, anchor: "end" });
  const above = slot(bins + 1, "above", true, { text: ">", at: 0.5, anchor: "middle" });
  const missing = slot(bins + 2, "missing", true, { text: "n/a", at: 1, anchor: "end" });
  return numeric ? [below, ...inner, above, missing] : [...inner, below, missing];
}

/** What the table of the latency chart holds, newest first. */
export const historyRow = (at) => [
  clock(at.time), number(at.rate), duration(at.p50), duration(at.p95), duration(at.p99), number(at.mean_batch_rows),
];
