/** Detections in an answer, `cup<loc100><loc250><loc500><loc999>`, eight places for a rotated one: drawn and listed. */

import { h, svg } from "./dom.js";
import { number, t } from "./i18n.js";

const CELLS = 1000; // of the grid that boxes are written on, in each direction
const BOX = /(?:<loc\d{1,3}>){8}|(?:<loc\d{1,3}>){4}/g;
const CORNERS = /(?:<loc\d{1,3}>){8}/g;
const HALF = /(?:<loc\d{1,3}>){0,7}(?:<(?:l(?:o(?:c\d{0,3})?)?)?)?$/; // four places may become eight
const LONGEST = 60; // characters of a name
const MOST = 200; // boxes that are drawn; the list has all

/**
 * @typedef {{kind: string, left: number, top: number, right: number, bottom: number, corners?: number[][]}} Thing
 *   In shares of width and height; `corners` of a rotated one, [x, y] each.
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

/** A streaming text without a box at its end that may go on. */
export function withoutHalfBox(text) {
  const last = [...text.matchAll(CORNERS)].at(-1);
  const end = last ? last.index + last[0].length : 0;
  return text.slice(0, end) + text.slice(end).replace(HALF, "");
}

function read(kind, locations) {
  const places = [...locations.matchAll(/\d+/g)].map(([cell]) => (Number(cell) + 0.5) / CELLS);
  const name = kind.slice(0, LONGEST) || t("thing");
  if (places.length === 4) {
    const [left, top, right, bottom] = places;
    return { kind: name, left, top, right, bottom };
  }
  const corners = [0, 2, 4, 6].map((place) => places.slice(place, place + 2));
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const bounds = { left: Math.min(...xs), top: Math.min(...ys), right: Math.max(...xs), bottom: Math.max(...ys) };
  return { kind: name, ...bounds, corners };
}

const percent = (share) => number(100 * share);

/** A detection as text. */
export function inPlace({ kind, left, top, right, bottom, corners }) {
  if (corners) {
    const places = corners.map((corner) => corner.map((share) => `${percent(share)} %`).join(" / ")).join(", ");
    return t("cornersAt", { kind, places });
  }
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

function outline({ kind, left, top, right, bottom, corners }) {
  const share = (value) => `${100 * value}%`;
  const at = { x: share(left), y: share(top), width: share(right - left), height: share(bottom - top) };
  return svg(
    "g",
    {},
    ...(corners ? turned(corners) : [svg("rect", { class: "under", ...at }), svg("rect", at)]), // seen on any image
    svg("text", { x: at.x, y: at.y, dx: 4, dy: 15 }, kind),
  );
}

/** The outline of a rotated box, stretched with the image, as points know no percent. */
function turned(corners) {
  const points = corners.map((corner) => corner.map((share) => 100 * share).join(",")).join(" ");
  const whole = { viewBox: "0 0 100 100", preserveAspectRatio: "none", width: "100%", height: "100%" };
  return [svg("svg", whole, svg("polygon", { class: "under", points }), svg("polygon", { points }))];
}
