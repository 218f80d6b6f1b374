/** Export and import of conversations: JSON with all branches, JSON Lines for training, Markdown for reading. */

import { newId } from "./dom.js";
import { isPicture } from "./images.js";
import { t } from "./i18n.js";
import { KNOBS } from "./sampling.js";
import { conversation, messages, path, titleOf } from "./tree.js";

const ROLES = ["user", "assistant", "tool"];
const LONGEST = 4 * 2 ** 20; // characters a message may have

/** The file holds no readable conversation. */
export class Unreadable extends Error {}

/** Conversations as one JSON text: `messages` is the shown branch in OpenAI's format; `branches` holds all versions. */
export function toJson(conversations) {
  const one = (whole) => ({
    title: whole.title,
    created: new Date(whole.created).toISOString(),
    model: whole.model,
    sampling: whole.sampling,
    ...(whole.tools.trim() ? { tools: JSON.parse(whole.tools) } : {}),
    messages: messages(whole.system, path(whole)),
    branches: { nodes: Object.values(whole.nodes), chosen: whole.chosen },
  });
  return JSON.stringify({ conversations: conversations.map(one) }, null, 2);
}

/** Conversations as JSON Lines for a source of kind "messages": the shown branch of each that has an answer. */
export function toLines(conversations) {
  return conversations
    .map((whole) => ({ messages: messages(whole.system, path(whole)), ...(whole.tools.trim() ? { tools: JSON.parse(whole.tools) } : {}) }))
    .filter((line) => line.messages.some(({ role }) => role === "assistant"))
    .map((line) => `${JSON.stringify(line)}\n`)
    .join("");
}

/** Conversations as Markdown: the shown branch, with headings. */
export function toMarkdown(conversations) {
  return conversations.map(markdown).join("\n\n---\n\n");
}

function markdown(whole) {
  const names = { user: t("you"), assistant: whole.model ?? t("model"), tool: t("tool") };
  const said = path(whole).map((node) => `## ${names[node.role]}\n\n${node.content}${called(node)}${pictured(node)}`);
  const system = whole.system.trim() ? [`> ${whole.system.trim().replaceAll("\n", "\n> ")}`] : [];
  return [`# ${whole.title || t("untitled")}`, ...system, ...said].join("\n\n");
}

function called({ calls = [] }) {
  return calls.map(({ name, arguments: given }) => `\n\n\`\`\`json\n${JSON.stringify({ name, arguments: given })}\n\`\`\``).join("");
}

function pictured({ images = [] }) {
  return images.map((url, place) => `\n\n![${t("imageNumber", { number: place + 1 })}](${url})`).join("");
}

// --- in ------------------------------------------------------------------------------------------------------

/**
 * Conversations from a text: this page's JSON, one OpenAI request, a list of them, or one a line.
 * Nothing is trusted: every field is checked, ids are new, pictures are data.
 * @throws {Unreadable}
 */
export function fromText(text) {
  const found = values(text).map(read);
  if (!found.length) throw new Unreadable();
  return found;
}

function values(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return lines(text);
  }
  if (Array.isArray(value)) return value;
  return Array.isArray(value?.conversations) ? value.conversations : [value];
}

function lines(text) {
  try {
    return text
      .split("\n")
      .filter((line) => line.trim())
      .map((line) => JSON.parse(line));
  } catch {
    throw new Unreadable();
  }
}

function read(value) {
  if (!Array.isArray(value?.messages)) throw new Unreadable();
  const whole = conversation({
    model: words(value.model) || null,
    sampling: knobs(value.sampling),
    tools: Array.isArray(value.tools) ? JSON.stringify(value.tools, null, 2) : "",
  });
  if (value.messages[0]?.role === "system") whole.system = plain(value.messages[0].content).text;
  const nodes = Array.isArray(value.branches?.nodes) ? branches(value.branches) : chain(value.messages.filter((said) => said?.role !== "system"));
  Object.assign(whole, nodes);
  const first = path(whole)[0];
  whole.title = words(value.title).slice(0, 200) || titleOf(first?.content ?? "");
  whole.titled = Boolean(words(value.title));
  const created = Date.parse(value.created);
  if (Number.isFinite(created)) whole.created = created;
  return whole;
}

/** A tree from a list of messages. */
function chain(said) {
  const nodes = {};
  let parent = null;
  for (const value of said) {
    if (typeof value !== "object" || value === null) throw new Unreadable();
    const { text, images } = plain(value.content);
    const calls = (Array.isArray(value.tool_calls) ? value.tool_calls : []).map((call) => ({
      id: call?.id,
      name: call?.function?.name,
      arguments: call?.function?.arguments,
    }));
    const node = checked({ ...value, content: text, images, calls, callId: value.tool_call_id }, parent);
    nodes[node.id] = node;
    parent = node.id;
  }
  return { nodes, chosen: {} };
}

/** A tree that `toJson` wrote; parents precede their children, so cycles are impossible. */
function branches({ nodes: given, chosen = {} }) {
  const ids = new Map([[null, null]]);
  const nodes = {};
  for (const value of given) {
    if (!ids.has(value?.parent ?? null) || ids.has(value?.id)) throw new Unreadable();
    const node = checked(value, ids.get(value.parent ?? null));
    nodes[node.id] = node;
    ids.set(value.id, node.id);
  }
  const picked = Object.entries(chosen).filter(([parent, child]) => (parent === "root" || ids.has(parent)) && ids.has(child));
  return { nodes, chosen: Object.fromEntries(picked.map(([parent, child]) => [ids.get(parent) ?? parent, ids.get(child)])) };
}

function checked(value, parent) {
  if (!ROLES.includes(value?.role) || typeof value.content !== "string" || value.content.length > LONGEST) throw new Unreadable();
  const time = Number.isFinite(value.time) ? value.time : Date.now();
  const node = { id: newId(), parent, role: value.role, content: value.content, time };
  const images = (Array.isArray(value.images) ? value.images : []).filter(isPicture);
  if (images.length) node.images = images;
  if (Array.isArray(value.calls) && value.calls.length)
    node.calls = value.calls.map((call) => ({ id: words(call?.id), name: words(call?.name), arguments: words(call?.arguments) || "{}" }));
  for (const name of ["thought", "model", "callId", "name", "finish"]) if (words(value[name])) node[name] = value[name];
  for (const name of ["wait", "seconds"]) if (Number.isFinite(value[name])) node[name] = value[name];
  if (["prompt", "answer"].every((name) => Number.isFinite(value.usage?.[name])))
    node.usage = { prompt: value.usage.prompt, answer: value.usage.answer, cached: Number(value.usage.cached) || 0 };
  if (value.edited === true) node.edited = true;
  if (node.role === "assistant") node.state = value.state === "stopped" ? "stopped" : "done";
  return node;
}

/** The text and the images of a message's content. */
function plain(content) {
  if (content === null || content === undefined) return { text: "", images: [] };
  if (typeof content === "string") return { text: content, images: [] };
  if (!Array.isArray(content)) throw new Unreadable();
  return {
    text: content.map((part) => words(part?.text)).join(""),
    images: content.map((part) => part?.image_url?.url).filter(isPicture),
  };
}

function knobs(sampling) {
  const set = KNOBS.filter(({ name }) => Number.isFinite(sampling?.[name])).map(({ name }) => [name, sampling[name]]);
  return { ...Object.fromEntries(set), ...(words(sampling?.stop) ? { stop: sampling.stop } : {}) };
}

function words(value) {
  return typeof value === "string" ? value : "";
}
