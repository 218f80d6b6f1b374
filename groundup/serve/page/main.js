/** The page: layout, routing, and the actions of shortcuts. */

import { announce } from "./announce.js";
import { ApiError, get, setApiKey } from "./api.js";
import { Composer } from "./composer.js";
import { askKey } from "./dialog.js";
import { byId, copy, h } from "./dom.js";
import { switchLanguage, t } from "./i18n.js";
import { icon } from "./icons.js";
import { listen, openHelp } from "./shortcuts.js";
import { setTheme, theme } from "./preferences.js";
import { Runs } from "./runs.js";
import { openSettings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { Full, openStore } from "./store.js";
import { ChatSession } from "./session.js";
import { toast } from "./toast.js";
import { openTransfer } from "./transfer_dialog.js";
import { Transcript } from "./transcript.js";
import { errorText } from "./error_text.js";
import { words } from "./answer.js";

const NARROW = matchMedia("(max-width: 54rem)");
const THEMES = ["auto", "light", "dark"];
const AGAIN = 4000; // milliseconds between two tries to reach the server

class Page {
  #ends = new AbortController(); // ends the listeners of what is replaced
  #runsEnd = new AbortController();
  #keyAsked = false;

  constructor(session) {
    this.session = session;
    session.addEventListener("key", () => this.askKey());
    session.addEventListener("unkept", ({ detail }) => toast(detail.error instanceof Full ? t("full") : t("unkept")));
    session.addEventListener("ended", ({ detail }) => detail.node.trouble?.kind === "key" && this.askKey());
    addEventListener("hashchange", () => this.route());
    NARROW.addEventListener("change", () => this.drawer(false));
    this.build();
    this.route();
    this.load();
  }

  // --- the server --------------------------------------------------------------------------------------------

  /** Load the server's settings; retry until it answers. */
  async load() {
    try {
      this.session.server = await get("/api/settings");
      this.notice.hidden = true;
      this.build();
      await this.route();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.notice.hidden = false;
      this.notice.replaceChildren(icon("warn"), h("span", {}, errorText(error)));
      if (error.kind === "key") this.askKey();
      else setTimeout(() => this.load(), AGAIN);
    }
  }

  askKey() {
    if (this.#keyAsked) return;
    this.#keyAsked = true;
    const dialog = askKey((key) => {
      setApiKey(key);
      this.load();
    });
    dialog.addEventListener("close", () => (this.#keyAsked = false));
  }

  // --- building ----------------------------------------------------------------------------------------------

  /** Build the page: at the start, after the settings have loaded, and after a change of language. */
  build() {
    this.#ends.abort();
    this.#ends = new AbortController();
    const { signal } = this.#ends;
    const { session } = this;
    this.transcript = new Transcript(session, signal);
    this.composer = new Composer(session, this.transcript, signal);
    this.sidebar = new Sidebar(session, signal);
    this.notice = h("div", { class: "error notice", role: "status", hidden: this.notice?.hidden ?? true }, [...(this.notice?.childNodes ?? [])]);
    this.heading = h("h1", {});
    this.model = h("select", { "aria-label": t("model"), onchange: () => session.change({ model: this.model.value }) });
    const menu = h(
      "button",
      {
        class: "quiet menu",
        type: "button",
        "aria-label": t("openList"),
        "aria-controls": "side",
        "aria-expanded": "false",
        onclick: () => this.drawer(true),
      },
      icon("menu"),
    );
    this.menu = menu;
    const tune = h(
      "button",
      { class: "quiet", type: "button", "aria-label": t("settings"), title: t("settings"), onclick: () => openSettings(session) },
      icon("tune"),
    );
    this.bar = h("header", { class: "bar" }, menu, this.heading, h("div", { class: "tools" }, this.model, tune));
    this.main = h("main", { id: "main" });
    this.side = this.#side();
    this.veil = h("div", { class: "veil", onclick: () => this.drawer(false) });
    byId("app").replaceChildren(
      h(
        "a",
        { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), (this.runs?.element ?? this.composer).focus()) },
        t("skip"),
      ),
      this.side,
      this.veil,
      h("div", { class: "stage" }, this.bar, this.notice, this.main),
    );
    session.addEventListener("changed", () => this.head(), { signal });
    session.addEventListener("shown", () => this.head(), { signal });
    listen(this.#acts(), signal);
    this.drawer(false);
    this.head();
  }

  #side() {
    const link = (name, href, picture) => h("a", { href, "data-part": name }, icon(picture), h("span", {}, t(name)));
    const button = (picture, label, act) =>
      h("button", { class: "quiet", type: "button", "aria-label": label, title: label, onclick: act }, icon(picture));
    const chosen = theme();
    const colours = button(
      { auto: "auto", light: "sun", dark: "moon" }[chosen] ?? "auto",
      t(`colours.${THEMES.includes(chosen) ? chosen : "auto"}`),
      () => this.#colours(),
    );
    const language = h(
      "button",
      { class: "quiet text", type: "button", lang: t("otherLanguage") === "中文" ? "zh" : "en", onclick: () => this.#otherLanguage() },
      t("otherLanguage"),
    );
    const nav = h("nav", { "aria-label": t("places") }, link("chat", "#/chat", "chat"), this.session.server.runs && link("runs", "#/runs", "runs"));
    const shut = h("button", { class: "quiet shut", type: "button", "aria-label": t("closeList"), onclick: () => this.drawer(false) }, icon("close"));
    return h(
      "aside",
      { id: "side", "aria-label": t("conversations"), onclick: ({ target }) => target.closest("a") && this.drawer(false) },
      h("div", { class: "brand" }, h("img", { src: "icon.svg", alt: "", width: 28, height: 28 }), h("span", {}, "Ground Up"), shut),
      nav,
      h("button", { class: "new", type: "button", onclick: () => this.fresh() }, icon("plus"), t("fresh")),
      this.sidebar.element,
      h(
        "footer",
        {},
        button("export", t("transfer"), () => openTransfer(this.session)),
        button("help", t("help"), openHelp),
        colours,
        language,
      ),
    );
  }

  /** Title and model of the shown conversation, or the name of the part. */
  head() {
    const chat = !this.runs;
    const title = chat ? this.session.current.title || t("fresh") : "";
    this.heading.textContent = title;
    this.heading.hidden = !chat; // the runs have a heading of their own
    document.title = chat ? `${title} · Ground Up` : `${t("runs")} · Ground Up`;
    const { models } = this.session.server;
    this.model.replaceChildren(...models.map(({ id }) => h("option", { value: id, selected: id === this.session.model?.id }, id)));
    this.bar.querySelector(".tools").hidden = !chat || !models.length;
    for (const link of this.side.querySelectorAll("nav a")) {
      if ((link.dataset.part === "chat") === chat) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (link.dataset.part === "chat") link.href = this.#address();
    }
  }

  // --- where one is ------------------------------------------------------------------------------------------

  /** Show the view of the URL: #/chat, #/chat/ID, #/runs, #/runs/NAME. */
  async route() {
    const [, part, rest] = location.hash.split("/");
    this.#runsEnd.abort();
    this.runs = null;
    this.drawer(false);
    if (part === "runs") return this.#showRuns(rest ? decoded(rest) : null);
    if (rest && !(await this.session.open(rest))) {
      toast(t("gone"));
      history.replaceState(null, "", "#/chat");
    }
    if (!rest && Object.keys(this.session.current.nodes).length && part === "chat") this.session.fresh();
    this.main.className = "chat";
    this.main.replaceChildren(this.transcript.element, this.composer.element);
    this.composer.show();
    this.transcript.show();
    this.transcript.end();
    this.head();
    if (!NARROW.matches) this.composer.focus();
    return undefined;
  }

  #showRuns(name) {
    this.#runsEnd = new AbortController();
    this.runs = new Runs(name, this.#runsEnd.signal, () => this.askKey());
    this.main.className = "";
    this.main.replaceChildren(this.runs.element);
    this.head();
    announce(name ?? t("runs"));
  }

  fresh() {
    this.session.fresh();
    if (location.hash === "#/chat") this.route();
    else location.hash = "#/chat";
    this.composer.focus();
  }

  write() {
    if (this.runs) location.hash = this.#address();
    this.composer.focus();
  }

  #address() {
    const { id, nodes } = this.session.current;
    return Object.keys(nodes).length ? `#/chat/${id}` : "#/chat";
  }

  /** On narrow screens the list slides in from the side. */
  drawer(open) {
    const narrow = NARROW.matches;
    const shown = narrow && open;
    document.body.classList.toggle("drawer", shown);
    this.side.inert = narrow && !open;
    this.main.inert = shown;
    this.bar.inert = shown;
    this.menu.setAttribute("aria-expanded", String(shown));
    if (shown) this.side.querySelector(".shut").focus();
    else if (narrow && this.side.contains(document.activeElement)) this.menu.focus();
  }

  // --- keys and switches -------------------------------------------------------------------------------------

  #acts() {
    const { session } = this;
    const last = (role) => this.transcript.last(role);
    return {
      help: openHelp,
      search: () => {
        this.drawer(true);
        this.sidebar.search.focus();
      },
      fresh: () => this.fresh(),
      write: () => this.write(),
      settings: () => openSettings(session),
      retry: () => last("assistant") && session.retry(last("assistant").node),
      edit: () => !session.running() && last("user")?.edit(),
      copy: async () => last("assistant") && (await copy(words(last("assistant").node.content))) && toast(t("copied")),
      stop: () => (document.body.classList.contains("drawer") ? this.drawer(false) : session.stop()),
    };
  }

  #colours() {
    setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
    this.#again(".brand ~ footer button:nth-of-type(3)");
    announce(t(`colours.${theme()}`));
  }

  #otherLanguage() {
    switchLanguage();
    this.#again(".brand ~ footer button:nth-of-type(4)");
  }

  /** Rebuild the page and restore the focus to the switch that was pressed. */
  async #again(selector) {
    const open = document.body.classList.contains("drawer");
    this.build();
    await this.route();
    this.drawer(open);
    this.side.querySelector(selector)?.focus();
  }
}

/** A decoded part of the URL; unchanged if its encoding is invalid. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const page = new Page(new ChatSession(await openStore()));

// A started conversation gets a URL, so that going back and reloading lead to it.
page.session.addEventListener("shown", () => {
  const { current } = page.session;
  const address = `#/chat/${current.id}`;
  if (!page.runs && Object.keys(current.nodes).length && location.hash !== address) history.replaceState(null, "", address);
});
