/** The list of conversations: search, open, rename, remove. */

import { h, settled } from "./dom.js";
import { icon } from "./icons.js";
import { day, t } from "./i18n.js";
import { toast } from "./toast.js";

const DAY = 24 * 3600 * 1000;

export class Sidebar {
  #renaming = null; // id

  /** @param {import("./session.js").ChatSession} session @param {AbortSignal} signal */
  constructor(session, signal) {
    this.session = session;
    this.search = h("input", {
      type: "search",
      id: "search",
      "aria-label": t("search"),
      placeholder: t("search"),
      autocomplete: "off",
      oninput: settled(150, () => this.show()),
    });
    this.list = h("div", { class: "conversations" });
    this.element = h("div", { class: "side-list" }, h("div", { class: "search" }, icon("search"), this.search), this.list);
    session.addEventListener("listed", () => this.show(), { signal });
    session.addEventListener("shown", () => this.#mark(), { signal });
    session.addEventListener("ended", () => this.#mark(), { signal });
    this.show();
  }

  /** Show the list as the store has it. */
  async show() {
    const wanted = this.search.value;
    const heads = await this.session.heads(wanted);
    if (wanted !== this.search.value || this.#renaming) return; // an answer to an older question; a name is being written
    const focused = document.activeElement?.closest?.("li")?.dataset.id;
    const groups = grouped(heads);
    const parts = [...groups].map(([name, items]) => {
      const id = `group-${name}`;
      return h(
        "section",
        { "aria-labelledby": id },
        h("h3", { id }, t(name)),
        h(
          "ul",
          {},
          items.map((head) => this.#item(head)),
        ),
      );
    });
    const empty = h("p", { class: "note" }, wanted ? t("noneFound") : t("noneYet"));
    this.list.replaceChildren(...(parts.length ? parts : [empty]));
    this.#mark();
    if (focused) this.list.querySelector(`li[data-id="${focused}"] a`)?.focus();
  }

  #item({ id, title, updated }) {
    const name = title || t("untitled");
    const button = (picture, label, act) =>
      h("button", { class: "quiet", type: "button", "aria-label": label, title: label, onclick: act }, icon(picture));
    const link = h("a", { href: `#/chat/${id}`, title: `${name}\n${day(updated)}` }, h("span", {}, name));
    const item = h("li", { "data-id": id }, link);
    item.append(
      button("edit", t("renameThis", { title: name }), () => this.#rename(item, id, title)),
      button("bin", t("removeThis", { title: name }), () => this.#remove(item, id, name)),
    );
    return item;
  }

  #mark() {
    for (const item of this.list.querySelectorAll("li")) {
      const link = item.querySelector("a");
      if (item.dataset.id === this.session.current.id) link?.setAttribute("aria-current", "true");
      else link?.removeAttribute("aria-current");
      item.classList.toggle("running", Boolean(this.session.running(item.dataset.id)));
    }
  }

  #rename(item, id, title) {
    this.#renaming = id;
    const field = h("input", { "aria-label": t("title"), maxlength: "200" });
    field.value = title;
    const leave = async (take) => {
      if (this.#renaming !== id) return;
      this.#renaming = null;
      if (take && field.value.trim()) await this.session.rename(id, field.value.trim());
      await this.show();
      this.list.querySelector(`li[data-id="${id}"] a`)?.focus();
    };
    field.addEventListener("blur", () => leave(true));
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      leave(event.key === "Enter");
    });
    item.replaceChildren(field);
    field.select();
  }

  async #remove(item, id, name) {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    const removed = await this.session.remove(id);
    if (location.hash.endsWith(id)) location.hash = "#/chat";
    if (removed) toast(t("removed", { title: name }), { label: t("undo"), act: () => this.session.take([removed]) });
    await this.show();
    (this.list.querySelector(`li[data-id="${next?.dataset.id}"] a`) ?? this.search).focus();
  }
}

function age(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "today";
  return time >= midnight - 6 * DAY ? "thisWeek" : "earlier";
}

function grouped(heads) {
  const groups = new Map();
  for (const head of heads) groups.set(age(head.updated), [...(groups.get(age(head.updated)) ?? []), head]);
  return groups;
}
