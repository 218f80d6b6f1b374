/** Temporary notifications at the lower edge, with at most one action. */

import { byId, h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";

const STAYS = 8000; // milliseconds

/**
 * Show a note.
 * @param {string} text
 * @param {{label: string, act: () => void}} [offer]
 */
export function toast(text, offer) {
  const note = h("div", { class: "toast" }, h("span", {}, text));
  const leave = () => note.remove();
  if (offer) note.append(h("button", { class: "plain", type: "button", onclick: () => (leave(), offer.act()) }, offer.label));
  note.append(h("button", { class: "quiet", type: "button", "aria-label": t("close"), onclick: leave }, icon("close")));
  byId("toasts").append(note);
  let timer = setTimeout(leave, STAYS);
  const hold = () => clearTimeout(timer);
  const go = () => (timer = setTimeout(leave, STAYS));
  for (const name of ["mouseenter", "focusin"]) note.addEventListener(name, hold);
  for (const name of ["mouseleave", "focusout"]) note.addEventListener(name, go);
}
