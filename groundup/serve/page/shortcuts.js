/** Keyboard shortcuts of the page. All have a modifier, so speech input cannot trigger them. */

import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";

/** Name, displayed keys, and whether an event matches. */
const SHORTCUTS = [
  { name: "help", keys: ["Ctrl", "/"], is: (event) => control(event) && event.key === "/" },
  { name: "search", keys: ["Ctrl", "K"], is: (event) => control(event) && event.code === "KeyK" },
  { name: "fresh", keys: ["Alt", "N"], is: (event) => alt(event, "KeyN") },
  { name: "write", keys: ["Alt", "M"], is: (event) => alt(event, "KeyM") },
  { name: "settings", keys: ["Alt", "S"], is: (event) => alt(event, "KeyS") },
  { name: "retry", keys: ["Alt", "R"], is: (event) => alt(event, "KeyR") },
  { name: "edit", keys: ["Alt", "E"], is: (event) => alt(event, "KeyE") },
  { name: "copy", keys: ["Alt", "C"], is: (event) => alt(event, "KeyC") },
  { name: "stop", keys: ["Esc"], is: (event) => event.key === "Escape" && !event.defaultPrevented },
];
const FIELD = [["Enter"], ["Shift", "Enter"], ["↑"]]; // in the field: said in the help, handled by the field

/**
 * Handle shortcuts.
 * @param {Object<string, () => void>} acts By name.
 * @param {AbortSignal} signal
 */
export function listen(acts, signal) {
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.isComposing || document.querySelector("dialog[open]")) return;
      const found = SHORTCUTS.find((shortcut) => shortcut.is(event));
      if (!found) return;
      if (found.name !== "stop") event.preventDefault();
      acts[found.name]();
    },
    { signal },
  );
}

/** Open the list of shortcuts. */
export function openHelp() {
  const row = (keys, text) =>
    h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        keys.flatMap((key, place) => [place ? " + " : null, h("kbd", {}, key)]),
      ),
      h("td", {}, text),
    );
  const rows = [
    ...FIELD.map((keys, place) => row(keys, t(`field.${place}`))),
    ...SHORTCUTS.map(({ name, keys }) => row(keys, t(`shortcut.${name}`))),
  ];
  return openDialog(t("help"), [h("table", { class: "shortcuts" }, h("tbody", {}, rows)), h("p", { class: "note" }, t("helpNote"))]);
}

const control = (event) => (event.ctrlKey || event.metaKey) && !event.altKey;
const alt = (event, code) => event.altKey && !event.ctrlKey && !event.metaKey && !event.getModifierState("AltGraph") && event.code === code;
