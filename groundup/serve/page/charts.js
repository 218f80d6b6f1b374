/** A chart of training curves over steps: responsive, readable with the pointer, the arrow keys, or as a table. */

import { h, svg } from "./dom.js";
import { number, short, t } from "./i18n.js";
import { bounds, calmed, extent, label, logTicks, nearest, thinned, tickLabel, ticks } from "./scale.js";

const HEIGHT = 240;
const LEFT = 52;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 34;
const TICKS = 5;
const DOTS = 40; // of a curve that are told apart
const ROWS = 60; // of the table
const HUES = 6; // after which they come again, dotted

/**
 * @typedef {{name: string, points: [number, number|null][], dots?: boolean}} Series Steps ascend; a value that is not a number is null and leaves a gap.
 * `dots`: few measurements, drawn one by one and not averaged.
 */

export class Chart {
  #series = [];
  #hidden = new Set(); // names
  #log = false;
  #calm = false;
  #at = null; // the step that is read

  /** @param {string} title @param {{unit: string, zero?: boolean, log?: boolean}} options `zero`: the scale begins there; `log`: it may be logarithmic. */
  constructor(title, { unit, zero = false, log = false }) {
    Object.assign(this, { title, zero });
    this.keys = h("div", { class: "keys", role: "group", "aria-label": t("curvesShown") });
    this.readout = h("p", { class: "readout", "aria-hidden": "true" }); // what the slider says
    this.frame = h("div", {
      class: "plot",
      tabindex: "0",
      role: "slider",
      "aria-label": t("readCurve", { title }),
      onkeydown: (event) => this.#key(event),
      onpointermove: (event) => this.#point(event),
      onpointerleave: () => this.#read(null),
      onfocus: () => this.#read(this.#at ?? this.places?.steps[1] ?? null),
      onblur: () => this.#read(null),
    });
    this.table = h("details", { class: "fold", ontoggle: () => this.#tabulate() }, h("summary", {}, t("asTable")));
    const choices = h(
      "div",
      { class: "choices" },
      log && choice(t("logScale"), (on) => (this.#log = on)),
      choice(t("smooth"), (on) => (this.#calm = on)),
    );
    choices.addEventListener("change", () => this.#draw());
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("h3", {}, title), h("span", { class: "note" }, unit), choices),
      this.keys,
      this.frame,
      this.readout,
      this.table,
    );
    new ResizeObserver(() => this.#draw()).observe(this.frame);
  }

  /** Show these curves. @param {Series[]} series */
  show(series) {
    const before = this.#series.map(({ name }) => name).join("\n");
    const known = series.map((one, place) => ({
      ...one,
      points: one.points.map(([step, value]) => [step, Number.isFinite(value) ? value : null]),
      hue: `series-${(place % HUES) + 1}${Math.floor(place / HUES) % 2 ? " again" : ""}`,
    }));
    this.#series = known.filter(({ points }) => points.some(([, value]) => value !== null));
    if (before !== this.#series.map(({ name }) => name).join("\n")) this.#legend();
    this.element.hidden = !this.#series.length;
    this.#draw();
  }

  // --- the legend --------------------------------------------------------------------------------------------

  #legend() {
    const key = ({ name, hue, dots }) =>
      h(
        "button",
        { type: "button", class: `key ${hue}`, "aria-pressed": String(!this.#hidden.has(name)), onclick: () => this.#toggle(name) },
        sample(dots),
        h("span", {}, name),
      );
    this.keys.replaceChildren(...(this.#series.length > 1 ? this.#series.map(key) : []));
    this.keys.setAttribute("aria-hidden", String(this.#series.length < 2)); // its room stays, so that plots beside each other stand level
  }

  /** Hide a curve, or show it again; hiding the last one shows all. */
  #toggle(name) {
    if (!this.#hidden.delete(name)) this.#hidden.add(name);
    if (this.#series.every((one) => this.#hidden.has(one.name))) this.#hidden.clear();
    for (const [place, button] of [...this.keys.children].entries())
      button.setAttribute("aria-pressed", String(!this.#hidden.has(this.#series[place].name)));
    this.#draw();
  }

  // --- drawing -----------------------------------------------------------------------------------------------

  /** The curves as drawn; a logarithmic scale omits values that are not above zero. */
  #visible() {
    const placed = (points) => (this.#log ? points.map(([step, value]) => [step, value > 0 ? value : null]) : points);
    const shown = this.#series.filter(({ name }) => !this.#hidden.has(name)).map((one) => ({ ...one, points: placed(one.points) }));
    return this.#calm ? shown.map((one) => (one.dots ? one : { ...one, calm: calmed(one.points) })) : shown;
  }

  #draw() {
    const width = Math.round(this.frame.clientWidth);
    if (!width || !this.#series.length) return;
    this.shown = this.#visible();
    const all = this.shown.flatMap(({ points }) => points);
    const steps = extent(all.map(([step]) => step));
    const values = extent(all.map(([, value]) => value).filter(Number.isFinite));
    this.mark = svg("g", { class: "mark" });
    this.places = { steps, width, ...scales(steps, values ? bounds(values, { zero: this.zero, log: this.#log }) : [0, 1], this.#log, width) };
    const picture = svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" },
      values && this.#axes(),
      this.shown.map((one) => this.#curve(one)),
      this.mark,
    );
    this.frame.replaceChildren(picture);
    this.#read(this.#at);
  }

  #axes() {
    const { x, y, low, high, steps, width } = this.places;
    const rows = this.#log ? logTicks(low, high, TICKS) : ticks(low, high, TICKS);
    const columns = ticks(...steps, Math.max(3, Math.floor(width / 110))).filter((step) => Number.isInteger(step) && x(step) < width - RIGHT - 60);
    return [
      rows.map((value) => [
        svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" }),
        svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, tickLabel(value)),
      ]),
      columns.map((step) => svg("text", { x: x(step), y: HEIGHT - 14, "text-anchor": "middle" }, short(step))),
      svg("text", { x: width - RIGHT, y: HEIGHT - 14, "text-anchor": "end", class: "axis" }, t("steps")),
    ];
  }

  #curve({ points, calm, dots, hue }) {
    const { x, y } = this.places;
    const known = points.filter(([, value]) => value !== null);
    return svg(
      "g",
      { class: `curve ${hue}` },
      svg("path", { d: this.#path(points), class: calm ? "raw" : null }),
      calm && svg("path", { d: this.#path(calm), class: "calm" }),
      dots && known.length < DOTS && known.map(([step, value]) => svg("circle", { cx: x(step), cy: y(value), r: 3 })),
    );
  }

  /** A line through the points, with gaps at missing values. */
  #path(points) {
    const { x, y } = this.places;
    let pen = "M";
    return points
      .map(([step, value]) => {
        const piece = value === null ? "" : `${pen}${x(step).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = value === null ? "M" : "L";
        return piece;
      })
      .join("");
  }

  // --- reading -----------------------------------------------------------------------------------------------

  #point(event) {
    if (!this.places) return;
    const { steps, width } = this.places;
    const share = (event.clientX - this.frame.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT);
    this.#read(steps[0] + Math.min(1, Math.max(0, share)) * (steps[1] - steps[0]));
  }

  #key(event) {
    const points = this.shown?.[0].points ?? [];
    const place = this.#at === null ? points.length - 1 : nearest(points, this.#at);
    const next = {
      ArrowLeft: place - 1,
      ArrowDown: place - 1,
      ArrowRight: place + 1,
      ArrowUp: place + 1,
      PageDown: place - 10,
      PageUp: place + 10,
      Home: 0,
      End: points.length - 1,
    }[event.key];
    if (next === undefined || !points.length) return;
    event.preventDefault();
    this.#read(points[Math.min(points.length - 1, Math.max(0, next))][0]);
  }

  #read(step) {
    this.#at = step;
    if (!this.mark) return;
    const { x, y, steps } = this.places;
    const { points } = this.shown[0];
    const at = points[nearest(points, step ?? steps[1])][0];
    const said = this.#words(at);
    for (const [name, value] of Object.entries({ min: steps[0], max: steps[1], now: at, text: said }))
      this.frame.setAttribute(`aria-value${name}`, value);
    this.readout.textContent = step === null ? "" : said;
    const dots = this.shown.map(({ points: own, hue }) => [...own[nearest(own, at)], hue]).filter(([, value]) => value !== null);
    const cross = [
      svg("line", { x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM }),
      ...dots.map(([near, value, hue]) => svg("circle", { cx: x(near), cy: y(value), r: 4, class: hue })),
    ];
    this.mark.replaceChildren(...(step === null ? [] : cross));
  }

  #words(step) {
    const values = this.shown.map(({ name, points, calm }) => {
      const place = nearest(points, step);
      return `${name} ${label(points[place][1])}${calm ? ` (${t("smoothed", { value: label(calm[place][1]) })})` : ""}`;
    });
    return `${t("stepAt", { step: number(step) })}: ${values.join(", ")}`;
  }

  /** The table, as of when it is opened, so that it does not change while it is read: all measurements of dotted curves, a sample of the others. */
  #tabulate() {
    this.table.querySelector(".scroll")?.remove();
    if (!this.table.open || !this.#series.length) return;
    const steps = (series) => series.flatMap(({ points }) => points.map(([step]) => step));
    const kept = new Set([
      ...thinned(steps(this.#series.filter(({ dots }) => !dots)), ROWS),
      ...thinned(steps(this.#series.filter(({ dots }) => dots)), ROWS),
    ]);
    const known = this.#series.map(({ points }) => new Map(points));
    const cell = (values, step) => h("td", { class: "figure" }, values.has(step) ? label(values.get(step)) : "");
    const rows = [...kept]
      .sort((one, other) => one - other)
      .map((step) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, number(step)),
          known.map((values) => cell(values, step)),
        ),
      );
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, t("step")),
      this.#series.map(({ name }) => h("th", { scope: "col", class: "figure" }, name)),
    );
    this.table.append(
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": this.title },
        h("table", {}, h("thead", {}, head), h("tbody", {}, rows)),
      ),
    );
  }
}

function choice(name, set) {
  return h("label", { class: "choice" }, h("input", { type: "checkbox", onchange: (event) => set(event.target.checked) }), h("span", {}, name));
}

/** The line sample of a curve in the legend. */
function sample(dots) {
  return svg(
    "svg",
    { viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": "true" },
    svg("path", { d: "M0 4H24" }),
    dots && svg("circle", { cx: 12, cy: 4, r: 3 }),
  );
}

/** The coordinates of a step and a value. */
function scales(steps, [low, high], log, width) {
  const scale = log ? Math.log : (value) => value;
  const [bottom, top] = [scale(low), scale(high)];
  return {
    low,
    high,
    x: (step) => LEFT + ((step - steps[0]) / (steps[1] - steps[0] || 1)) * (width - LEFT - RIGHT),
    y: (value) => HEIGHT - BOTTOM - ((scale(value) - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM),
  };
}
