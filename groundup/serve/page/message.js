/** The view of one message and its actions. */

import { parts, pretty, words } from "./answer.js";
import { speed } from "./generate.js";
import { Boxes } from "./boxes.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { number, t } from "./i18n.js";
import { Prose, copyButton } from "./markup.js";
import { errorText } from "./error_text.js";
import { siblings, upTo } from "./tree.js";

/** The view of one message; updated while the message streams. */
export class MessageView {
  #parts = []; // views of the answer's parts
  #body = h("div", { class: "body" });
  #end = h("div", { class: "end" });

  /**
   * @param {import("./tree.js").Node} node
   * @param {import("./session.js").ChatSession} session
   */
  constructor(node, session) {
    this.node = node;
    this.session = session;
    const who = { user: t("you"), assistant: node.model ?? t("model"), tool: t("resultOf", { name: node.name ?? "" }) }[node.role];
    this.element = h("article", { class: `message ${node.role}`, "aria-label": who }, h("div", { class: "who" }, who), this.#body, this.#end);
    this.show();
  }

  /** Show the message as it is now. */
  show() {
    if (this.editing) return;
    const { node } = this;
    this.element.classList.toggle("running", node.state === "running");
    if (node.role === "assistant") this.#answer();
    else this.#words();
    this.#end.replaceChildren(...this.#below());
  }

  // --- what was said -----------------------------------------------------------------------------------------

  #words() {
    const images = (this.node.images ?? []).map((url, place) => h("img", { src: url, alt: t("imageNumber", { number: place + 1 }) }));
    this.#body.replaceChildren(...(images.length ? [h("div", { class: "images" }, images)] : []), h("div", { class: "said" }, this.node.content));
  }

  #answer() {
    const { node } = this;
    const running = node.state === "running";
    const found = parts(node.content, running);
    if (node.thought) found.unshift({ kind: "thought", text: node.thought, open: running && !node.content });
    const results = node.calls?.length ? this.session.results(node) : new Set();
    const asks = !running && this.session.model !== undefined && !this.session.running();
    for (const call of node.calls ?? []) {
      found.push({ kind: "call", name: call.name, text: pretty(call.arguments), call: asks && !results.has(call.id) ? call : null });
    }
    found.forEach((part, place) => this.#part(part, place, running && place === found.length - 1));
    for (const view of this.#parts.splice(found.length)) view.element.remove();
    this.#body.classList.toggle("waiting", running && !found.length);
  }

  #part(part, place, growing) {
    let view = this.#parts[place];
    if (view?.kind !== part.kind) {
      const next = { thought: () => new Thought(), call: () => new Call(this), boxes: () => new Boxes(this.#image()), text: () => new Prose() }[part.kind]();
      next.kind = part.kind;
      if (view) view.element.replaceWith(next.element);
      else this.#body.append(next.element);
      view = this.#parts[place] = next;
    }
    if (part.kind === "text") view.show(part.text, !growing);
    else view.show(part, !growing);
  }

  /** The image that was shown last before this message; null if there is none. */
  #image() {
    return upTo(this.session.current, this.node.id).findLast(({ images }) => images?.length)?.images.at(-1) ?? null;
  }

  // --- what stands below -------------------------------------------------------------------------------------

  #below() {
    const { node } = this;
    if (node.state === "running") return [];
    return [node.state === "failed" && this.#trouble(), this.#notes(), this.#actions()].filter(Boolean);
  }

  #trouble() {
    const { kind } = this.node.trouble;
    const retry = h("button", { class: "plain", type: "button", onclick: () => this.session.retry(this.node) }, t("tryAgain"));
    const key =
      kind === "key" && h("button", { class: "plain", type: "button", onclick: () => this.session.dispatchEvent(new Event("key")) }, t("enterKey"));
    return h("div", { class: "error" }, icon("warn"), h("span", {}, errorText(this.node.trouble)), key, retry);
  }

  #notes() {
    const { node } = this;
    if (node.state === "stopped") return h("p", { class: "note" }, t("stopped"));
    if (node.finish === "length") return h("p", { class: "note" }, t("cutShort"));
    return null;
  }

  #actions() {
    const { node, session } = this;
    const button = (name, label, act) =>
      h("button", { class: `quiet ${name}`, type: "button", "aria-label": label, title: label, onclick: act }, icon(name));
    const free = !session.running();
    return h(
      "div",
      { class: "actions" },
      this.#branches(),
      node.content.trim() && copyButton(() => (node.role === "assistant" ? words(node.content) : node.content), t("copyMessage")),
      free && button("edit", t("edit"), () => this.edit()),
      free && node.role === "assistant" && button("retry", t("retry"), () => session.retry(node)),
      h("span", { class: "figures" }, this.#figures()),
    );
  }

  #branches() {
    const all = siblings(this.session.current, this.node);
    if (all.length < 2) return null;
    const place = all.indexOf(this.node);
    const turn = (by, name, label) =>
      h(
        "button",
        {
          class: "quiet",
          type: "button",
          "aria-label": label,
          title: label,
          disabled: !all[place + by] || Boolean(this.session.running()),
          onclick: () => this.#turn(all[place + by], by),
        },
        icon(name),
      );
    const count = h("span", { "aria-label": t("versionOf", { number: place + 1, count: all.length }), role: "img" }, `${place + 1}/${all.length}`);
    return h(
      "span",
      { class: "branches", role: "group", "aria-label": t("versions") },
      turn(-1, "left", t("versionBefore")),
      count,
      turn(1, "right", t("versionAfter")),
    );
  }

  #turn(other, by) {
    const log = this.element.parentElement;
    this.session.choose(other);
    // The pressed button is gone with its branch; its twin on the new one takes the focus.
    const twins = log.querySelectorAll(`[data-id="${other.id}"] .branches button`);
    (twins[by < 0 ? 0 : 1]?.disabled ? twins[by < 0 ? 1 : 0] : twins[by < 0 ? 0 : 1])?.focus();
  }

  #figures() {
    const { usage, wait, seconds, edited } = this.node;
    if (edited) return t("edited");
    const rate = speed(this.node);
    return [
      usage && t("tokens", { count: usage.answer }),
      rate && t("perSecond", { rate: number(rate, rate < 100 ? 1 : 0) }),
      Number.isFinite(wait) && t("firstAfter", { seconds: number(wait, 2) }),
      !usage && Number.isFinite(seconds) && t("took", { seconds: number(seconds, 1) }),
    ]
      .filter(Boolean)
      .join(" · ");
  }

  // --- editing -----------------------------------------------------------------------------------------------

  /** Put a field in the message's place. Escape leaves it, Ctrl+Enter takes it. */
  edit() {
    if (this.editing) return;
    const { node } = this;
    const field = h("textarea", { "aria-label": t("edit"), rows: Math.min(12, node.content.split("\n").length + 1) });
    field.value = node.content;
    const leave = () => {
      this.editing = false;
      this.#parts = [];
      this.#body.replaceChildren();
      this.show();
      this.element.querySelector("button.edit")?.focus();
    };
    const take = () => {
      if (!field.value.trim() && !node.images?.length) return field.focus();
      const text = field.value;
      leave();
      if (node.role !== "assistant" || text !== node.content) this.session.edit(node, text);
    };
    const form = h(
      "form",
      { class: "editing", onsubmit: (event) => (event.preventDefault(), take()), onkeydown: (event) => keys(event, take, leave) },
      field,
      h("p", { class: "note" }, node.role === "assistant" ? t("editAnswerHint") : t("editHint")),
      h(
        "div",
        { class: "row" },
        h("button", { class: "main" }, node.role === "assistant" ? t("save") : t("send")),
        h("button", { class: "plain", type: "button", onclick: leave }, t("cancel")),
      ),
    );
    this.editing = true;
    this.#body.replaceChildren(form);
    this.#end.replaceChildren();
    field.focus();
  }
}

function keys(event, take, leave) {
  if (event.isComposing) return;
  if (event.key === "Escape") leave();
  else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) take();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

/** The reasoning, folded. */
class Thought {
  #prose = new Prose();
  #title = h("span", {});

  constructor() {
    this.element = h("details", { class: "fold" }, h("summary", {}, icon("thought"), this.#title), this.#prose.element);
  }

  show(part, done) {
    this.#title.textContent = part.open ? t("thinking") : t("thought");
    this.element.classList.toggle("open", Boolean(part.open));
    this.#prose.show(part.text, done);
  }
}

/** A tool call, folded, with a field for its result where the model waits for it. */
class Call {
  #title = h("span", {});
  #arguments = h("code", {});
  #result = h("div", {});
  #asked = null;

  constructor(message) {
    this.message = message;
    this.element = h(
      "div",
      { class: "call" },
      h("details", { class: "fold" }, h("summary", {}, icon("tool"), this.#title), h("pre", { tabindex: "0" }, this.#arguments)),
      this.#result,
    );
  }

  show({ name, text, call }) {
    this.#title.textContent = t("calls", { name });
    this.#arguments.textContent = text;
    if (call?.id === this.#asked?.id && Boolean(call) === Boolean(this.#asked)) return;
    this.#asked = call ?? null;
    this.#result.replaceChildren(...(call ? [this.#form(call)] : []));
  }

  #form(call) {
    const field = h("textarea", { rows: 2, "aria-label": t("resultOf", { name: call.name }), placeholder: t("resultOf", { name: call.name }) });
    const give = (event) => (event.preventDefault(), this.message.session.result(this.message.node, call, field.value));
    return h("form", { class: "editing", onsubmit: give }, field, h("div", { class: "row" }, h("button", { class: "main" }, t("giveResult"))));
  }
}
