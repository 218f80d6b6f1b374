/**
 * The chat session: sending, stopping, regenerating and editing in conversations. Views listen to its events:
 * "shown" (another conversation, or another branch), "grown" (detail: the message that got longer), "ended" (detail: the message),
 * "listed" (the list of conversations changed), "proposed" (detail: a text for the message field), "unkept" (detail: the error, when a conversation could not be kept).
 */

import { generate } from "./generate.js";
import { prefer, preference } from "./preferences.js";
import { sent } from "./sampling.js";
import * as tree from "./tree.js";

const KEEP_EVERY = 2000; // milliseconds between two writes of an answer that grows

export class ChatSession extends EventTarget {
  #store;
  #running = new Map(); // id of a conversation: its answer under way
  #due = new Map(); // id of a conversation: the timer of its next write
  #removed = new Set(); // ids that an answer under way must not bring back

  constructor(store) {
    super();
    this.#store = store;
    this.server = { models: [], defaults: {}, limits: {}, runs: false };
    this.current = this.#blank();
    store.watch((id) => this.#otherTab(id));
  }

  get kept() {
    return this.#store.kept;
  }

  /** The model that the shown conversation talks to, as the server describes it; undefined if there is none. */
  get model() {
    return this.server.models.find(({ id }) => id === this.current.model) ?? this.server.models[0];
  }

  /** The answer under way in a conversation (the shown one), or undefined. */
  running(id = this.current.id) {
    return this.#running.get(id)?.node;
  }

  // --- which conversation ------------------------------------------------------------------------------------

  /** Show a conversation of the store; false if there is none of that id. */
  async open(id) {
    if (id === this.current.id) return true;
    const found = this.#running.get(id)?.whole ?? (await this.#store.get(id));
    if (!found) return false;
    if (!this.#running.has(id)) for (const node of Object.values(found.nodes)) if (node.state === "running") node.state = "stopped";
    this.#show(found);
    return true;
  }

  /** Show an empty conversation, with the model and the settings of the last one. */
  fresh() {
    this.#show(this.#blank());
  }

  heads(search = "") {
    return this.#store.search(search);
  }

  all() {
    return this.#store.all();
  }

  async rename(id, title) {
    const found = id === this.current.id ? this.current : (this.#running.get(id)?.whole ?? (await this.#store.get(id)));
    if (!found) return;
    Object.assign(found, { title, titled: true });
    await this.keep(found);
    if (found === this.current) this.#tell("shown");
  }

  /** Forget a conversation; returns it, for those who change their mind (see `take`). */
  async remove(id) {
    this.#removed.add(id);
    this.stop(id);
    clearTimeout(this.#due.get(id));
    this.#due.delete(id);
    const found = id === this.current.id ? this.current : await this.#store.get(id);
    await this.#store.remove(id);
    if (id === this.current.id) this.fresh();
    this.#tell("listed");
    return found;
  }

  /** Keep conversations that came from elsewhere. */
  async take(conversations) {
    for (const whole of conversations) {
      this.#removed.delete(whole.id);
      if (!(await this.keep(whole))) break;
    }
    this.#tell("listed");
  }

  /** Change model, system prompt, sampling or tools of the shown conversation; new ones begin with the same. */
  change(values) {
    Object.assign(this.current, values);
    const { model, system, sampling, tools } = this.current;
    prefer("last", { model, system, sampling, tools });
    if (Object.keys(this.current.nodes).length) this.#later(this.current);
    this.#tell("changed");
  }

  // --- talking -----------------------------------------------------------------------------------------------

  /** Append a message to the shown branch and generate an answer. */
  send(text, images = []) {
    this.#say(tree.path(this.current).at(-1)?.id ?? null, { role: "user", content: text, ...(images.length ? { images } : {}) });
  }

  /** Put a text into the message field of the shown conversation. */
  propose(text) {
    this.dispatchEvent(new CustomEvent("proposed", { detail: text }));
  }

  /** Edit a message as a new version; the old one stays on its branch. Of an answer only the text is edited. */
  edit(node, text, images = node.images ?? []) {
    if (node.role === "assistant") {
      tree.add(this.current, node.parent, { role: "assistant", content: text, state: "done", edited: true, model: node.model });
      this.#later(this.current);
      this.#tell("shown");
    } else {
      this.#say(node.parent, {
        role: node.role,
        content: text,
        ...(images.length ? { images } : {}),
        ...(node.callId ? { callId: node.callId, name: node.name } : {}),
      });
    }
  }

  /** Ask again for an answer; the old one stays on its branch. */
  retry(node) {
    if (!this.running()) this.#answer(this.current, node.role === "assistant" ? node.parent : node.id);
  }

  /** Give the result of a tool that an answer called; when all are there the model goes on. */
  result(node, call, text) {
    const waiting = node.calls.filter(({ id }) => id !== call.id && !this.results(node).has(id));
    const last = tree.path(this.current).at(-1);
    tree.add(this.current, last.id, { role: "tool", callId: call.id, name: call.name, content: text });
    if (waiting.length) {
      this.#later(this.current);
      this.#tell("shown");
    } else {
      this.#answer(this.current, tree.path(this.current).at(-1).id);
    }
  }

  /** The ids of an answer's calls whose results stand behind it. */
  results(node) {
    const shown = tree.path(this.current);
    const found = new Set();
    for (const next of shown.slice(shown.indexOf(node) + 1)) {
      if (next.role !== "tool") break;
      found.add(next.callId);
    }
    return found;
  }

  choose(node) {
    tree.choose(this.current, node);
    this.#later(this.current);
    this.#tell("shown");
  }

  /** Stop the answer under way; what was said stays. */
  stop(id = this.current.id) {
    this.#running.get(id)?.controller.abort();
  }

  #say(parent, message) {
    if (this.running()) return;
    const node = tree.add(this.current, parent, message);
    this.#answer(this.current, node.id);
  }

  async #answer(whole, parent) {
    const model = this.model?.id;
    whole.model = model ?? null;
    const node = tree.add(whole, parent, { role: "assistant", content: "", state: "running", model });
    const controller = new AbortController();
    this.#running.set(whole.id, { node, controller, whole });
    this.#tell("shown");
    await this.keep(whole);
    try {
      await generate(this.#body(whole, parent), node, controller.signal, () => this.#grown(whole, node));
      node.state = "done";
    } catch (error) {
      node.state = error.name === "AbortError" ? "stopped" : "failed";
      if (node.state === "failed") node.trouble = { kind: error.kind ?? "odd", detail: error.detail ?? String(error), after: error.after ?? null };
    }
    this.#running.delete(whole.id);
    this.#tell("ended", { whole, node });
    await this.keep(whole);
  }

  #body(whole, parent) {
    const tools = whole.tools.trim() ? { tools: JSON.parse(whole.tools) } : {};
    return { model: whole.model, messages: tree.messages(whole.system, tree.upTo(whole, parent)), ...sent(whole.sampling), ...tools };
  }

  #grown(whole, node) {
    this.#later(whole);
    if (whole === this.current) this.#tell("grown", { node });
  }

  // --- keeping -----------------------------------------------------------------------------------------------

  /** Write a conversation to the store; whether that worked. */
  async keep(whole) {
    clearTimeout(this.#due.get(whole.id));
    this.#due.delete(whole.id);
    if (this.#removed.has(whole.id)) return false;
    try {
      await this.#store.put(whole);
    } catch (error) {
      this.#tell("unkept", { error });
      return false;
    }
    this.#tell("listed");
    return true;
  }

  #later(whole) {
    if (!this.#due.has(whole.id))
      this.#due.set(
        whole.id,
        setTimeout(() => this.keep(whole), KEEP_EVERY),
      );
  }

  async #otherTab(id) {
    this.#tell("listed");
    if (id !== this.current.id || this.running()) return;
    const found = await this.#store.get(id);
    if (!found) return;
    tree.adopt(this.current, found);
    this.#tell("shown");
  }

  #blank() {
    return tree.conversation(preference("last", {}));
  }

  #show(whole) {
    this.current = whole;
    this.#tell("shown");
    this.#tell("changed");
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
