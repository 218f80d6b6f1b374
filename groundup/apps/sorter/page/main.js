/** The sorter's page: polls the state of the line and renders it. All strings of the server become text, never markup. */

import { h, svg } from "./base/dom.js";
import { setTheme, theme } from "./base/preferences.js";
import { language, t, switchLanguage } from "./words.js";

const POLL = 250; // milliseconds between two requests of the state; RETRY: after one that failed
const RETRY = 1000;
const TIMEOUT = 5000; // milliseconds of a request; an order takes longer
const ORDER_TIMEOUT = 30000;
const PAINT = {
  blue: "#4a7fd0", yellow: "#e6c229", green: "#4a9d5b", brown: "#8a5a35", red: "#cf4437",
  grey: "#9a9a9a", black: "#333333", white: "#f4f4f4", orange: "#e88b2d", purple: "#8a58b8",
}; // prettier-ignore
const THEMES = ["auto", "light", "dark"];

const root = document.getElementById("sorter");
const spoken = document.getElementById("spoken");
let line = null; // geometry, classes and colours, which never change
let live = null; // the last state
let commands = 0; // number of stops and resumes sent
let polling = new AbortController();
let elements = {};
let rendered = {}; // the value that each element renders: an unchanged one is left alone, as a screen reader may be in it

async function request(path, value, options = {}) {
  const body = value === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
  const response = await fetch(`api/${path}`, { ...body, signal: AbortSignal.timeout(TIMEOUT), ...options });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error?.message ?? String(response.status)), { status: response.status });
  return answer;
}

const side = () => (language === "zh" ? 1 : 0);
const percent = (fraction) => (typeof fraction === "number" ? `${(100 * fraction).toFixed(1)} %` : "–");
const className = (kind) => (Object.hasOwn(line.kinds, kind) ? line.kinds[kind][side()] : String(kind));
const binName = (bin) => {
  if (bin.number === line.manual) return t("manual");
  return language === "zh" && Object.hasOwn(line.colours, bin.colour) ? `${line.colours[bin.colour]}色` : String(bin.colour ?? "");
};

/** Render a value in an element, if it changed. */
function show(name, value, make) {
  const key = JSON.stringify(value);
  if (rendered[name] === key) return;
  rendered[name] = key;
  elements[name].replaceChildren(...[make(value)].flat(Infinity));
}

function build() {
  const typed = root.querySelector("input")?.value ?? "";
  rendered = {};
  elements = {
    status: h("span", { class: "status" }),
    alarm: h("p", { class: "warn", role: "alert" }),
    image: h("img", { alt: t("picture") }),
    boxes: svg("svg", { "aria-hidden": "true" }),
    detections: h("ul", { class: "detections", "aria-label": t("detections"), tabindex: "0" }),
    line: svg("svg", { class: "line", viewBox: "-1.4 -0.52 2.25 1.04", role: "img", "aria-label": t("lineWords") }),
    arm: h("p", { class: "note" }),
    figures: h("dl", { class: "figures" }),
    policy: h("p", { class: "policy" }),
    answer: h("output", { for: "order" }),
    waiting: h("div", { class: "waiting", role: "group", "aria-label": t("waiting") }),
    bins: h("tbody"),
    log: h("ol", { class: "log", tabindex: "0", "aria-label": t("log") }),
  };
  const field = h("input", { id: "order", maxlength: line.text, placeholder: t("example"), autocomplete: "off", required: true });
  field.value = typed;
  const send = h("button", { class: "main" }, t("send"));
  const look = h("button", { class: "plain", onclick: changeTheme }, `${t("colours")}: ${t(theme())}`);
  const block = (title, ...children) => h("section", {}, h("h2", {}, t(title)), ...children);
  root.replaceChildren(
    h("header", {},
      h("h1", {}, t("title")), elements.status,
      h("div", { class: "row" },
        h("button", { class: "stop", title: t("stopKey"), onclick: stop }, t("stop")),
        h("button", { class: "plain", onclick: resume }, t("resume")),
        h("button", { class: "plain", id: "turn", lang: language === "zh" ? "en" : "zh", onclick: changeLanguage }, t("other")), look)),
    elements.alarm,
    h("main", {},
      h("div", {},
        block("camera", h("div", { class: "camera" }, elements.image, elements.boxes), elements.detections),
        block("line", elements.line, elements.arm)),
      h("div", {},
        block("figures", elements.figures),
        block("policy", elements.policy,
          h("form", { class: "order", onsubmit: (event) => order(event, field, send) }, h("label", { for: "order" }, t("order")), field, send, elements.answer), elements.waiting),
        block("bins", h("table", { class: "bins" },
          h("thead", {}, h("tr", {}, ["bin", "inside", "count"].map((key) => h("th", { scope: "col" }, t(key))))), elements.bins)),
        block("log", elements.log))),
  ); // prettier-ignore
}

function paint(connected) {
  const why = live.stopped ? t("stopped") + live.stopped : live.held ? t("held") + live.held : t("running");
  const status = connected ? why : t("lost");
  if (elements.status.textContent !== status) {
    elements.status.textContent = spoken.textContent = status;
    elements.status.classList.toggle("halted", status !== t("running"));
  }
  if (!connected) return;
  elements.image.src = live.picture;
  show("boxes", live.boxes, (boxes) => boxes.map(outline));
  show("detections", live.boxes.map(({ kind, score }) => [kind, percent(score)]), (all) => {
    return all.length ? all.map(([kind, score]) => h("li", {}, `${className(kind)} ${score}`)) : h("li", {}, t("nothing"));
  });
  show("line", [live.arm, live.boxes, live.bins.map(({ number, colour }) => [number, colour])], draw);
  show("arm", live.arm, (arm) => `${t("armAt")} x ${arm[0].toFixed(2)}, y ${arm[1].toFixed(2)}, z ${arm[2].toFixed(2)} m`);
  const confidence = live.boxes.length ? live.boxes.reduce((sum, { score }) => sum + score, 0) / live.boxes.length : null;
  const figures = { picks: live.picks.toFixed(0), purity: percent(live.purity), recovery: percent(live.recovery), confidence: percent(confidence) };
  Object.assign(figures, { belt: live.belt.toFixed(2), time: live.time.toFixed(0) });
  show("figures", figures, () => Object.entries(figures).map(([key, value]) => h("div", {}, h("dt", {}, t(key)), h("dd", {}, value))));
  show("policy", live.policy, (policy) => String(policy[language]));
  show("waiting", live.waiting, ask);
  show("bins", live.bins, (bins) => bins.map(row));
  show("log", live.events, (events) => events.toReversed().map((event) => h("li", {}, eventText(event))));
}

function outline({ kind, box: [left, top, right, bottom] }) {
  const percentage = (value) => `${100 * value}%`;
  const at = { x: percentage(left), y: percentage(top), width: percentage(Math.max(right - left, 0)), height: percentage(Math.max(bottom - top, 0)) };
  const words = svg("text", { x: at.x, y: at.y, dx: 4, dy: 15 }, className(kind));
  return svg("g", {}, svg("rect", { class: "under", ...at }), svg("rect", at), words);
}

/** The line from above: x to the right along the belt, y upwards; the higher the cup, the larger. */
function draw() {
  const [at, view] = line.window;
  const bins = live.bins.filter(({ number }) => Object.hasOwn(line.bins, number)).map(({ number, colour }) => {
    const [x, y] = line.bins[number];
    const fill = Object.hasOwn(PAINT, colour) ? PAINT[colour] : PAINT.grey;
    return [svg("rect", { class: "bin", x: x - 0.11, y: -y - 0.11, width: 0.22, height: 0.22, fill }), svg("text", { x, y: -y }, String(number))];
  });
  const detections = live.boxes.map(({ box: [left, top, right, bottom] }) =>
    svg("circle", { class: "detection", cx: at + ((left + right) / 2 - 0.5) * view, cy: ((top + bottom) / 2 - 0.5) * view, r: 0.022 }));
  const [x, y, z] = live.arm;
  return [
    svg("rect", { class: "belt", x: -1.4, y: -line.rail, width: 2.25, height: 2 * line.rail }),
    svg("rect", { class: "window", x: at - view / 2, y: -view / 2, width: view, height: view }),
    bins, detections,
    svg("line", { class: "gantry", x1: x, x2: x, y1: -0.5, y2: 0.5 }),
    svg("circle", { class: "arm", cx: x, cy: -y, r: 0.025 + Math.max(z, 0) / 10 }),
  ]; // prettier-ignore
}

function row(bin) {
  const kinds = Object.entries(bin.kinds);
  const inside = kinds.map(([kind, count]) => `${className(kind)} ${count}`).join(language === "zh" ? "、" : ", ") || t("nothing");
  const sum = kinds.reduce((total, [, count]) => total + count, 0);
  return h("tr", {}, h("th", { scope: "row" }, `${bin.number} (${binName(bin)})`), h("td", {}, inside), h("td", {}, String(sum)));
}

/** The words of an order that waits, and the buttons that answer it; nothing where none waits. */
function ask(waiting) {
  if (!waiting) return [];
  const button = (yes) => h("button", { class: yes ? "main" : "plain", onclick: () => confirm(waiting.order, yes) }, t(yes ? "yes" : "no"));
  return [h("p", {}, `${t("confirm")}${waiting.words}`), button(true), button(false)];
}

function eventText({ time, what, kind, bin, text, line, model }) {
  const where = bin === null || bin === undefined ? "" : ` → ${bin}`;
  return `${Number(time).toFixed(1)} s ${kind ? `${className(kind)} ` : ""}${t(what)}${where}${text ? `: ${text} → ${line}${model ? ` (${model})` : ""}` : ""}`;
}

/** Commands are numbered; the outcome of an older one is not shown. */
async function stop() {
  const mine = ++commands;
  polling.abort(); // frees a connection: a browser has few to a host
  while (mine === commands) {
    try {
      await request("stop", {}, { keepalive: true, priority: "high" });
      return alarm(mine, "");
    } catch {
      alarm(mine, t("unconfirmed")); // a stop is idempotent: it is sent until it is confirmed
      await new Promise((resolve) => setTimeout(resolve, POLL));
    }
  }
}

async function resume() {
  const mine = ++commands;
  try {
    await request(`resume?stop=${live.stop}`, {}); // answers the stop on the screen: a newer one holds
    alarm(mine, "");
  } catch (error) {
    alarm(mine, t(error.status === 409 ? "again" : "unconfirmed"));
  }
}

function alarm(number, text) {
  if (number !== commands) return;
  elements.alarm.textContent = text;
}

async function order(event, field, send) {
  event.preventDefault();
  const text = field.value.trim();
  if (!text || send.disabled) return;
  const of = /\p{Script=Han}/u.test(text) ? "zh" : "en";
  send.disabled = true;
  try {
    const answer = await request("order", { text, language: of }, { signal: AbortSignal.timeout(ORDER_TIMEOUT) });
    if (answer.policy !== undefined) field.value = "";
    const by = answer.model ? ` (${t("by")}${answer.model})` : "";
    elements.answer.textContent = outcome(answer) + by;
  } catch (error) {
    elements.answer.textContent = t("unanswered") + error.message;
  }
  send.disabled = false;
}

/** What became of an order, in words. */
function outcome(answer) {
  if (answer.policy !== undefined) return t("changed");
  if (answer.dropped !== undefined) return t("cancelled");
  const kind = ["confirm", "question", "refusal"].find((each) => answer[each] !== undefined);
  return t(kind) + answer[kind];
}

/** Answer the order that waits on the screen; refused where another order or a stop has cancelled it. */
async function confirm(number, yes) {
  try {
    elements.answer.textContent = outcome(await request("confirm", { order: number, yes }));
  } catch (error) {
    elements.answer.textContent = error.status === 409 ? t("over") : t("unanswered") + error.message;
  }
}

function changeLanguage() {
  switchLanguage();
  build();
  paint(true);
  document.getElementById("turn").focus();
}

function changeTheme(event) {
  setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  event.currentTarget.textContent = `${t("colours")}: ${t(theme())}`;
}

async function poll() {
  let wait = POLL;
  try {
    if (!document.hidden) {
      const known = line !== null;
      line ??= await request("line");
      polling = new AbortController();
      const signal = AbortSignal.any([polling.signal, AbortSignal.timeout(TIMEOUT)]);
      live = await request("live", undefined, { signal });
      if (!known) build();
      paint(true);
    }
  } catch {
    if (polling.signal.aborted) return setTimeout(poll, POLL);
    wait = RETRY;
    if (live) paint(false);
    else root.textContent = t("lost");
  }
  setTimeout(poll, wait);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && live) stop();
});
poll();
