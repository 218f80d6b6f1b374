/** The runs: their list, and the page of one, live while it trains. */

import { Trouble, apiKey, get, request } from "./api.js";
import { Chart } from "./curves.js";
import { download, h } from "./dom.js";
import { icon } from "./icons.js";
import { day, duration, number, t } from "./i18n.js";
import { lineagePicture } from "./lineage.js";
import { toast } from "./toast.js";
import { inWords } from "./trouble.js";

const EVERY = 2000; // milliseconds between two looks at a run that is live
const IDLE = 15_000; // and at one that is not: it may be started
const MOST = 1500; // points a curve may have before the server is asked for fewer

/** The list of runs, or one of them; asks the server again and again until `signal` ends it. */
export class Runs {
  #timer = 0;

  /** @param {string|null} name @param {AbortSignal} signal @param {(trouble: Trouble) => void} refused Called when a key is needed. */
  constructor(name, signal, refused) {
    Object.assign(this, { name, signal, refused });
    this.content = h("div", { class: "sheet-body" });
    this.status = h("p", { class: "trouble", role: "status", hidden: true });
    this.element = h("div", { class: "runs", tabindex: "-1" }, this.status, this.content);
    this.view = name === null ? new List() : new Run(name);
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
    this.load();
  }

  /** Look now, and then every few seconds. */
  async load() {
    clearTimeout(this.#timer);
    try {
      const live = await this.view.load(this.signal);
      if (!this.content.firstChild) this.content.append(this.view.element);
      this.status.hidden = true;
      this.#later(live ? EVERY : IDLE);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#failed(error instanceof Trouble ? error : new Trouble("odd", String(error)));
    }
  }

  #failed(trouble) {
    this.status.hidden = false;
    this.status.replaceChildren(icon("warn"), h("span", {}, inWords(trouble)));
    if (trouble.kind === "key") this.refused(trouble);
    else this.#later(trouble.kind === "missing" ? IDLE : EVERY * 2);
  }

  #later(delay) {
    if (!this.signal.aborted) this.#timer = setTimeout(() => (document.hidden ? this.#later(delay) : this.load()), delay);
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
  const facts = [t("stagesDone", { done: done.length, count: stages.length }), seconds && duration(seconds), last && day(Date.parse(last))];
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

function badge() {
  return h("span", { class: "live" }, t("live"));
}

function stateClass(state) {
  return ["done", "running", "waiting"].includes(state) ? state : "waiting";
}

// --- one run -------------------------------------------------------------------------------------------------

class Run {
  #states = "";
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
    this.head.replaceChildren(this.name, ...(run.live ? [" ", badge()] : []));
    this.links.replaceChildren(...(run.report ? [report(this.name)] : []));
    this.stages.replaceChildren(...run.stages.map(stage));
    if (whole) this.#stages.forEach((shown) => (shown.points = []));
    for (const training of run.training) this.#train(training, run.stages);
    const rest = JSON.stringify([run.figures, run.lineage, run.licences]);
    if (rest !== this.#rest) this.rest.replaceChildren(...below(run));
    this.#rest = rest;
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
          t("lossNow", { loss: number(now.loss, 3) }),
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

function stage({ name, state, seconds }) {
  return h(
    "li",
    { class: stateClass(state) },
    h("b", {}, name),
    h("span", {}, [t(`state.${stateClass(state)}`), Number.isFinite(seconds) && duration(seconds)].filter(Boolean).join(" · ")),
  );
}

function below({ figures, lineage, licences }) {
  const parts = [];
  if (figures.length)
    parts.push(
      h(
        "section",
        {},
        h("h2", {}, t("figures")),
        h(
          "div",
          { class: "tables" },
          figures.map(({ title, columns, rows }) => table(title, columns, rows)),
        ),
      ),
    );
  if (lineage?.nodes.length)
    parts.push(h("section", {}, h("h2", {}, t("lineage")), h("p", { class: "note" }, t("lineageWhy")), lineagePicture(lineage)));
  const known = Object.entries(licences ?? {});
  if (known.length)
    parts.push(
      h(
        "section",
        {},
        h("h2", {}, t("licences")),
        table(
          "",
          [t("licence"), t("documents")],
          known.map(([licence, count]) => [licence, number(count)]),
        ),
      ),
    );
  return parts;
}

function table(title, columns, rows) {
  const figure = (place) =>
    rows.length > 0 && rows.every((row) => /^[\d\s.,%()–×+-]*$|^\D{0,2}[\d.,]+\s?\S{0,6}(\s\(.*\))?$/.test(String(row[place] ?? "")));
  const kinds = columns.map((_, place) => (place && figure(place) ? "figure" : null));
  const body = rows.map((row) =>
    h(
      "tr",
      {},
      columns.map((_, place) => h(place ? "td" : "th", { scope: place ? null : "row", class: kinds[place] }, String(row[place] ?? ""))),
    ),
  );
  const head = h(
    "thead",
    {},
    h(
      "tr",
      {},
      columns.map((name, place) => h("th", { scope: "col", class: kinds[place] }, name)),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": title || columns[0] },
    h("table", {}, title && h("caption", {}, title), head, h("tbody", {}, body)),
  );
}

/** The report: a link; where a key is needed, which no link carries, a file. */
function report(name) {
  const address = `/api/runs/${encodeURIComponent(name)}/report`;
  const save = async (event) => {
    if (!apiKey()) return;
    event.preventDefault();
    try {
      download(`${name}-report.html`, await (await request(address)).text(), "text/html");
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      toast(inWords(error));
    }
  };
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer", onclick: save }, icon("open"), t("report"));
}
