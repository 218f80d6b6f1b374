/** Detections in an answer, `cup<loc100><loc250><loc500><loc999>`: drawn over the image and listed as text. */

import { h, svg } from "./dom.js";
import { number, t } from "./i18n.js";

const CELLS = 1000; // of the grid that boxes are written on, in each direction
const BOX = /(?:<loc\d{1,3}>){4}/g;
const HALF = /(?:<loc\d{1,3}>){0,3}(?:<(?:l(?:o(?:c\d{0,3})?)?)?)?$/;
const LONGEST = 60; // characters of a name
const MOST = 200; // boxes that are drawn; the list has all

/**
 * @typedef {{kind: string, left: number, top: number, right: number, bottom: number}} Thing In shares of width and height.
 * @param {string} text
 * @returns {(string|Thing[])[]} Words, and things that stand side by side, in order.
 */
export function boxed(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(BOX)) {
    const before = text.slice(end, match.index);
    const cut = Math.max(...[";", "\n", "<", ">"].map((mark) => before.lastIndexOf(mark))) + 1;
    const said = before.slice(0, cut);
    const last = found.at(-1);
    const thing = read(before.slice(cut).trim(), match[0]);
    if (Array.isArray(last) && /^[\s;]*$/.test(said)) last.push(thing);
    else found.push(...(/^[\s;]*$/.test(said) ? [] : [said]), [thing]);
    end = match.index + match[0].length;
  }
  const rest = text.slice(end);
  return [...found, ...(found.length && /^[\s;]*$/.test(rest) ? [] : [rest])];
}

/** A streaming text without an incomplete box at its end. */
export function withoutHalfBox(text) {
  const last = [...text.matchAll(BOX)].at(-1);
  const end = last ? last.index + last[0].length : 0;
  return text.slice(0, end) + text.slice(end).replace(HALF, "");
}

function read(kind, locations) {
  const [left, top, right, bottom] = [...locations.matchAll(/\d+/g)].map(([cell]) => (Number(cell) + 0.5) / CELLS);
  return { kind: kind.slice(0, LONGEST) || t("thing"), left, top, right, bottom };
}

const percent = (share) => number(100 * share);

/** A detection as text. */
export function inPlace({ kind, left, top, right, bottom }) {
  return t("boxAt", { kind, left: percent(left), top: percent(top), right: percent(right), bottom: percent(bottom) });
}

/** Detections drawn over their image (null: no image), and as a list. */
export class Boxes {
  #frame = h("div", { class: "boxed" });
  #list = h("ul", { "aria-label": t("boxes") });
  #shown = "";

  constructor(image) {
    this.image = image;
    this.element = h("div", { class: "boxes" }, image && this.#frame, this.#list);
  }

  show({ things }) {
    const shown = JSON.stringify(things);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#list.replaceChildren(...things.map((thing) => h("li", {}, inPlace(thing))));
    if (!this.image) return;
    const drawn = things.filter(({ left, top, right, bottom }) => left < right && top < bottom).slice(0, MOST);
    this.#frame.replaceChildren(
      h("img", { src: this.image, alt: t("boxedImage", { count: things.length }) }),
      svg("svg", { "aria-hidden": "true", width: "100%", height: "100%" }, drawn.map(outline)),
    );
  }
}

function outline({ kind, left, top, right, bottom }) {
  const share = (value) => `${100 * value}%`;
  const at = { x: share(left), y: share(top), width: share(right - left), height: share(bottom - top) };
  return svg(
    "g",
    {},
    svg("rect", { class: "under", ...at }), // so that the line is seen on any image
    svg("rect", at),
    svg("text", { x: at.x, y: at.y, dx: 4, dy: 15 }, kind),
  );
}
