/** A chart of curves over the steps of training: drawn to the width it has, read with the pointer or the arrow keys. */

import { h, svg } from "./dom.js";
import { number, short, t } from "./i18n.js";

const HEIGHT = 240;
const LEFT = 52;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 34;
const TICKS = 5;

/**
 * @typedef {{name: string, points: [number, number][], dots?: boolean}} Series Steps grow; what is no number is left out.
 */

export class Chart {
  #series = [];
  #log = false;
  #at = null; // the step that is read

  /** @param {string} title @param {{unit: string, zero?: boolean, log?: boolean}} options `zero`: the scale begins there; `log`: it may be logarithmic. */
  constructor(title, { unit, zero = false, log = false }) {
    Object.assign(this, { title, unit, zero });
    this.keys = h("div", { class: "keys" });
    this.readout = h("output", { class: "readout" });
    this.frame = h("div", {
      class: "plot",
      tabindex: "0",
      role: "slider",
      "aria-label": t("readCurve", { title }),
      onkeydown: (event) => this.#key(event),
      onpointermove: (event) => this.#point(event),
      onpointerleave: () => this.#read(null),
      onblur: () => this.#read(null),
    });
    const scale =
      log &&
      h(
        "label",
        { class: "choice" },
        h("input", { type: "checkbox", onchange: (event) => this.#scale(event.target.checked) }),
        h("span", {}, t("logScale")),
      );
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("h3", {}, title), h("span", { class: "note" }, unit), scale),
      this.keys,
      this.frame,
      this.readout,
    );
    new ResizeObserver(() => this.#draw()).observe(this.frame);
  }

  /** Show these curves. @param {Series[]} series */
  show(series) {
    this.#series = series
      .map((one) => ({ ...one, points: one.points.filter(([, value]) => Number.isFinite(value)) }))
      .filter(({ points }) => points.length);
    const key = ({ name }, place) => h("span", { class: `key series-${(place % 6) + 1}` }, name);
    this.keys.replaceChildren(...(this.#series.length > 1 ? this.#series.map(key) : []));
    this.element.hidden = !this.#series.length;
    this.#draw();
  }

  #scale(log) {
    this.#log = log;
    this.#draw();
  }

  // --- drawing -----------------------------------------------------------------------------------------------

  #draw() {
    const width = Math.round(this.frame.clientWidth);
    if (!width || !this.#series.length) return;
    const all = this.#series.flatMap(({ points }) => points);
    const steps = extent(all.map(([step]) => step));
    const values = extent(all.map(([, value]) => value).filter((value) => !this.#log || value > 0));
    const bounds = this.#log ? values : padded(this.zero ? [0, values[1]] : values);
    const across =
      ([from, to] = steps) =>
      (step) =>
        LEFT + ((step - from) / (to - from || 1)) * (width - LEFT - RIGHT);
    const scale = this.#log ? Math.log : (value) => value;
    const [low, high] = bounds.map(scale);
    const up = (value) => HEIGHT - BOTTOM - ((scale(value) - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
    this.places = { x: across(), y: up, steps, width };
    const rows = (this.#log ? logTicks(...bounds) : ticks(...bounds, TICKS)).map((value) => [value, up(value)]);
    const columns = ticks(...steps, Math.max(2, Math.floor(width / 110))).filter((step) => step <= steps[1]);
    this.mark = svg("g", { class: "mark" });
    const picture = svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" },
      rows.map(([value, y]) => [
        svg("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "grid" }),
        svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, tick(value)),
      ]),
      columns
        .filter((step) => across()(step) < width - RIGHT - 60)
        .map((step) => svg("text", { x: across()(step), y: HEIGHT - 14, "text-anchor": "middle" }, short(step))),
      svg("text", { x: width - RIGHT, y: HEIGHT - 14, "text-anchor": "end", class: "axis" }, t("steps")),
      this.#series.map((one, place) => this.#curve(one, place)),
      this.mark,
    );
    this.frame.replaceChildren(picture);
    this.#describe();
    this.#read(this.#at);
  }

  #curve({ points, dots }, place) {
    const { x, y } = this.places;
    const kept = points.filter(([, value]) => !this.#log || value > 0);
    const line = kept.map(([step, value], index) => `${index ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const few = dots && kept.length < 40;
    return svg(
      "g",
      { class: `curve series-${(place % 6) + 1}` },
      svg("path", { d: line }),
      few ? kept.map(([step, value]) => svg("circle", { cx: x(step), cy: y(value), r: 3 })) : [],
    );
  }

  #describe() {
    const { steps } = this.places;
    this.frame.setAttribute("aria-valuemin", steps[0]);
    this.frame.setAttribute("aria-valuemax", steps[1]);
    if (this.#at === null) {
      this.frame.setAttribute("aria-valuenow", steps[1]);
      this.frame.setAttribute("aria-valuetext", this.#words(steps[1]));
    }
  }

  // --- reading -----------------------------------------------------------------------------------------------

  #point(event) {
    if (!this.places) return;
    const { steps, width } = this.places;
    const share = (event.clientX - this.frame.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT);
    this.#read(steps[0] + Math.min(1, Math.max(0, share)) * (steps[1] - steps[0]));
  }

  #key(event) {
    const all = this.#series[0]?.points.map(([step]) => step) ?? [];
    const place = this.#at === null ? all.length - 1 : nearest(this.#series[0].points, this.#at);
    const next = { ArrowLeft: place - 1, ArrowRight: place + 1, PageDown: place - 10, PageUp: place + 10, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined || !all.length) return;
    event.preventDefault();
    this.#read(all[Math.min(all.length - 1, Math.max(0, next))]);
  }

  #read(step) {
    this.#at = step;
    if (!this.mark) return;
    this.readout.value = step === null ? "" : this.#words(step);
    if (step === null) return this.mark.replaceChildren();
    const { x, y } = this.places;
    const at = this.#series[0].points[nearest(this.#series[0].points, step)][0];
    this.frame.setAttribute("aria-valuenow", at);
    this.frame.setAttribute("aria-valuetext", this.#words(at));
    const dots = this.#series.map(({ points }, place) => {
      const [near, value] = points[nearest(points, step)];
      return svg("circle", { cx: x(near), cy: y(value), r: 4, class: `series-${(place % 6) + 1}` });
    });
    return this.mark.replaceChildren(svg("line", { x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM }), ...dots);
  }

  #words(step) {
    const at = this.#series[0].points[nearest(this.#series[0].points, step)][0];
    const values = this.#series.map(({ name, points }) => `${name} ${label(points[nearest(points, step)][1])}`);
    return `${t("stepAt", { step: number(at) })}: ${values.join(", ")}`;
  }
}

// --- numbers -------------------------------------------------------------------------------------------------

function label(value) {
  const size = Math.abs(value);
  return size >= 10_000 ? short(value) : number(value, size >= 100 ? 0 : 3);
}

function tick(value) {
  return Math.abs(value) >= 10_000 ? short(value) : String(value);
}

/** Least and largest; without spreading: a list of a hundred thousand is no list of arguments. */
function extent(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function padded([low, high]) {
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return [low === 0 ? 0 : low - room, high + room];
}

/** Round numbers between two, about so many. */
export function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick++) found.push(Number((tick * step).toPrecision(12)));
  return found;
}

/** Round numbers for a logarithmic scale: 1, 2, 5 and so on; between close bounds as on a plain one. */
function logTicks(low, high) {
  if (high / low < 4) return ticks(low, high, TICKS);
  const factors = high / low < 100 ? [1, 1.5, 2, 3, 4, 6] : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
    for (const factor of factors) found.push(Number((factor * 10 ** power).toPrecision(6)));
  }
  return found.filter((value) => value >= low && value <= high);
}

/** Where the step nearest to one is, by halving. */
export function nearest(points, step) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step - points[low - 1][0] < points[low][0] - step ? low - 1 : low;
}
