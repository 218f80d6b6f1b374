/** Markdown to elements. Whatever a text says, it becomes no script, no request and no style. */

import { Lexer, Marked } from "./vendor/marked.esm.js";
import "./vendor/purify.min.js";
import hljs from "./vendor/highlight.min.js";
import "./vendor/katex.min.js";
import { copy, h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";

const { DOMPurify, katex } = globalThis;

const TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "span", "strong",
  "table", "tbody", "td", "th", "thead", "tr", "ul",
]; // prettier-ignore
const SAFE = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ["align", "class", "href", "start"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const CLASS = /^(?:language-[\w+#.-]{1,40}|math|math display|picture)$/; // all that this file writes
const LINK = /^(?:https?:\/\/|mailto:)/i;
const LONGEST_CODE = 60_000; // characters; longer code stays in one colour
const LONGEST_MATH = 4_000;
const COLOURED = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };

/** Text with its markup characters written out. */
export function escaped(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

// --- Markdown ------------------------------------------------------------------------------------------------

const markdown = new Marked({ gfm: true, breaks: true });

const asMath = ({ text, display }) => `<code class="math${display ? " display" : ""}">${escaped(text)}</code>`;

function rule(name, level, start, pattern, display) {
  return {
    name,
    level,
    start: (source) => source.match(start)?.index,
    tokenizer(source) {
      const match = pattern.exec(source);
      return match ? { type: name, raw: match[0], text: match[1].trim(), display } : undefined;
    },
    renderer: (token) => (level === "block" ? `<p>${asMath(token)}</p>\n` : asMath(token)),
  };
}

markdown.use({
  extensions: [
    rule("mathBlock", "block", /(?:^|\n) {0,3}(?:\$\$|\\\[)/, /^ {0,3}\$\$([^$]{1,4000})\$\$[ \t]*(?:\n|$)/, true),
    rule("mathBrackets", "block", /(?:^|\n) {0,3}\\\[/, /^ {0,3}\\\[([\s\S]{1,4000}?)\\\][ \t]*(?:\n|$)/, true),
    rule("mathDisplay", "inline", /\$\$/, /^\$\$([^$]+?)\$\$/, true),
    rule("mathSquare", "inline", /\\\[/, /^\\\[([\s\S]+?)\\\]/, true),
    rule("mathRound", "inline", /\\\(/, /^\\\(([\s\S]+?)\\\)/, false),
    // A price is no formula: no space inside the dollars, and no digit behind them.
    rule("mathInline", "inline", /\$/, /^\$(?![\s$])((?:\\.|[^\\$\n])*?(?:\\.|[^\\$\s]))\$(?![\d$])/, false),
    {
      // "**“字”**字" is bold to its writers, though not to CommonMark, which counts on spaces between words.
      name: "strongHan",
      level: "inline",
      start: (source) => source.match(/\*\*/)?.index,
      tokenizer(source) {
        const match = /^\*\*(?=\S)([^*\n]*[^*\s])\*\*/.exec(source);
        if (!match || !/\p{Script=Han}/u.test(match[1])) return undefined;
        return { type: "strongHan", raw: match[0], tokens: this.lexer.inlineTokens(match[1]) };
      },
      renderer(token) {
        return `<strong>${this.parser.parseInline(token.tokens)}</strong>`;
      },
    },
  ],
  renderer: {
    html: ({ text }) => escaped(text),
    // Nothing is fetched for a picture: it is a link to follow or to leave.
    image: ({ href, text }) => `<a class="picture" href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

// --- from markup to elements ---------------------------------------------------------------------------------

/** Lexed Markdown as elements. */
function elements(tokens) {
  const fragment = DOMPurify.sanitize(markdown.parser(tokens), SAFE);
  for (const item of fragment.querySelectorAll("[class]")) if (!CLASS.test(item.className)) item.removeAttribute("class");
  fragment.querySelectorAll("a").forEach(tame);
  fragment.querySelectorAll("code.math").forEach(typeset);
  fragment.querySelectorAll("pre").forEach(decorate);
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("table") });
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}

/** A link leads to the web or to a mailbox, in a tab that knows nothing of this one; anything else is text. */
function tame(link) {
  const target = link.getAttribute("href") ?? "";
  if (!LINK.test(target)) {
    link.replaceWith(...link.childNodes);
    return;
  }
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  link.title = target;
}

function typeset(code) {
  const text = code.textContent;
  if (text.length > LONGEST_MATH) return;
  const display = code.classList.contains("display"); // may be wider than the page: it can be scrolled, so the keyboard must reach it
  const place = h("span", { class: code.className, ...(display ? { tabindex: "0", role: "group", "aria-label": t("formula") } : {}) });
  try {
    katex.render(text, place, {
      displayMode: display, output: "mathml", throwOnError: true, trust: false, strict: "ignore", maxExpand: 300, maxSize: 20,
    }); // prettier-ignore
  } catch {
    return; // no formula: it stays as it was written
  }
  place.querySelectorAll("[href], [src], [style]").forEach((item) => ["href", "src", "style"].forEach((name) => item.removeAttribute(name)));
  code.replaceWith(place);
}

/** Code gets colours, the name of its language and a button that copies it. */
function decorate(pre) {
  const code = pre.querySelector("code");
  if (!code) return;
  const text = code.textContent.replace(/\n$/, "");
  const language = /language-(\S+)/.exec(code.className)?.[1] ?? "";
  if (hljs.getLanguage(language) && text.length < LONGEST_CODE) {
    code.replaceChildren(DOMPurify.sanitize(hljs.highlight(text, { language, ignoreIllegals: true }).value, COLOURED));
  }
  pre.setAttribute("tabindex", "0");
  const frame = h(
    "div",
    { class: "code" },
    h(
      "div",
      { class: "bar" },
      h("span", {}, language || t("code")),
      copyButton(() => text, t("copyCode")),
    ),
  );
  pre.replaceWith(frame);
  frame.append(pre);
}

/** A button that copies a text, and says that it did. */
export function copyButton(text, label = t("copy")) {
  const button = h("button", { class: "quiet", type: "button", "aria-label": label, title: label, onclick: press }, icon("copy"));
  async function press() {
    const done = await copy(text());
    button.replaceChildren(icon(done ? "done" : "warn"));
    button.setAttribute("aria-label", done ? t("copied") : t("copyFailed"));
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.setAttribute("aria-label", label);
    }, 1500);
  }
  return button;
}

// --- growing texts -------------------------------------------------------------------------------------------

const LONGEST_STRETCH = 3000; // characters read for emphasis and links at once: the time that takes grows with the square
const BUDGET = 40; // milliseconds of work before the page may do something else
const DEEP = /^((?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))){10})(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t])))+/gm; // quotes and lists in each other

/** Blocks of a text. Long paragraphs are read in stretches, so that no text takes more than its share of time. */
function lexed(text) {
  const lexer = new Lexer(markdown.defaults);
  lexer.blockTokens(text, lexer.tokens);
  for (const { src, tokens } of lexer.inlineQueue) for (const stretch of stretches(src)) lexer.inlineTokens(stretch, tokens);
  return lexer.tokens;
}

function stretches(text) {
  const found = [];
  for (let start = 0; start < text.length;) {
    let end = Math.min(text.length, start + LONGEST_STRETCH);
    if (end < text.length) {
      const cut = Math.max(text.lastIndexOf("\n", end), text.lastIndexOf(" ", end)) + 1;
      if (cut > start) end = cut;
    }
    found.push(text.slice(start, end));
    start = end;
  }
  return found;
}

/**
 * Markdown that grows: blocks that are done stay as they are, only the last one is made again.
 * A link's address may come after its use, so the whole is made once more at the end if there is one.
 */
export class Prose {
  #text = "";
  #settled = 0; // characters whose elements are final
  #open = []; // what stands behind them
  #rest = 0; // the timer that goes on

  constructor() {
    this.element = h("div", { class: "prose" });
  }

  /** Whether a part of the last text is still to be shown. */
  get busy() {
    return this.#rest !== 0;
  }

  /** Show a text; `done`: nothing will follow. What takes long is shown in turns. */
  show(said, done) {
    const text = said.replace(/\r\n?/g, "\n").replace(DEEP, "$1");
    if (text === this.#text && !done) return;
    clearTimeout(this.#rest);
    if (!text.startsWith(this.#text.slice(0, this.#settled)) || (done && /^ {0,3}\[[^\]]+\]:/m.test(text))) this.#clear();
    this.#text = text;
    try {
      const tokens = lexed(text.slice(this.#settled));
      this.#work(tokens, 0, done ? tokens.length : tokens.findLastIndex(({ type }) => type !== "space"));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#plain(text); // nested deeper than can be followed
    }
  }

  /** Make elements of the tokens from `place`: those before `last` are final. */
  #work(tokens, place, last) {
    const began = performance.now();
    this.#open.forEach((item) => item.remove());
    this.#open = [];
    for (; place < last; place++) {
      if (performance.now() - began > BUDGET) {
        this.#rest = setTimeout(() => this.#work(tokens, place, last));
        return;
      }
      this.element.append(elements([tokens[place]]));
      this.#settled += tokens[place].raw.length;
    }
    this.#rest = 0;
    const fragment = elements(tokens.slice(place));
    this.#open = [...fragment.childNodes];
    this.element.append(fragment);
  }

  #plain(text) {
    this.#clear();
    this.#open = [h("p", { class: "said" }, text)];
    this.element.append(...this.#open);
  }

  #clear() {
    this.element.replaceChildren();
    this.#settled = 0;
    this.#open = [];
  }
}
