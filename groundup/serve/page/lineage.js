/** The lineage of a model as a graph, drawn from left to right. */

import { h, svg } from "./dom.js";
import { t } from "./i18n.js";

const WIDTH = 168;
const GAP = 44;
const LINE = 16;
const SPACE = 18;
const LANE = 8; // height that a line takes where it passes a column
const SWEEPS = 4;
const EDGE = 12; // between a box and its texts
const FONTS = { title: "600 13px", line: "12px" }; // as runs.css has them

/**
 * A drawing of the nodes and edges, and the same as a list for screen readers.
 * @param {{nodes: {id: string, kind: string, title: string, lines: string[]}[], edges: [string, string][]}} lineage
 */
export function lineagePicture({ nodes, edges }) {
  const ids = new Set(nodes.map(({ id }) => id));
  const known = edges.filter(([from, to]) => ids.has(from) && ids.has(to));
  const { boxes, paths, width, height } = placed(nodes, known);
  const name = svg("title", { id: "lineage-title" }, t("lineage"));
  const picture = svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      class: "lineage",
      role: "img",
      "aria-labelledby": "lineage-title",
      "aria-describedby": "lineage-words",
    },
    name,
    svg("desc", { id: "lineage-words" }, t("lineageOf", { count: nodes.length })),
    paths.map((path) => svg("path", { d: path, class: "edge" })),
    boxes.map(drawn),
  );
  const titles = new Map(nodes.map(({ id, title }) => [id, title]));
  const made = (id) => known.filter(([, to]) => to === id).map(([from]) => titles.get(from));
  const list = nodes.map(({ id, title, lines }) => h("li", {}, [title, ...lines].join(", "), made(id).length ? ` ← ${made(id).join(", ")}` : ""));
  return h(
    "div",
    {},
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("lineage") }, picture),
    h("details", { class: "fold" }, h("summary", {}, t("asList")), h("ul", {}, list)),
  );
}

/** The layer of each node: its distance from the sources; cycles stay at the left. @returns {Map<string, number>} */
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

// --- places --------------------------------------------------------------------------------------------------

/** Lay out nodes in columns, and edges in lanes between the nodes of a column. */
function placed(nodes, edges) {
  const depth = layers(nodes, edges);
  const boxes = nodes.map((node) => ({ ...node, column: depth.get(node.id), height: 34 + LINE * node.lines.length, near: [] }));
  const byId = new Map(boxes.map((box) => [box.id, box]));
  const lanes = new Map();
  const chains = edges.map(([from, to]) => chain(byId.get(from), byId.get(to), lanes));
  const columns = [];
  for (const place of [...boxes, ...lanes.values()]) (columns[place.column] ??= []).push(place);
  order(columns.filter(Boolean));
  const all = columns.flat();
  return {
    boxes,
    paths: chains.map(line),
    width: Math.max(...boxes.map(({ x }) => x)) + WIDTH + 2,
    height: Math.max(...all.map(({ y, height }) => y + height)) + 2,
  };
}

/** The points of an edge: its ends, and a lane in each column between them, shared by all edges of one start. */
function chain(from, to, lanes) {
  const links = [from];
  for (let column = from.column + 1; column < to.column; column++) {
    const key = JSON.stringify([from.id, column]);
    if (!lanes.has(key)) lanes.set(key, { column, height: LANE, near: [], lane: true });
    links.push(lanes.get(key));
  }
  links.push(to);
  for (let place = 1; place < links.length; place++) {
    links[place].near.push(links[place - 1]);
    links[place - 1].near.push(links[place]);
  }
  return links;
}

/** Order each column by its neighbours, in both directions, so that few edges cross; then place all nodes. */
function order(columns) {
  columns.forEach(stack);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const column of sweep % 2 ? [...columns].reverse() : columns) {
      const pull = new Map(column.map((place) => [place, place.near.length ? mean(place.near.map(middle)) : middle(place)]));
      column.sort((one, other) => pull.get(one) - pull.get(other));
      stack(column);
    }
  }
  const tallest = Math.max(...columns.map((column) => column.at(-1).y + column.at(-1).height));
  for (const column of columns) {
    const shift = (tallest - column.at(-1).y - column.at(-1).height) / 2;
    for (const place of column) place.y += shift;
  }
}

function stack(column) {
  let y = 1;
  for (const place of column) {
    Object.assign(place, { x: place.column * (WIDTH + GAP) + 1, y });
    y += place.height + SPACE;
  }
}

function middle({ y, height }) {
  return y + height / 2;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** An edge as a path; straight in lanes. */
function line(links) {
  const pieces = links.slice(1).map((to, place) => {
    const from = links[place];
    const [x1, y1, x2, y2] = [from.x + WIDTH, middle(from), to.x, middle(to)];
    const bend = x2 > x1 ? (x2 - x1) / 2 : GAP;
    return `C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}${to.lane ? `h${WIDTH}` : ""}`;
  });
  return `M${links[0].x + WIDTH} ${middle(links[0])}${pieces.join("")}`;
}

// --- drawing -------------------------------------------------------------------------------------------------

function drawn({ x, y, height, kind, title, lines }) {
  return svg(
    "g",
    { transform: `translate(${x} ${y})`, class: `box ${["source", "stage", "model"].includes(kind) ? kind : "stage"}` },
    svg("title", {}, [title, ...lines].join(", ")),
    svg("rect", { width: WIDTH, height, rx: 6 }),
    svg("text", { x: EDGE, y: 22, class: "title" }, fit(title, FONTS.title)),
    lines.map((text, place) => svg("text", { x: EDGE, y: 40 + LINE * place }, fit(text, FONTS.line))),
  );
}

/** A text truncated to the width of a node, as measured by the browser. */
function fit(text, font) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${font} ${getComputedStyle(document.body).fontFamily}`;
  const fits = (tried) => pen.measureText(tried).width <= WIDTH - 2 * EDGE;
  if (fits(text)) return text;
  const characters = [...text].slice(0, WIDTH);
  let [low, high] = [0, characters.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (fits(`${characters.slice(0, middle).join("")}…`)) low = middle;
    else high = middle - 1;
  }
  return `${characters.slice(0, low).join("")}…`;
}
