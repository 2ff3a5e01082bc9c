// The lower half of the page: each feature's reference and live values over each other.

import { histogram, slotsOf } from "./charts.js";
import { $, NONE, count, element, number, percent, probability, say, show, sync, table } from "./dom.js";
import { VERDICTS, WINDOW_NAMES, badge } from "./panels.js";

const FIRST = 60; // Cards before "Show more": a model may have thousands of columns.

const view = { verdict: null, sort: "verdict", search: "", shown: FIRST, order: [], signature: "" };

const keyOf = (feature) => JSON.stringify([feature.role, feature.tensor, feature.column, feature.name]);

const rank = (feature) => {
  const at = VERDICTS.indexOf(feature.verdict);
  return at < 0 ? VERDICTS.length : at;
};
const byPsi = (a, b) => (b.psi ?? -1) - (a.psi ?? -1);
const byP = (a, b) => (a.p_adjusted ?? a.p_value ?? 2) - (b.p_adjusted ?? b.p_value ?? 2);
const SORTS = {
  verdict: (a, b) => rank(a) - rank(b) || byPsi(a, b),
  psi: byPsi,
  p: byP,
  name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
  model: () => 0,
};

/** Wires filter, sort and search; `redraw()` after each change. */
export function setUp(redraw) {
  const change = (event, set) => event.addEventListener("input", () => {
    set(event.value);
    view.signature = "";
    view.shown = FIRST;
    redraw();
  });
  change($("sort"), (value) => { view.sort = value; });
  change($("search"), (value) => { view.search = value.trim().toLowerCase(); });
  for (const verdict of [null, ...VERDICTS]) {
    const chip = element("button", { type: "button", class: "chip" });
    chip.dataset.verdict = verdict ?? "";
    chip.addEventListener("click", () => {
      view.verdict = verdict;
      view.shown = FIRST;
      redraw();
    });
    $("verdicts").append(chip);
  }
  $("more").addEventListener("click", () => {
    view.shown += FIRST;
    redraw();
  });
}

/** Everything below "Features". */
export function drawFeatures(report, name) {
  say($("profile"), profileText(report.profile));
  const reference = report.reference ?? null;
  show($("watched"), reference !== null);
  show($("unwatched"), reference === null);
  if (reference === null) {
    say($("unwatched"), unwatchedText(report.profile));
    $("cards").replaceChildren();
    return;
  }
  const drift = report.drift?.[name] ?? null;
  const features = joined(reference, drift);
  drawChips(features);
  const wanted = sorted(features, `${report.model}/${report.version}/${name}`).filter(
    (feature) =>
      (view.verdict === null || feature.verdict === view.verdict) &&
      feature.name.toLowerCase().includes(view.search),
  );
  const shown = wanted.slice(0, view.shown);
  sync($("cards"), shown, keyOf, makeCard, (card, feature) => updateCard(card, feature, name));
  show($("none-shown"), wanted.length === 0);
  say($("none-shown"), features.length === 0 ? "The profile names no feature." : "No feature is like that.");
  show($("more"), wanted.length > shown.length);
  say($("more"), `Show more (${wanted.length - shown.length} not shown)`);
}

function profileText(profile) {
  if (profile.state !== "watching") return "";
  const origin = profile.origin === "learned" ? "learned from traffic" : "from profile.json";
  return `reference: ${count(profile.rows)} rows, ${origin}, ${(profile.created ?? "").slice(0, 10)}`;
}

function unwatchedText(profile) {
  if (profile.state === "learning") {
    return `Learning a reference profile from live rows: ${count(profile.learned_rows)} of ` +
      `${count(profile.learn_rows)}. Features are watched from then on.`;
  }
  return "No reference profile: what this model is asked is not held against anything. " +
    "Build one with “penstock profile TRAIN --model DIR”, or let the model learn it from its " +
    "first rows with the parameter learn_profile_rows.";
}

/** Reference and live of each feature as one object. */
function joined(reference, drift) {
  const live = new Map((drift?.features ?? []).map((feature) => [keyOf(feature), feature]));
  return reference.map((each) => {
    const found = live.get(keyOf(each)) ?? null;
    const counts = found !== null && drift.rows > 0 ? found.counts : null;
    return { verdict: null, psi: null, p_value: null, p_adjusted: null, ...each, ...found, reference: each, live: counts, rows: drift?.rows ?? 0 };
  });
}

function drawChips(features) {
  for (const chip of $("verdicts").children) {
    const verdict = chip.dataset.verdict;
    const those = features.filter((feature) => verdict === "" || feature.verdict === verdict);
    say(chip, `${verdict === "" ? "all" : verdict} ${those.length}`);
    chip.setAttribute("aria-pressed", String((view.verdict ?? "") === verdict));
  }
}

/** Cards move when a verdict turns or somebody asks, not with every wobble of a number. */
function sorted(features, what) {
  const verdicts = features.map((feature) => feature.verdict);
  const signature = JSON.stringify([what, view.sort, verdicts, features.length]);
  if (signature !== view.signature) {
    view.order = [...features].sort(SORTS[view.sort]).map(keyOf);
    view.signature = signature;
  }
  const byKey = new Map(features.map((feature) => [keyOf(feature), feature]));
  return view.order.map((key) => byKey.get(key)).filter((feature) => feature !== undefined);
}

function makeCard(feature) {
  const where = feature.role === "class" ? `class of ${feature.tensor}` : `${feature.role} ${feature.tensor}[${feature.column}]`;
  const details = element("details", {}, element("summary", {}, "Numbers"), element("div", { class: "wide" }));
  return element("li", { class: "card" },
    element("div", { class: "card-head" }, element("h3", {}, feature.name), element("span", { class: "state" })),
    element("p", { class: "where" }, where),
    element("div", { class: "histogram" }),
    element("p", { class: "tests" }),
    details);
}

function updateCard(card, feature, name) {
  const [head, , chart, tests, details] = card.children;
  const state = head.lastElementChild;
  if (state.textContent !== badge(feature.verdict).textContent) state.replaceChildren(badge(feature.verdict));
  card.dataset.verdict = feature.verdict ?? "";
  const drawn = JSON.stringify([feature.reference.counts, feature.reference.edges, feature.live]);
  const slots = slotsOf(feature.reference, feature.live);
  if (card.drawn !== drawn) {
    card.drawn = drawn;
    chart.replaceChildren(histogram(slots, feature.live !== null, chartText(feature, slots)));
  }
  const by = feature.test ? ` by ${feature.test}` : "";
  const apart = [["out of range", feature.out_of_range], ["missing", feature.missing]]
    .filter(([, share]) => share > 0).map(([label, share]) => ` · ${label} ${percent(share)}`).join("");
  const p = feature.p_adjusted ?? feature.p_value;
  say(tests, feature.live === null
    ? `No rows ${name === "start" ? "since start" : `in the ${WINDOW_NAMES[name]}`}`
    : p === null && feature.psi === null ? `Too few rows to judge${apart}`
    : `p ${probability(p)}${by} · PSI ${number(feature.psi)}${apart}`);
  const fill = () => {
    if (details.open) details.lastElementChild.replaceChildren(statistics(feature), shares(slots));
  };
  details.ontoggle = fill;
  fill();
}

function chartText(feature, slots) {
  if (feature.live === null) return `${feature.name}: reference histogram, no live rows`;
  const furthest = slots.reduce((a, b) =>
    Math.abs(b.live - b.reference) > Math.abs(a.live - a.reference) ? b : a);
  return `${feature.name}: reference and live histograms; they differ most at ${furthest.name}, ` +
    `reference ${percent(furthest.reference)}, live ${percent(furthest.live)}`;
}

function statistics(feature) {
  const rows = [
    ["PSI", number(feature.psi), probability(feature.psi_p_value)],
    ["Kolmogorov-Smirnov D", number(feature.ks), probability(feature.ks_p_value)],
    ["  at most, within bins", number(feature.ks_upper), NONE],
    ["chi-square", number(feature.chi2), probability(feature.chi2_p_value)],
    ["Jensen-Shannon", number(feature.js), probability(feature.js_p_value)],
    ["Wasserstein-1", number(feature.wasserstein), probability(feature.wasserstein_p_value)],
    ["the deciding p, and adjusted for all features", probability(feature.p_value), probability(feature.p_adjusted)],
    ["live rows", count(feature.rows), NONE],
  ];
  return table(["Statistic", "Value", "p"], rows);
}

function shares(slots) {
  const rows = slots.map((slot) => [
    slot.name, percent(slot.reference), slot.counts[1] === null ? NONE : percent(slot.live), count(slot.counts[1]),
  ]);
  return table(["Bin", "Reference", "Live", "Live rows"], rows);
}
