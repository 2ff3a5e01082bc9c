// Asks the server every two seconds and draws what it says; /v1/monitor is all it knows.

import { $, clock, element, say, show, span } from "./dom.js";
import { drawFeatures, setUp } from "./features.js";
import {
  drawBatches, drawFigures, drawLatency, drawOverview, drawSlices, drawStages,
} from "./panels.js";

const EVERY_MS = 2000;
const PATIENCE_MS = 8000;
const SCHEMA = 1;
const BASE = new URL("../", import.meta.url); // This file is /page/page.js.

const state = { key: null, window: "5m", log: false, report: null, models: [], timer: 0, asking: null };

const keyOf = (model) => `${model.version}/${model.model}`; // A version has no slash.

/** What the server says, or throws an Error that tells a reader what is wrong. */
async function ask(path, signal) {
  let response;
  try {
    response = await fetch(new URL(path, BASE), { signal, cache: "no-store" });
  } catch (error) {
    if (signal.aborted && signal.reason === "replaced") throw error;
    throw new Error("The server cannot be reached.", { cause: error });
  }
  let body = null;
  try {
    body = await response.json();
  } catch {
    // Said below.
  }
  if (!response.ok) {
    const reason = typeof body?.error === "string" ? `: ${body.error}` : "";
    throw new Error(`The server answered with status ${response.status}${reason}.`);
  }
  if (body?.schema !== SCHEMA) {
    throw new Error(`The server answered something else than schema ${SCHEMA} of /v1/monitor; reload this page.`);
  }
  return body;
}

async function refresh() {
  clearTimeout(state.timer);
  state.asking?.abort("replaced");
  const asking = new AbortController();
  state.asking = asking;
  const limit = setTimeout(() => asking.abort("late"), PATIENCE_MS);
  try {
    const { models } = await ask("v1/monitor", asking.signal);
    if (state.asking !== asking) return;
    offer(models);
    const chosen = models.find((model) => keyOf(model) === state.key);
    if (chosen === undefined) state.report = null;
    else {
      const path = `v1/monitor/${encodeURIComponent(chosen.model)}?version=${encodeURIComponent(chosen.version)}`;
      const report = await ask(path, asking.signal);
      if (state.asking !== asking) return;
      state.report = report;
    }
    draw();
    linked("live", state.report === null ? "" : `${clock(state.report.time)}, up ${span(state.report.uptime_s)}`);
    problem(models.length > 0 ? "" : "No model is watched: none is loaded, or monitoring is off.");
  } catch (error) {
    if (state.asking !== asking) return;
    // Numbers of one model must not stand under the name of another.
    if (state.report !== null && keyOf(state.report) !== state.key) state.report = null;
    show($("main"), state.report !== null);
    const since = state.report === null ? "" : ` What is shown is from ${clock(state.report.time)}.`;
    linked("lost", "No answer");
    problem(`${error.message}${since} Trying again every ${EVERY_MS / 1000} seconds.`);
  } finally {
    clearTimeout(limit);
    if (state.asking === asking) {
      state.asking = null;
      if (!document.hidden) state.timer = setTimeout(refresh, EVERY_MS);
    }
  }
}

function linked(how, text) {
  $("link").dataset.state = how;
  document.body.dataset.state = how;
  say($("link"), text);
}

function problem(text) {
  show($("problem"), text !== "");
  say($("problem"), text);
}

/** The models that there are now; the choice of the reader stays if it can. */
function offer(models) {
  const keys = models.map(keyOf);
  if (!keys.includes(state.key)) {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const asked = models.find((model) =>
      model.model === wanted.get("model") && [null, model.version].includes(wanted.get("version")));
    state.key = asked !== undefined ? keyOf(asked) : (keys[0] ?? null);
  }
  const select = $("model");
  if (JSON.stringify(keys) !== JSON.stringify(state.models)) {
    state.models = keys;
    select.replaceChildren(...models.map((model) =>
      element("option", { value: keyOf(model) }, `${model.model} v${model.version}`)));
  }
  select.disabled = models.length === 0;
  select.value = state.key;
  drawOverview(models, keyOf, state.key, choose);
}

function choose(key) {
  state.key = key;
  $("model").value = key;
  remember();
  refresh();
}

/** The address of the page says what is looked at: it can be sent to somebody. */
function remember() {
  if (state.key === null) return;
  const cut = state.key.indexOf("/");
  const [version, model] = [state.key.slice(0, cut), state.key.slice(cut + 1)];
  history.replaceState(null, "", `#${new URLSearchParams({ model, version, window: state.window })}`);
}

function draw() {
  const report = state.report;
  show($("main"), report !== null);
  if (report === null) return;
  say(document.querySelector("title"), `${report.model} · Penstock`);
  drawFigures(report, state.window);
  drawLatency(report, state.log);
  drawStages(report, state.window);
  drawBatches(report);
  drawSlices(report, state.window);
  drawFeatures(report, state.window);
}

function start() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("window");
  for (const radio of document.querySelectorAll("#windows input")) {
    if (radio.value === wanted) state.window = wanted;
    radio.checked = radio.value === state.window;
    radio.addEventListener("change", () => {
      state.window = radio.value;
      remember();
      draw();
    });
  }
  $("model").addEventListener("change", () => choose($("model").value));
  $("log").addEventListener("change", () => {
    state.log = $("log").checked;
    draw();
  });
  setUp(draw);
  addEventListener("resize", () => requestAnimationFrame(draw));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(state.timer);
      linked("paused", "Paused while hidden");
    } else refresh();
  });
  refresh();
}

start();
