/**
 * A conversation as a tree: editing or regenerating adds a sibling, so no version is lost.
 *
 * @typedef {{id: string, parent: string|null, role: "user"|"assistant"|"tool", content: string, images?: string[], thought?: string,
 *   calls?: {id: string, name: string, arguments: string}[], callId?: string, name?: string, state?: "running"|"done"|"stopped"|"failed",
 *   finish?: string, trouble?: object, usage?: object, wait?: number, seconds?: number, model?: string, edited?: boolean, time: number}} Node
 * @typedef {{id: string, title: string, titled: boolean, created: number, updated: number, model: string|null, system: string,
 *   sampling: Object<string, any>, tools: string, nodes: Object<string, Node>, chosen: Object<string, string>}} Conversation
 */

import { newId } from "./dom.js";

const ROOT = "root";
const TITLE = 60; // characters of the first message that make the title

/** An empty conversation. @returns {Conversation} */
export function conversation({ model = null, system = "", sampling = {}, tools = "" } = {}) {
  const now = Date.now();
  return {
    id: newId(),
    title: "",
    titled: false,
    created: now,
    updated: now,
    model,
    system,
    sampling: { ...sampling },
    tools,
    nodes: {},
    chosen: {},
  };
}

/** Add a message under `parent` (an id; null: the root) and show it. @returns {Node} */
export function add(conversation, parent, message) {
  const node = { id: newId(), parent, time: Date.now(), ...message };
  conversation.nodes[node.id] = node;
  choose(conversation, node);
  conversation.updated = node.time;
  if (!conversation.titled && parent === null) conversation.title = titleOf(node.content);
  return node;
}

/** The children of a message, oldest first. */
export function children(conversation, parent) {
  return Object.values(conversation.nodes).filter((node) => node.parent === parent);
}

/** A message and its versions on other branches, oldest first. */
export function siblings(conversation, node) {
  return children(conversation, node.parent);
}

/** Show the branch of a message. */
export function choose(conversation, node) {
  conversation.chosen[node.parent ?? ROOT] = node.id;
}

/** The messages of the shown branch. @returns {Node[]} */
export function path(conversation) {
  const found = [];
  const seen = new Set();
  const under = new Map();
  for (const node of Object.values(conversation.nodes)) under.set(node.parent, [...(under.get(node.parent) ?? []), node]);
  for (let place = null; ;) {
    const below = under.get(place) ?? [];
    const next = below.find((node) => node.id === conversation.chosen[place ?? ROOT]) ?? below.at(-1);
    if (!next || seen.has(next.id)) return found;
    seen.add(next.id);
    found.push(next);
    place = next.id;
  }
}

/** The messages from the root to one. @returns {Node[]} */
export function upTo(conversation, id) {
  const found = [];
  for (let node = conversation.nodes[id]; node && !found.includes(node); node = conversation.nodes[node.parent]) found.unshift(node);
  return found;
}

/** Merge messages that another tab wrote to the same conversation; `mine` wins where both have one. */
export function merge(mine, theirs) {
  const added = Object.values(theirs.nodes).filter((node) => !(node.id in mine.nodes));
  if (!added.length) return;
  const nodes = [...Object.values(mine.nodes), ...added].sort((one, other) => one.time - other.time);
  mine.nodes = Object.fromEntries(nodes.map((node) => [node.id, node]));
  mine.chosen = { ...theirs.chosen, ...mine.chosen };
}

/** Replace an idle conversation by another tab's version. */
export function adopt(mine, theirs) {
  for (const [id, node] of Object.entries(theirs.nodes)) if (id in mine.nodes) Object.assign(mine.nodes[id], node);
  merge(mine, theirs);
}

/**
 * Messages in the OpenAI shape, as the API takes them.
 * @param {string} system The system prompt; empty: none.
 * @param {Node[]} nodes Answers that failed without any text are left out.
 */
export function messages(system, nodes) {
  const said = nodes.filter((node) => node.role !== "assistant" || node.content || node.calls?.length);
  return [...(system.trim() ? [{ role: "system", content: system }] : []), ...said.map(message)];
}

function message(node) {
  if (node.role === "tool") return { role: "tool", tool_call_id: node.callId, content: node.content };
  if (node.role === "assistant") return { role: "assistant", content: node.content || null, ...calls(node) };
  if (!node.images?.length) return { role: "user", content: node.content };
  const images = node.images.map((url) => ({ type: "image_url", image_url: { url } }));
  return { role: "user", content: [...images, ...(node.content ? [{ type: "text", text: node.content }] : [])] };
}

function calls(node) {
  if (!node.calls?.length) return {};
  return { tool_calls: node.calls.map(({ id, name, arguments: given }) => ({ id, type: "function", function: { name, arguments: given } })) };
}

/** A title from the beginning of a text. */
export function titleOf(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return [...line].length > TITLE ? `${[...line].slice(0, TITLE).join("")}…` : line;
}
