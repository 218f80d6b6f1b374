/** The messages of the shown conversation; scrolls with new text unless the reader has scrolled away. */

import { Speaker, announce } from "./announce.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { number, short, t } from "./i18n.js";
import { MessageView } from "./message.js";
import { errorText } from "./error_text.js";
import { path } from "./tree.js";

const NEAR = 60; // pixels from the end that still count as there
const REST = 3; // a growing answer is drawn for at most a share of 1 in REST + 1 of the time

export class Transcript {
  #views = new Map(); // id: MessageView
  #drawn = 0; // when the answer may be drawn again
  #asked = false;
  #follows = true;
  #top = 0;
  #speaker = null;
  #begun = undefined; // the answer whose beginning was told
  #sizes = new ResizeObserver(() => (this.#follows ? this.#toEnd() : this.#scrolled())); // long texts grow when they can

  /** @param {import("./session.js").ChatSession} session @param {AbortSignal} signal Ends the view. */
  constructor(session, signal) {
    this.session = session;
    this.log = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": t("conversation"), tabindex: "0" });
    this.jump = h("button", { class: "jump", type: "button", hidden: true, onclick: () => this.end() }, icon("down"), t("toEnd"));
    this.element = h("div", { class: "transcript" }, this.log, this.jump);
    this.log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    session.addEventListener("shown", () => this.show(), { signal });
    session.addEventListener("changed", () => this.log.classList.contains("empty") && this.show(), { signal }); // another model
    session.addEventListener("grown", ({ detail }) => this.#grow(detail.node), { signal });
    session.addEventListener("ended", ({ detail }) => this.#ended(detail), { signal });
    this.show();
  }

  /** Show the conversation as it is now. */
  show() {
    const shown = path(this.session.current);
    const same = shown.length > 0 && this.#views.has(shown[0].id);
    const views = new Map(shown.map((node) => [node.id, this.#view(node)]));
    this.#views = views;
    const wanted = shown.length ? [...views.values()].map((view) => view.element) : [this.#welcome()];
    // Those that stay are not moved: a field or a fold in them keeps its state.
    const keep = new Set(wanted);
    for (const old of [...this.log.children]) if (!keep.has(old)) old.remove();
    wanted.forEach((element, place) => this.log.children[place] !== element && this.log.insertBefore(element, this.log.children[place] ?? null));
    this.log.classList.toggle("empty", !shown.length);
    this.#sizes.disconnect();
    wanted.forEach((element) => this.#sizes.observe(element));
    if (!same) this.#speaker = null; // what was being read out is not shown any more
    const running = this.session.running();
    if (running && running !== this.#begun) announce(t("answering"));
    this.#begun = running;
    if (running || !same) this.end();
  }

  /** Go to the last message. */
  end() {
    this.#follows = true;
    this.#toEnd();
  }

  /** The view of the last message of a role, or undefined. */
  last(role) {
    return [...this.#views.values()].findLast(({ node }) => node.role === role);
  }

  #toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
    this.#scrolled();
  }

  #view(node) {
    const known = this.#views.get(node.id);
    if (known?.node === node) {
      known.show();
      return known;
    }
    const view = new MessageView(node, this.session);
    view.element.dataset.id = node.id;
    return view;
  }

  #grow(node) {
    this.#speaker ??= new Speaker();
    this.#speaker.grow(node.content);
    if (this.#asked) return;
    this.#asked = true;
    const draw = () => {
      if (performance.now() < this.#drawn) return requestAnimationFrame(draw);
      this.#asked = false;
      if (node.state === "running") this.#draw(node);
      return undefined;
    };
    requestAnimationFrame(draw);
  }

  #draw(node) {
    const began = performance.now();
    this.#views.get(node.id)?.show();
    this.#drawn = performance.now() + REST * (performance.now() - began);
  }

  #ended({ whole, node }) {
    if (whole !== this.session.current) return;
    this.#views.forEach((view) => view.show()); // all have their buttons back
    (this.#speaker ?? new Speaker()).end(node.content);
    this.#speaker = null;
    if (node.state === "failed") announce(errorText(node.trouble));
    if (node.state === "stopped") announce(t("stopped"));
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    // A log that has grown is further from its end without anybody having moved: only going up leaves it.
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR || (this.#follows && scrollTop >= this.#top);
    this.#top = scrollTop;
    this.jump.hidden = this.#follows;
  }

  /** Prompts to try: a press puts one into the message field. */
  #examples(examples) {
    const propose = (text) => this.session.propose(text);
    const item = (text) => h("li", {}, h("button", { class: "plain example", type: "button", onclick: () => propose(text) }, text));
    return h("ul", { class: "examples", "aria-label": t("examples") }, examples.map(item));
  }

  #welcome() {
    const { model } = this.session;
    const facts = model && [
      model.parameters && t("parameters", { count: short(model.parameters) }),
      model.context && t("contextOf", { count: number(model.context) }),
      model.weights && t(`weights.${model.weights}`),
      model.images && t("seesImages"),
    ];
    const head = h("h2", {}, model ? t("welcome", { model: model.id }) : t("noModel"));
    return h(
      "div",
      { class: "welcome" },
      head,
      model?.purpose && h("p", { class: "purpose" }, model.purpose),
      facts && h("p", {}, facts.filter(Boolean).join(" · ")),
      model?.examples && this.#examples(model.examples),
      !this.session.kept && h("p", { class: "error" }, icon("warn"), t("keepsNothing")),
    );
  }
}
