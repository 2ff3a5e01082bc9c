// Elements and numbers. Every text from the server goes through textContent or setAttribute:
// a model's or a feature's name is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element; children are nodes or texts. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets a text only if it differs: what a reader has selected stays selected. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows or hides. */
export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/**
 * Makes a parent hold exactly one child for each item, in order; a child is made once for its key
 * and then updated, so that focus, open details and scroll positions outlive a refresh.
 */
export function sync(parent, items, keyOf, make, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const focused = document.activeElement;
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = before.get(key);
    before.delete(key);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = key;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const child of before.values()) child.remove();
  if (focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

/** A table with a heading for each column; the first cell of a row is its heading. */
export function table(headings, rows) {
  const head = headings.map((text, i) =>
    element("th", { scope: "col", class: i > 0 ? "number" : null }, text),
  );
  return element(
    "table",
    { class: "rows" },
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...rows.map((cells) => tableRow(cells))),
  );
}

/** One row of such a table. */
export function tableRow([first, ...rest]) {
  const cells = rest.map((text) => element("td", { class: "number" }, text));
  return element("tr", {}, element("th", { scope: "row" }, first), ...cells);
}

/** Fills the data table of a chart, if it is open: nobody else pays for it. */
export function fillTable(details, headings, rows) {
  const draw = () => {
    if (details.open) details.lastElementChild.replaceChildren(table(headings, rows()));
  };
  details.ontoggle = draw;
  draw();
}

export const NONE = "–";

const exists = (value) => value !== null && value !== undefined;

/** Three significant digits, thousands set apart, tiny and huge ones in powers of ten. */
export function number(value) {
  if (!exists(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(1);
  if (size >= 1000) return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
  return String(Number(value.toPrecision(3)));
}

/** All digits of a count. */
export const count = (value) =>
  exists(value) ? value.toLocaleString("en").replaceAll(",", "\u202f") : NONE;

/** Seconds in the unit that reads best. */
export function duration(seconds) {
  if (!exists(seconds)) return NONE;
  if (seconds === 0) return "0";
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) {
    // 0.9995 ms rounds to 1.00 ms, not to 1000 µs.
    if (seconds >= size * 0.9995) return `${Number((seconds / size).toPrecision(3))}\u00a0${unit}`;
  }
  return `${Number((seconds / 1e-9).toPrecision(3))}\u00a0ns`;
}

/** A long time, roughly. */
export function span(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 360000) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** A share as per cent. */
export function percent(share) {
  if (!exists(share)) return NONE;
  if (share > 0 && share < 0.0005) return "<\u202f0.1\u202f%";
  return `${Number((share * 100).toPrecision(share >= 0.0995 ? 3 : 2))}\u202f%`;
}

/** A p-value. */
export function probability(p) {
  if (!exists(p)) return NONE;
  if (p < 1e-12) return "<\u202f1e-12";
  return p < 1e-3 ? p.toExponential(1) : String(Number(p.toPrecision(2)));
}

/** Time of day of seconds since the epoch. */
export const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 8);
