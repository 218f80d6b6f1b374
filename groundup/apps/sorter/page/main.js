/** The sorter's page: asks the line a few times a second and shows what it says. Whatever it says becomes text, never markup. */

import { h, svg } from "./base/dom.js";
import { setTheme, theme } from "./base/prefs.js";
import { language, t, turn } from "./words.js";

const EVERY = 250; // milliseconds between two looks, and after one that failed
const AGAIN = 1000;
const WAIT = 5000; // milliseconds that an answer may take; a sentence takes longer to understand
const UNDERSTAND = 30000;
const PAINT = {
  blue: "#4a7fd0", yellow: "#e6c229", green: "#4a9d5b", brown: "#8a5a35", red: "#cf4437",
  grey: "#9a9a9a", black: "#333333", white: "#f4f4f4", orange: "#e88b2d", purple: "#8a58b8",
}; // prettier-ignore
const THEMES = ["auto", "light", "dark"];

const root = document.getElementById("sorter");
const spoken = document.getElementById("spoken");
let line = null; // what stays: places and names
let live = null; // what was said last
let commands = 0; // how many stops and resumes were given
let looking = new AbortController();
let parts = {};
let shown = {}; // what each part shows, so that what stays the same is left alone: a reader may be in it

async function ask(path, value, options = {}) {
  const body = value === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
  const response = await fetch(`api/${path}`, { ...body, signal: AbortSignal.timeout(WAIT), ...options });
  const said = await response.json();
  if (!response.ok) throw Object.assign(new Error(said.error?.message ?? String(response.status)), { status: response.status });
  return said;
}

const side = () => (language === "zh" ? 1 : 0);
const percent = (share) => (typeof share === "number" ? `${(100 * share).toFixed(1)} %` : "–");
const kindWords = (kind) => (Object.hasOwn(line.kinds, kind) ? line.kinds[kind][side()] : String(kind));
const colourWords = (bin) => {
  if (bin.number === line.manual) return t("manual");
  return language === "zh" && Object.hasOwn(line.colours, bin.colour) ? `${line.colours[bin.colour]}色` : String(bin.colour ?? "");
};

/** Show a value in a part, if it is another than before. */
function show(name, value, make) {
  const key = JSON.stringify(value);
  if (shown[name] === key) return;
  shown[name] = key;
  parts[name].replaceChildren(...[make(value)].flat(Infinity));
}

function build() {
  const typed = root.querySelector("input")?.value ?? "";
  shown = {};
  parts = {
    status: h("span", { class: "status" }),
    alarm: h("p", { class: "warn", role: "alert" }),
    image: h("img", { alt: t("picture") }),
    boxes: svg("svg", { "aria-hidden": "true" }),
    seen: h("ul", { class: "seen", "aria-label": t("seen"), tabindex: "0" }),
    line: svg("svg", { class: "line", viewBox: "-1.4 -0.52 2.25 1.04", role: "img", "aria-label": t("lineWords") }),
    arm: h("p", { class: "note" }),
    figures: h("dl", { class: "figures" }),
    policy: h("p", { class: "policy" }),
    answer: h("output", { for: "order" }),
    bins: h("tbody"),
    log: h("ol", { class: "log", tabindex: "0", "aria-label": t("log") }),
  };
  const field = h("input", { id: "order", maxlength: line.text, placeholder: t("example"), autocomplete: "off", required: true });
  field.value = typed;
  const send = h("button", { class: "main" }, t("send"));
  const look = h("button", { class: "plain", onclick: recolour }, `${t("colours")}: ${t(theme())}`);
  const block = (title, ...children) => h("section", {}, h("h2", {}, t(title)), ...children);
  root.replaceChildren(
    h("header", {},
      h("h1", {}, t("title")), parts.status,
      h("div", { class: "row" },
        h("button", { class: "stop", title: t("stopKey"), onclick: stop }, t("stop")),
        h("button", { class: "plain", onclick: resume }, t("resume")),
        h("button", { class: "plain", id: "turn", lang: language === "zh" ? "en" : "zh", onclick: speak }, t("other")), look)),
    parts.alarm,
    h("main", {},
      h("div", {},
        block("camera", h("div", { class: "camera" }, parts.image, parts.boxes), parts.seen),
        block("line", parts.line, parts.arm)),
      h("div", {},
        block("figures", parts.figures),
        block("policy", parts.policy,
          h("form", { class: "order", onsubmit: (event) => order(event, field, send) }, h("label", { for: "order" }, t("order")), field, send, parts.answer)),
        block("bins", h("table", { class: "bins" },
          h("thead", {}, h("tr", {}, ["bin", "inside", "count"].map((key) => h("th", { scope: "col" }, t(key))))), parts.bins)),
        block("log", parts.log))),
  ); // prettier-ignore
}

function paint(connected) {
  const why = live.stopped ? t("stopped") + live.stopped : live.held ? t("held") + live.held : t("running");
  const status = connected ? why : t("lost");
  if (parts.status.textContent !== status) {
    parts.status.textContent = spoken.textContent = status;
    parts.status.classList.toggle("halted", status !== t("running"));
  }
  if (!connected) return;
  parts.image.src = live.picture;
  show("boxes", live.boxes, (boxes) => boxes.map(outline));
  show("seen", live.boxes.map(({ kind, score }) => [kind, percent(score)]), (all) => {
    return all.length ? all.map(([kind, score]) => h("li", {}, `${kindWords(kind)} ${score}`)) : h("li", {}, t("nothing"));
  });
  show("line", [live.arm, live.boxes, live.bins.map(({ number, colour }) => [number, colour])], draw);
  show("arm", live.arm, (arm) => `${t("armAt")} x ${arm[0].toFixed(2)}, y ${arm[1].toFixed(2)}, z ${arm[2].toFixed(2)} m`);
  const sure = live.boxes.length ? live.boxes.reduce((sum, { score }) => sum + score, 0) / live.boxes.length : null;
  const figures = { picks: live.picks.toFixed(0), purity: percent(live.purity), recovery: percent(live.recovery), sure: percent(sure) };
  Object.assign(figures, { belt: live.belt.toFixed(2), time: live.time.toFixed(0) });
  show("figures", figures, () => Object.entries(figures).map(([key, value]) => h("div", {}, h("dt", {}, t(key)), h("dd", {}, value))));
  show("policy", live.policy, (policy) => String(policy[language]));
  show("bins", live.bins, (bins) => bins.map(row));
  show("log", live.events, (events) => events.toReversed().map((event) => h("li", {}, told(event))));
}

function outline({ kind, box: [left, top, right, bottom] }) {
  const share = (value) => `${100 * value}%`;
  const at = { x: share(left), y: share(top), width: share(Math.max(right - left, 0)), height: share(Math.max(bottom - top, 0)) };
  const words = svg("text", { x: at.x, y: at.y, dx: 4, dy: 15 }, kindWords(kind));
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
  const things = live.boxes.map(({ box: [left, top, right, bottom] }) =>
    svg("circle", { class: "thing", cx: at + ((left + right) / 2 - 0.5) * view, cy: ((top + bottom) / 2 - 0.5) * view, r: 0.022 }));
  const [x, y, z] = live.arm;
  return [
    svg("rect", { class: "belt", x: -1.4, y: -line.rail, width: 2.25, height: 2 * line.rail }),
    svg("rect", { class: "window", x: at - view / 2, y: -view / 2, width: view, height: view }),
    bins, things,
    svg("line", { class: "gantry", x1: x, x2: x, y1: -0.5, y2: 0.5 }),
    svg("circle", { class: "arm", cx: x, cy: -y, r: 0.025 + Math.max(z, 0) / 10 }),
  ]; // prettier-ignore
}

function row(bin) {
  const kinds = Object.entries(bin.kinds);
  const inside = kinds.map(([kind, count]) => `${kindWords(kind)} ${count}`).join(language === "zh" ? "、" : ", ") || t("nothing");
  const sum = kinds.reduce((total, [, count]) => total + count, 0);
  return h("tr", {}, h("th", { scope: "row" }, `${bin.number} (${colourWords(bin)})`), h("td", {}, inside), h("td", {}, String(sum)));
}

function told({ time, what, kind, bin, text, line }) {
  const where = bin === null || bin === undefined ? "" : ` → ${bin}`;
  return `${Number(time).toFixed(1)} s ${kind ? `${kindWords(kind)} ` : ""}${t(what)}${where}${text ? `: ${text} → ${line}` : ""}`;
}

/** Commands are numbered in the order in which they were given; what an older one comes to is not shown any more. */
async function stop() {
  const mine = ++commands;
  looking.abort(); // a browser has few connections to a host: this one frees one
  while (mine === commands) {
    try {
      await ask("stop", {}, { keepalive: true, priority: "high" });
      return alarm(mine, "");
    } catch {
      alarm(mine, t("unheard")); // a stop may come twice, so it is sent until it is confirmed
      await new Promise((resolve) => setTimeout(resolve, EVERY));
    }
  }
}

async function resume() {
  const mine = ++commands;
  try {
    await ask(`resume?stop=${live.stop}`, {}); // the stop that was seen: a newer one holds
    alarm(mine, "");
  } catch (error) {
    alarm(mine, t(error.status === 409 ? "again" : "unheard"));
  }
}

function alarm(number, text) {
  if (number !== commands) return;
  parts.alarm.textContent = text;
}

async function order(event, field, send) {
  event.preventDefault();
  const text = field.value.trim();
  if (!text || send.disabled) return;
  const of = /\p{Script=Han}/u.test(text) ? "zh" : "en";
  send.disabled = true;
  try {
    const said = await ask("order", { text, language: of }, { signal: AbortSignal.timeout(UNDERSTAND) });
    if (said.policy !== undefined) field.value = "";
    parts.answer.textContent = said.policy !== undefined ? t("changed") : said.question !== undefined ? t("question") + said.question : t("refusal") + said.refusal;
  } catch (error) {
    parts.answer.textContent = t("unanswered") + error.message;
  }
  send.disabled = false;
}

function speak() {
  turn();
  build();
  paint(true);
  document.getElementById("turn").focus();
}

function recolour(event) {
  setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  event.currentTarget.textContent = `${t("colours")}: ${t(theme())}`;
}

async function watch() {
  let wait = EVERY;
  try {
    if (!document.hidden) {
      const known = line !== null;
      line ??= await ask("line");
      looking = new AbortController();
      const signal = AbortSignal.any([looking.signal, AbortSignal.timeout(WAIT)]);
      live = await ask("live", undefined, { signal });
      if (!known) build();
      paint(true);
    }
  } catch {
    if (looking.signal.aborted) return setTimeout(watch, EVERY);
    wait = AGAIN;
    if (live) paint(false);
    else root.textContent = t("lost");
  }
  setTimeout(watch, wait);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && live) stop();
});
watch();
