/** The run list and the view of one run, live while it trains. */

import { announce } from "./announce.js";
import { ApiError, apiKey, get, request } from "./api.js";
import { Chart } from "./charts.js";
import { download, h } from "./dom.js";
import { below } from "./tables.js";
import { icon } from "./icons.js";
import { day, duration, number, t } from "./i18n.js";
import { label } from "./scale.js";
import { toast } from "./toast.js";
import { errorText } from "./error_text.js";

const EVERY = 2000; // milliseconds between two polls of a live run
const IDLE = 15_000; // and at one that is not: it may be started
const LONGEST = 60_000; // between two tries to reach a server that fails
const MOST = 1500; // points a curve may have before the server is asked for fewer

/** The run list or one run; polls the server until `signal` aborts. */
export class Runs {
  #timer = 0;
  #failures = 0; // in a row

  /** @param {string|null} name @param {AbortSignal} signal @param {(trouble: ApiError) => void} refused Called when a key is needed. */
  constructor(name, signal, refused) {
    Object.assign(this, { name, signal, refused });
    this.content = h("div", { class: "sheet-body" });
    this.status = h("p", { class: "error", role: "status", hidden: true });
    this.element = h("div", { class: "runs", tabindex: "-1" }, this.status, this.content);
    this.view = name === null ? new List() : new Run(name);
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
    this.load();
  }

  /** Poll now, and then every few seconds. */
  async load() {
    clearTimeout(this.#timer);
    try {
      const live = await this.view.load(this.signal);
      if (!this.content.firstChild) this.content.append(this.view.element);
      this.status.hidden = true;
      this.#failures = 0;
      this.#later(live ? EVERY : IDLE);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#failed(error instanceof ApiError ? error : new ApiError("odd", String(error)));
    }
  }

  #failed(trouble) {
    const said = errorText(trouble);
    // The same words again would be read out again.
    if (this.status.hidden || this.status.textContent !== said) this.status.replaceChildren(icon("warn"), h("span", {}, said));
    this.status.hidden = false;
    this.#failures += 1;
    if (trouble.kind === "key") this.refused(trouble);
    else this.#later(trouble.kind === "missing" ? IDLE : Math.min(LONGEST, Math.max(EVERY * 2 ** this.#failures, 1000 * (trouble.after ?? 0))));
  }

  /** Poll again after so many milliseconds; not while the page is hidden, but at once when it is visible again. */
  #later(delay) {
    if (this.signal.aborted) return;
    const awake = () => document.addEventListener("visibilitychange", () => this.load(), { once: true, signal: this.signal });
    this.#timer = setTimeout(() => (document.hidden ? awake() : this.load()), delay);
  }
}

// --- the list ------------------------------------------------------------------------------------------------

class List {
  #before = "";

  constructor() {
    this.list = h("ul", { class: "cards" });
    this.element = h("div", {}, h("h1", {}, t("runs")), h("p", { class: "lead" }, t("runsWhy")), this.list);
  }

  async load(signal) {
    const { runs } = await get("/api/runs", signal);
    const now = JSON.stringify(runs);
    if (now !== this.#before) this.list.replaceChildren(...(runs.length ? runs.map(card) : [h("li", { class: "note" }, t("noRuns"))]));
    this.#before = now;
    return runs.some(({ live }) => live);
  }
}

function card({ name, live, stages }) {
  const done = stages.filter(({ state }) => state === "done");
  const seconds = stages.reduce((sum, stage) => sum + (stage.seconds ?? 0), 0);
  const last = done
    .map(({ finished }) => finished)
    .filter(Boolean)
    .sort()
    .at(-1);
  const facts = [t("stagesDone", { done: done.length, count: stages.length }), seconds && duration(seconds), moment(last)];
  return h(
    "li",
    { class: "card" },
    h("h2", {}, h("a", { href: `#/runs/${encodeURIComponent(name)}` }, name), live && badge()),
    h("p", { class: "note" }, facts.filter(Boolean).join(" · ")),
    h(
      "div",
      { class: "track", "aria-hidden": "true" },
      stages.map(({ state }) => h("i", { class: stateClass(state) })),
    ),
  );
}

/** A timestamp of the server in the local format, or "" if invalid. */
function moment(finished) {
  const time = Date.parse(finished ?? "");
  return Number.isNaN(time) ? "" : day(time);
}

function badge() {
  return h("span", { class: "live" }, t("live"));
}

function stateClass(state) {
  return ["done", "running", "waiting"].includes(state) ? state : "waiting";
}

// --- one run -------------------------------------------------------------------------------------------------

class Run {
  #states = "";
  #brief = ""; // what stands at the top, as last shown
  #before = null; // whether it was live, and the state of each stage, as last shown
  #rest = ""; // figures, lineage and licences as last shown
  #stages = new Map(); // name: {charts, points}

  constructor(name) {
    this.name = name;
    this.head = h("h1", {}, name);
    this.links = h("p", { class: "links" });
    this.stages = h("ol", { class: "stages" });
    this.training = h("div", {});
    this.rest = h("div", {});
    this.element = h(
      "div",
      {},
      h("p", { class: "crumb" }, h("a", { href: "#/runs" }, t("runs"))),
      this.head,
      this.links,
      this.stages,
      this.training,
      this.rest,
    );
  }

  async load(signal) {
    const address = `/api/runs/${encodeURIComponent(this.name)}`;
    const since = this.#since();
    let run = await get(since ? `${address}?since=${encodeURIComponent(since)}` : address, signal);
    const states = JSON.stringify(run.stages.map(({ name, state }) => [name, state]));
    // Another stage began, or one began anew: what is drawn may be of a training that is no more.
    if (since && states !== this.#states) run = await get(address, signal);
    const whole = !since || states !== this.#states;
    this.#states = states;
    this.#show(run, whole);
    return run.live;
  }

  /** The newest point of the stage that runs, as the server wants it; "" to get all. */
  #since() {
    for (const [name, { points, running }] of this.#stages) {
      if (running && points.length && points.length < MOST) return `${name}:${points.at(-1).step}`;
    }
    return "";
  }

  #show(run, whole) {
    const brief = JSON.stringify([run.live, run.report, run.stages]);
    if (brief !== this.#brief) this.#top(run); // an unchanged element keeps the focus
    this.#brief = brief;
    this.#tell(run);
    if (whole) this.#stages.forEach((shown) => (shown.points = []));
    for (const training of run.training) this.#train(training, run.stages);
    const rest = JSON.stringify([run.figures, run.lineage, run.licences]);
    if (rest !== this.#rest) this.rest.replaceChildren(...below(run));
    this.#rest = rest;
  }

  #top(run) {
    this.head.replaceChildren(this.name, ...(run.live ? [" ", badge()] : []));
    if (run.report !== Boolean(this.links.firstChild)) this.links.replaceChildren(...(run.report ? [report(this.name)] : []));
    this.stages.replaceChildren(...run.stages.map(stage));
  }

  /** Announce the stages that ended since the last poll, and the end of the run. */
  #tell({ name, live, stages }) {
    const before = this.#before;
    this.#before = { live, states: new Map(stages.map((one) => [one.name, one.state])) };
    if (!before) return;
    const ended = stages.filter((one) => one.state === "done" && before.states.get(one.name) !== "done").map((one) => one.name);
    if (ended.length) announce(t("stagesEnded", { names: ended.join(", ") }));
    if (before.live && !live) announce(t("runEnded", { name }));
  }

  #train({ stage: name, steps, points }, stages) {
    const shown = this.#stages.get(name) ?? this.#section(name);
    const last = shown.points.at(-1)?.step ?? -1;
    shown.points = [...shown.points, ...points.filter(({ step }) => step > last)];
    shown.running = stages.some((stage) => stage.name === name && stage.state === "running");
    const now = shown.points.at(-1);
    shown.progress.textContent = now
      ? [
          steps ? t("stepOf", { step: number(now.step), steps: number(steps) }) : t("stepAt", { step: number(now.step) }),
          t("lossNow", { loss: label(now.loss) }),
        ].join(" · ")
      : t("noPoints");
    shown.bar.hidden = !shown.running || !steps || !now;
    if (now && steps) Object.assign(shown.bar, { max: steps, value: now.step });
    shown.charts.forEach((chart) => chart.element.isConnected || shown.element.querySelector(".charts").append(chart.element));
    shown.charts[0].show(losses(shown.points));
    shown.charts[1].show([{ name: t("speed"), points: shown.points.map(({ step, tokens_per_second: speed }) => [step, speed]) }]);
  }

  #section(name) {
    const charts = [new Chart(t("loss"), { unit: t("nats"), log: true }), new Chart(t("speed"), { unit: t("tokensPerSecond"), zero: true })];
    const progress = h("p", { class: "note" });
    const bar = h("progress", { "aria-label": name });
    const id = `stage-${name}`;
    const element = h("section", { "aria-labelledby": id }, h("h2", { id }, t("trainingOf", { name })), progress, bar, h("div", { class: "charts" }));
    const shown = { charts, progress, bar, element, points: [], running: false };
    this.#stages.set(name, shown);
    this.training.prepend(element); // the newest first
    return shown;
  }
}

function losses(points) {
  const sources = [...new Set(points.flatMap(({ heldout }) => Object.keys(heldout ?? {})))];
  const heldout = sources.map((source) => ({
    name: t("heldOut", { source }),
    dots: true,
    points: points.filter((point) => point.heldout && Object.hasOwn(point.heldout, source)).map((point) => [point.step, point.heldout[source]]),
  }));
  return [{ name: t("trainingLoss"), points: points.map(({ step, loss }) => [step, loss]) }, ...heldout];
}

function stage({ name, state, seconds, finished }) {
  const facts = [t(`state.${stateClass(state)}`), Number.isFinite(seconds) && duration(seconds)].filter(Boolean).join(" · ");
  const time = moment(finished);
  return h(
    "li",
    { class: stateClass(state) },
    h("b", {}, name),
    h("span", {}, facts),
    time && h("time", { datetime: finished, title: t("finishedAt", { time }) }, time),
  );
}

/** The report as a link; as a download if an API key is needed, which a link cannot send. */
function report(name) {
  const address = `/api/runs/${encodeURIComponent(name)}/report`;
  const save = async (event) => {
    if (!apiKey()) return;
    event.preventDefault();
    try {
      download(`${name}-report.html`, await (await request(address)).text(), "text/html");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(errorText(error));
    }
  };
  return h(
    "a",
    { href: address, target: "_blank", rel: "noopener noreferrer", onclick: save },
    icon("open"),
    t("report"),
    h("span", { class: "unseen" }, ` (${t("opensTab")})`),
  );
}
