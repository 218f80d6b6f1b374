/** Markdown to elements. No text can become a script, a request or a style. */

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

/** Text with escaped markup characters. */
export function escaped(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

// --- Markdown ------------------------------------------------------------------------------------------------

const markdown = new Marked({ gfm: true, breaks: true });

const asMath = ({ text, display }) => `<code class="math${display ? " display" : ""}">${escaped(text)}</code>`;

const BLOCK_MATH = /^ {0,3}(?:\$\$([^$]{1,4000})\$\$|\\\[([\s\S]{1,4000}?)\\\])[ \t]*(?:\n|$)/;
// A formula or bold text begins here. A price is not a formula: no space inside the dollars, and no digit after them.
const DISPLAY = /^(?:\$\$([^$]+?)\$\$|\\\[([\s\S]+?)\\\])/;
const INLINE = /^(?:\\\(([\s\S]+?)\\\)|\$(?![\s$])((?:\\.|[^\\$\n])*?(?:\\.|[^\\$\s]))\$(?![\d$]))/;
const BOLD = /^\*\*(?=\S)([^*\n]*[^*\s])\*\*/;
const DOLLARS = /^\${3,}/; // no formula: read at once

const formula = (match, display) => ({ type: "math", raw: match[0], text: (match[1] ?? match[2]).trim(), display });

function inlineMath(source) {
  const found = DISPLAY.exec(source);
  if (found) return formula(found, true);
  const inside = INLINE.exec(source);
  if (inside) return formula(inside, false);
  const dollars = DOLLARS.exec(source);
  return dollars ? { type: "text", raw: dollars[0], text: dollars[0], escaped: false } : undefined;
}

markdown.use({
  extensions: [
    {
      name: "mathBlock",
      level: "block",
      start: (source) => source.match(/\n {0,3}(?:\$\$|\\\[)/)?.index,
      tokenizer(source) {
        spend(source.length); // called at the beginning of every block
        const match = BLOCK_MATH.exec(source);
        return match ? { ...formula(match, true), type: "mathBlock" } : undefined;
      },
      renderer: (token) => `<p>${asMath(token)}</p>\n`,
    },
    { name: "math", level: "inline", start: (source) => source.match(/\$|\\[[(]/)?.index, tokenizer: inlineMath, renderer: asMath },
    {
      // "**“字”**字" is bold to its writers, though not to CommonMark, which counts on spaces between words.
      name: "strongHan",
      level: "inline",
      tokenizer(source) {
        const match = BOLD.exec(source);
        if (!match || !/\p{Script=Han}/u.test(match[1])) return undefined;
        return { type: "strongHan", raw: match[0], tokens: this.lexer.inlineTokens(match[1]) };
      },
      renderer(token) {
        return `<strong>${this.parser.parseInline(token.tokens)}</strong>`;
      },
    },
  ],
  tokenizer: {
    // A quote is read anew for each paragraph in it that goes on without its mark.
    blockquote(source) {
      const quote = this.rules.block.blockquote.exec(source);
      if (quote) spend(quote[0].length * (quote[0].match(/\n {0,3}[^ >\n]/g)?.length ?? 0));
      return false;
    },
  },
  renderer: {
    html: ({ text }) => escaped(text),
    // Pictures are not fetched: they become links.
    image: ({ href, text }) => `<a class="picture" href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

// --- from markup to elements ---------------------------------------------------------------------------------

/** Markdown tokens as elements. */
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

/** A link to http(s) or mailto opens in a tab without access to this one; any other is text. */
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

/** A code block: highlighting, language name and copy button. */
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

/** A button that copies a text and announces it. */
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
const MOST_MARKS = 400; // characters in a span that may begin an element
const WINDOW = 16_000; // characters read for blocks at once: what a block costs grows with what stands behind it
const MOST_STEPS = 2e7; // characters that stand behind the beginnings of all blocks of a window; more is no text for people
const BATCH = 4000; // characters of blocks that become elements at once
const BUDGET = 40; // milliseconds of work before the page yields to the browser
const DEEP = /^((?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))){10})(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t])))+/gm; // quotes and lists in each other
const LINK_ADDRESS = /^ {0,3}\[[^\]\n]{1,999}\]:/m;

let steps = 0;

/** Count steps; throws RangeError over the limit. */
function spend(count) {
  steps += count;
  if (steps > MOST_STEPS) throw new RangeError("a text that takes too long to read");
}

/** Parse blocks in windows and long paragraphs in parts, so that the time is linear in the length of any text. */
export function lexed(text) {
  const [tokens, queue, links] = [[], [], {}];
  for (let start = 0, size = WINDOW; start < text.length;) {
    const whole = start + size >= text.length;
    const lexer = new Lexer(markdown.defaults);
    steps = 0;
    lexer.blockTokens(whole ? text.slice(start) : text.slice(start, text.lastIndexOf("\n", start + size) + 1), lexer.tokens);
    // The last block of a window may go on behind it.
    const found = whole ? lexer.tokens : lexer.tokens.slice(0, lexer.tokens.findLastIndex(({ type }) => type !== "space"));
    size = found.length ? WINDOW : 2 * size;
    for (const token of found) start += token.raw.length;
    for (const token of found) tokens.push(token);
    for (const inline of lexer.inlineQueue) queue.push(inline);
    for (const [name, link] of Object.entries(lexer.tokens.links)) links[name] ??= link;
    if (whole) break;
  }
  inlined(queue, links);
  return tokens;
}

/** Parse the inline content of blocks. */
function inlined(queue, links) {
  const lexer = new Lexer(markdown.defaults);
  lexer.tokens.links = links;
  for (const { src, tokens } of queue) for (const stretch of stretches(src)) lexer.inlineTokens(stretch, tokens);
}

function stretches(text) {
  const found = [];
  for (let start = 0; start < text.length;) {
    const end = reach(text, start);
    const cut = end < text.length ? Math.max(text.lastIndexOf("\n", end), text.lastIndexOf(" ", end)) + 1 : end;
    const next = cut > start ? cut : end;
    found.push(text.slice(start, next));
    start = next;
  }
  return found;
}

/** The end of the longest part that starts at an index. */
function reach(text, start) {
  const most = Math.min(text.length, start + LONGEST_STRETCH);
  let marks = 0;
  for (let end = start; end < most; end++) if ("\\$`*_[]()!<>~@:".includes(text[end]) && ++marks > MOST_MARKS) return end;
  return most;
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
  #plainly = false; // it was given up

  constructor() {
    this.element = h("div", { class: "prose" });
  }

  /** Whether a part of the last text is still to be shown. */
  get busy() {
    return this.#rest !== 0;
  }

  /** Show a text; `done`: it is complete. Slow parts are rendered in several turns. */
  show(said, done) {
    const text = said.replace(/\r\n?/g, "\n").replace(DEEP, "$1");
    if (text === this.#text && !done) return;
    clearTimeout(this.#rest);
    if (this.#plainly && text.startsWith(this.#text)) {
      this.#plain(text);
      return;
    }
    if (!text.startsWith(this.#text.slice(0, this.#settled)) || (done && LINK_ADDRESS.test(text))) this.#clear();
    this.#text = text;
    try {
      const tokens = lexed(text.slice(this.#settled));
      this.#work(tokens, 0, done ? tokens.length : tokens.findLastIndex(({ type }) => type !== "space"));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#plain(text); // nested deeper than can be followed, or too long to read
    }
  }

  /** Make elements of the tokens from `place`: those before `last` are final. */
  #work(tokens, place, last) {
    const began = performance.now();
    this.#open.forEach((item) => item.remove());
    this.#open = [];
    while (place < last) {
      if (performance.now() - began > BUDGET) {
        this.#rest = setTimeout(() => this.#work(tokens, place, last));
        return;
      }
      const first = place;
      for (let size = 0; place < last && size < BATCH; place++) size += tokens[place].raw.length;
      const batch = tokens.slice(first, place);
      this.element.append(elements(batch));
      for (const { raw } of batch) this.#settled += raw.length;
    }
    this.#rest = 0;
    const fragment = elements(tokens.slice(place));
    this.#open = [...fragment.childNodes];
    this.element.append(fragment);
  }

  #plain(text) {
    this.#clear();
    this.#text = text;
    this.#rest = 0;
    this.#plainly = true;
    this.#open = [h("p", { class: "note" }, t("plainly")), h("p", { class: "said" }, text)];
    this.element.append(...this.#open);
  }

  #clear() {
    this.#plainly = false;
    this.element.replaceChildren();
    this.#settled = 0;
    this.#open = [];
  }
}
