/** Screen reader announcements: short notes, and answers sentence by sentence instead of token by token. */

import { words } from "./answer.js";
import { byId, h } from "./dom.js";

const EVERY = 2500; // milliseconds between two stretches of an answer
const LONGEST = 1200; // characters of the last stretch; the rest is there to be read
const KEPT = 6; // stretches that stay in the region

/** Announce a note after the current announcement. */
export function announce(text) {
  const region = byId("spoken");
  region.append(h("p", {}, text));
  while (region.children.length > KEPT) region.firstChild.remove();
}

/** Announces one answer while it streams. */
export class Speaker {
  #said = 0;
  #at = 0;

  /** Take the text so far; announces complete sentences, if it is time. */
  grow(text) {
    const now = performance.now();
    if (now - this.#at < EVERY) return;
    this.#at = now; // also where no sentence has ended: a long one is not looked through at each of its words
    const spoken = words(text);
    const end = this.#said + lastEnd(spoken.slice(this.#said));
    if (end > this.#said) {
      announce(spoken.slice(this.#said, end).trim());
      this.#said = end;
    }
  }

  /** The answer is complete: announce the rest. */
  end(text) {
    const rest = words(text).slice(this.#said).trim();
    if (rest) announce(rest.length > LONGEST ? `${rest.slice(0, LONGEST)}…` : rest);
  }
}

function lastEnd(text) {
  const found = [...text.matchAll(/[.!?](?=\s)|[。！？\n]/g)].at(-1);
  return found ? found.index + 1 : 0;
}
