// The upper half of the page: figures, latency, batches, slices, and the list of models.

import { bars, historyRow, lines } from "./charts.js";
import {
  $, clock, count, duration, element, fillTable, number, percent, say, show, span, sync, table,
  tableRow,
} from "./dom.js";

export const WINDOW_NAMES = { "1m": "last minute", "5m": "last 5 minutes", start: "since start" };
export const VERDICTS = ["drifted", "warning", "stable", "insufficient data"];
const MARKS = { drifted: "◆", warning: "▲", stable: "●", "insufficient data": "○" };
const PERCENTILES = ["p50", "p95", "p99"];
const STAGES = ["queue", "compute", "total"];
const ROWS = [["mean", "Mean"], ["p50", "p50"], ["p95", "p95"], ["p99", "p99"], ["p999", "p99.9"], ["max", "Maximum"], ["count", "Requests"]];

/** A verdict with its mark: told by shape and word, not by colour alone. */
export function badge(verdict, state = "none") {
  const known = VERDICTS.includes(verdict);
  const kind = known ? verdict.split(" ")[0] : "unknown";
  const text = known ? verdict : state === "learning" ? "learning" : "no profile";
  return element("span", { class: `badge ${kind}` },
    element("span", { "aria-hidden": "true" }, known ? MARKS[verdict] : "·"), ` ${text}`);
}

/** The models; `choose(key)` when one is picked. */
export function drawOverview(models, keyOf, selected, choose) {
  show($("overview"), models.length > 1);
  const make = (model) => {
    const button = element("button", { type: "button", class: "plain" });
    button.addEventListener("click", () => choose(keyOf(model)));
    return element("tr", {}, element("th", { scope: "row" }, button),
      element("td"), element("td", { class: "number" }), element("td", { class: "number" }));
  };
  sync($("overview-rows"), models, keyOf, make, (row, model) => {
    const [name, verdict, rate, p99] = row.children;
    say(name.firstChild, `${model.model} v${model.version}`);
    name.firstChild.setAttribute("aria-current", keyOf(model) === selected ? "true" : "false");
    verdict.replaceChildren(badge(model.verdict, model.state));
    say(rate, `${number(model.rate)} /s`);
    say(p99, duration(model.p99));
  });
}

/** The figures of the window. */
export function drawFigures(report, name) {
  const traffic = report.traffic[name];
  const total = report.latency[name]?.total ?? null;
  const verdict = report.drift?.[name]?.verdict ?? null;
  const failed = traffic.failures > 0 ? traffic.failures / (traffic.requests + traffic.failures) : 0;
  const figures = [
    ["verdict", "Drift", badge(verdict, report.profile.state), ""],
    ["rate", "Requests", `${number(traffic.rate)}\u00a0/s`, count(traffic.requests)],
    ["p50", "p50", duration(total?.p50), ""],
    ["p95", "p95", duration(total?.p95), ""],
    ["p99", "p99", duration(total?.p99), `p99.9 ${duration(total?.p999)}`],
    ["failures", "Failures", count(traffic.failures), percent(failed)],
    ["batch", "Rows a batch", number(traffic.mean_batch_rows), `${count(traffic.batches)} batches`],
    ["rows", "Rows", count(traffic.rows), `in ${span(traffic.seconds)}`],
  ];
  const make = () => element("div", {}, element("dt"), element("dd", { class: "value" }), element("dd", { class: "aside" }));
  sync($("figures"), figures, ([id]) => id, make, (box, [id, label, value, aside]) => {
    const [dt, dd, small] = box.children;
    box.className = id === "failures" && traffic.failures > 0 ? "figure bad" : "figure";
    say(dt, label);
    if (typeof value === "string") say(dd, value);
    else if (dd.textContent !== value.textContent) dd.replaceChildren(value);
    say(small, aside);
  });
  const silent = traffic.requests + traffic.failures === 0;
  show($("quiet"), silent);
  const when = name === "start" ? "since the model was loaded" : `in the ${WINDOW_NAMES[name]}`;
  say($("quiet"), silent ? `No traffic ${when}: latencies and verdicts need requests.` : "");
  for (const node of document.querySelectorAll(".window-name")) say(node, WINDOW_NAMES[name]);
}

/** Percentiles over the last five minutes. */
export function drawLatency(report, log) {
  const latest = report.history.findLast((at) => at.p50 !== null) ?? null;
  const tell = (at) => {
    const chosen = at ?? latest;
    say($("latency-readout"), chosen === null ? "" : `${clock(chosen.time)}  ` +
      PERCENTILES.map((name) => `${name} ${duration(chosen[name])}`).join("  ") + `  ${number(chosen.rate)} requests/s`);
  };
  tell(null);
  lines($("latency-chart"), report.history, PERCENTILES, log, tell);
  const headings = ["Time", "Requests/s", "p50", "p95", "p99", "Rows a batch"];
  fillTable($("latency-data"), headings, () => report.history.map(historyRow).reverse());
}

/** Queue, compute and total side by side. */
export function drawStages(report, name) {
  const stages = report.latency[name] ?? {};
  const rows = ROWS.map(([key, label]) => [
    label, ...STAGES.map((stage) => (key === "count" ? count : duration)(stages[stage]?.[key])),
  ]);
  $("stages").replaceChildren(...rows.map((cells) => tableRow(cells)));
}

/** How many rows batches have. */
export function drawBatches(report) {
  const sizes = Object.entries(report.batch_rows).map(([rows, n]) => [Number(rows), n]);
  sizes.sort(([a], [b]) => a - b);
  bars($("batch-chart"), sizes);
  fillTable($("batch-data"), ["Rows", "Batches"], () => sizes.map(([rows, n]) => [count(rows), count(n)]));
}

/** Latency by the slice that requests name. */
export function drawSlices(report, name) {
  const names = Object.keys(report.slices);
  if (names.length === 0) {
    const text = "No request named a slice (the request parameter slice).";
    $("slices").replaceChildren(element("p", { class: "note" }, text));
    return;
  }
  const row = (slice) => {
    const total = report.slices[slice][name]?.total ?? null;
    const times = ["p50", "p95", "p99"].map((key) => duration(total?.[key]));
    return [slice, count(total?.count ?? 0), ...times];
  };
  // "other" gathers those beyond the limit; it comes last.
  names.sort((a, b) => (a === "other") - (b === "other") || a.localeCompare(b));
  const whole = table(["Slice", "Requests", "p50", "p95", "p99"], names.map(row));
  const wide = element("div", { class: "wide" }, whole);
  $("slices").replaceChildren(wide);
}
