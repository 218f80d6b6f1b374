/** The message field, with image attachments where the model takes images, and the send and stop button. */

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { ACCEPT, picture } from "./images.js";
import { number, t } from "./i18n.js";
import { toast } from "./toast.js";
import { path } from "./tree.js";

const MOST_IMAGES = 8;
const drafts = new Map(); // id of a conversation: what is written but not sent; outlives a change of language

export class Composer {
  #images = [];
  #shown = null; // id of the conversation whose draft is in the field

  /** @param {import("./session.js").ChatSession} session @param {{end: () => void, last: (role: string) => any}} transcript @param {AbortSignal} signal */
  constructor(session, transcript, signal) {
    this.session = session;
    this.transcript = transcript;
    this.field = h("textarea", {
      id: "composer", rows: 1, "aria-label": t("message"), placeholder: t("message"), "aria-describedby": "composer-hint", enterkeyhint: "send",
      onkeydown: (event) => this.#key(event), oninput: () => this.#grow(), onpaste: (event) => this.#paste(event),
    }); // prettier-ignore
    this.file = h("input", { type: "file", accept: ACCEPT, multiple: true, hidden: true, onchange: () => this.#attach([...this.file.files]) });
    this.attach = h(
      "button",
      { class: "quiet", type: "button", "aria-label": t("attach"), title: t("attach"), onclick: () => this.file.click() },
      icon("image"),
    );
    this.button = h("button", { class: "round", type: "submit" });
    this.previews = h("ul", { class: "previews", "aria-label": t("images"), hidden: true });
    this.meter = h("span", { class: "meter" });
    this.element = h(
      "form",
      {
        class: "composer",
        onsubmit: (event) => (event.preventDefault(), this.#press()),
        ondragover: (event) => this.#sees && event.preventDefault(),
        ondrop: (event) => this.#drop(event),
      },
      this.previews,
      h("div", { class: "line" }, this.attach, this.file, this.field, this.button),
      h("p", { id: "composer-hint", class: "note" }, h("span", { class: "keys" }, t("composerHint")), this.meter),
    );
    for (const name of ["shown", "changed", "ended"]) session.addEventListener(name, () => this.show(), { signal });
    session.addEventListener("proposed", ({ detail }) => this.#propose(detail), { signal });
    this.show();
  }

  #propose(text) {
    this.field.value = text;
    this.#grow();
    this.#fullness();
    this.focus();
  }

  /** Show the state of the conversation: its draft, the inputs that the model accepts, whether an answer is being generated. */
  show() {
    const { current } = this.session;
    if (this.#shown !== current.id) {
      this.#shown = current.id;
      const draft = drafts.get(current.id) ?? { text: "", images: [] };
      this.field.value = draft.text;
      this.#images = draft.images;
    }
    this.#grow();
    this.attach.hidden = !this.#sees;
    if (!this.#sees) this.#images = [];
    this.#preview();
    const running = Boolean(this.session.running());
    const label = running ? t("stop") : t("send");
    this.button.setAttribute("aria-label", label);
    this.button.title = label;
    this.button.classList.toggle("stop", running);
    this.button.replaceChildren(icon(running ? "stop" : "send"));
    this.#fullness();
  }

  focus() {
    this.field.focus();
  }

  get #sees() {
    return Boolean(this.session.model?.images);
  }

  #press() {
    if (this.session.running()) return this.session.stop();
    const text = this.field.value.trim();
    if ((!text && !this.#images.length) || !this.session.model) return this.field.focus();
    const images = this.#images;
    this.#images = [];
    this.field.value = "";
    this.#grow();
    this.session.send(text, images);
    this.transcript.end();
    return this.field.focus();
  }

  #key(event) {
    if (event.isComposing || event.keyCode === 229) return; // Enter that ends a word in an input method sends nothing
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      if (!this.session.running()) this.#press();
    } else if (event.key === "ArrowUp" && !this.field.value && !this.session.running()) {
      const last = this.transcript.last("user");
      if (last) {
        event.preventDefault();
        last.edit();
      }
    }
  }

  #grow() {
    this.field.style.height = "auto";
    if (this.field.isConnected) this.field.style.height = `${this.field.scrollHeight}px`;
    drafts.set(this.#shown, { text: this.field.value, images: this.#images });
  }

  /** How much of the context the conversation uses, once the server has counted its tokens. */
  #fullness() {
    const counted = path(this.session.current).findLast(({ usage }) => usage)?.usage;
    const context = this.session.model?.context;
    this.meter.hidden = !counted || !context;
    if (this.meter.hidden) return;
    const used = counted.prompt + counted.answer;
    this.meter.textContent = t("filled", { used: number(used), context: number(context) });
    this.meter.classList.toggle("warn", used > 0.9 * context);
  }

  // --- pictures ----------------------------------------------------------------------------------------------

  #paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || !this.#sees) return;
    event.preventDefault();
    this.#attach(files);
  }

  #drop(event) {
    event.preventDefault(); // a file dropped here must not replace the page
    if (this.#sees) this.#attach([...event.dataTransfer.files]);
  }

  async #attach(files) {
    this.file.value = "";
    for (const file of files) {
      if (this.#images.length >= MOST_IMAGES) return toast(t("tooManyImages", { count: MOST_IMAGES }));
      const url = await picture(file);
      if (url) this.#images.push(url);
      else toast(t("noPicture", { name: file.name }));
    }
    this.#grow();
    return this.#preview();
  }

  #preview() {
    const item = (url, place) =>
      h(
        "li",
        {},
        h("img", { src: url, alt: t("imageNumber", { number: place + 1 }) }),
        h(
          "button",
          { class: "quiet", type: "button", "aria-label": t("removeImage", { number: place + 1 }), onclick: () => this.#detach(place) },
          icon("close"),
        ),
      );
    this.previews.replaceChildren(...this.#images.map(item));
    this.previews.hidden = !this.#images.length;
  }

  #detach(place) {
    this.#images.splice(place, 1);
    this.#grow();
    this.#preview();
    this.focus();
  }
}
