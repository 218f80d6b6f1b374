/** The lineage of a model as a picture: what was made from what, left to right. */

import { h, svg } from "./dom.js";
import { t } from "./i18n.js";

const WIDTH = 168;
const GAP = 44;
const LINE = 16;
const SPACE = 18;
const FIT = 22; // characters of a title that fit; a Chinese one counts double

/**
 * A picture of the nodes and edges, and the same as a list for those who do not see it.
 * @param {{nodes: {id: string, kind: string, title: string, lines: string[]}[], edges: [string, string][]}} lineage
 */
export function lineagePicture({ nodes, edges }) {
  const known = edges.filter(([from, to]) => nodes.some(({ id }) => id === from) && nodes.some(({ id }) => id === to));
  const columns = layers(nodes, known);
  const boxes = new Map(placed(nodes, columns).map((box) => [box.id, box]));
  const all = [...boxes.values()];
  const width = Math.max(...all.map(({ x }) => x)) + WIDTH + 2;
  const height = Math.max(...all.map(({ y, height: own }) => y + own)) + 2;
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, class: "lineage", "aria-hidden": "true" },
    known.map(([from, to]) => svg("path", { d: line(boxes.get(from), boxes.get(to)), class: "edge" })),
    all.map(drawn),
  );
  const made = (id) => known.filter(([, to]) => to === id).map(([from]) => boxes.get(from).title);
  const list = nodes.map(({ id, title, lines }) => h("li", {}, [title, ...lines].join(", "), made(id).length ? ` ← ${made(id).join(", ")}` : ""));
  return h(
    "div",
    {},
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("lineage") }, picture),
    h("details", { class: "fold" }, h("summary", {}, t("asList")), h("ul", {}, list)),
  );
}

/** How many steps each node is from the sources; what stands in a circle stays at the left. @returns {Map<string, number>} */
export function layers(nodes, edges) {
  const depth = new Map(nodes.map(({ id }) => [id, 0]));
  for (let round = 0; round < nodes.length; round++) {
    let moved = false;
    for (const [from, to] of edges) {
      if (depth.get(to) <= depth.get(from) && depth.get(from) + 1 < nodes.length) {
        depth.set(to, depth.get(from) + 1);
        moved = true;
      }
    }
    if (!moved) break;
  }
  return depth;
}

function placed(nodes, columns) {
  const below = new Map(); // column: where its next box begins
  return nodes.map((node) => {
    const column = columns.get(node.id);
    const y = below.get(column) ?? 1;
    const height = 34 + LINE * node.lines.length;
    below.set(column, y + height + SPACE);
    return { ...node, x: column * (WIDTH + GAP) + 1, y, height };
  });
}

function line(from, to) {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + from.height / 2, to.x, to.y + to.height / 2];
  const bend = Math.max(GAP / 2, (x2 - x1) / 3);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

function drawn({ x, y, height, kind, title, lines }) {
  return svg(
    "g",
    { transform: `translate(${x} ${y})`, class: `box ${["source", "stage", "model"].includes(kind) ? kind : "stage"}` },
    svg("title", {}, [title, ...lines].join(", ")),
    svg("rect", { width: WIDTH, height, rx: 6 }),
    svg("text", { x: 12, y: 22, class: "title" }, fit(title, FIT)),
    lines.map((text, place) => svg("text", { x: 12, y: 40 + LINE * place }, fit(text, FIT + 4))),
  );
}

function fit(text, most) {
  let width = 0;
  const characters = [...text];
  for (const [place, character] of characters.entries()) {
    width += character.codePointAt(0) > 0x2e7f ? 2 : 1;
    if (width > most) return `${characters.slice(0, place).join("")}…`;
  }
  return text;
}
