/** Detections in an answer, `cup<loc100><loc250><loc500><loc999>`, eight location tokens for a rotated box: drawn and listed. */

import { h, svg } from "./dom.js";
import { number, t } from "./i18n.js";

const CELLS = 1000; // cells of the location grid in each direction
const BOX = /(?:<loc\d{1,3}>){8}|(?:<loc\d{1,3}>){4}/g;
const CORNERS = /(?:<loc\d{1,3}>){8}/g;
const HALF = /(?:<loc\d{1,3}>){0,7}(?:<(?:l(?:o(?:c\d{0,3})?)?)?)?$/; // a box at the end that may be incomplete: four location tokens may become eight
const LONGEST = 60; // characters of a class name
const MOST = 200; // boxes that are drawn; the list has all detections

/**
 * @typedef {{kind: string, left: number, top: number, right: number, bottom: number, corners?: number[][]}} Detection
 *   In fractions of width and height; `corners` of a rotated box, [x, y] each.
 * @param {string} text
 * @returns {(string|Detection[])[]} Texts and runs of adjacent detections, in order.
 */
export function boxed(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(BOX)) {
    const before = text.slice(end, match.index);
    const cut = Math.max(...[";", "\n", "<", ">"].map((mark) => before.lastIndexOf(mark))) + 1;
    const words = before.slice(0, cut);
    const last = found.at(-1);
    const detection = read(before.slice(cut).trim(), match[0]);
    if (Array.isArray(last) && /^[\s;]*$/.test(words)) last.push(detection);
    else found.push(...(/^[\s;]*$/.test(words) ? [] : [words]), [detection]);
    end = match.index + match[0].length;
  }
  const rest = text.slice(end);
  return [...found, ...(found.length && /^[\s;]*$/.test(rest) ? [] : [rest])];
}

/** A streaming text without an incomplete box at its end. */
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

const percent = (fraction) => number(100 * fraction);

/** A detection as text. */
export function inPlace({ kind, left, top, right, bottom, corners }) {
  if (corners) {
    const places = corners.map((corner) => corner.map((fraction) => `${percent(fraction)} %`).join(" / ")).join(", ");
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

  show({ detections }) {
    const shown = JSON.stringify(detections);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#list.replaceChildren(...detections.map((each) => h("li", {}, inPlace(each))));
    if (!this.image) return;
    const drawn = detections.filter(({ left, top, right, bottom }) => left < right && top < bottom).slice(0, MOST);
    this.#frame.replaceChildren(
      h("img", { src: this.image, alt: t("boxedImage", { count: detections.length }) }),
      svg("svg", { "aria-hidden": "true", width: "100%", height: "100%" }, drawn.map(outline)),
    );
  }
}

function outline({ kind, left, top, right, bottom, corners }) {
  const length = (fraction) => `${100 * fraction}%`;
  const at = { x: length(left), y: length(top), width: length(right - left), height: length(bottom - top) };
  return svg(
    "g",
    {},
    ...(corners ? turned(corners) : [svg("rect", { class: "under", ...at }), svg("rect", at)]), // visible on any image
    svg("text", { x: at.x, y: at.y, dx: 4, dy: 15 }, kind),
  );
}

/** The outline of a rotated box, stretched with the image: points of a polygon cannot be percentages. */
function turned(corners) {
  const points = corners.map((corner) => corner.map((fraction) => 100 * fraction).join(",")).join(" ");
  const whole = { viewBox: "0 0 100 100", preserveAspectRatio: "none", width: "100%", height: "100%" };
  return [svg("svg", whole, svg("polygon", { class: "under", points }), svg("polygon", { points }))];
}
