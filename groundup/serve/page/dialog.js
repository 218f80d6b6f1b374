/** Modal dialogs: the browser traps the focus; Escape or a click outside closes them. */

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";

let count = 0;

/**
 * Open a dialog; the browser restores the focus when it closes.
 * @param {string} title
 * @param {Array<Node|string>} content
 * @param {{kind?: string, closed?: () => void}} [options] `kind`: a class, such as "sheet" for one at the right edge.
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content, { kind = "", closed = () => {} } = {}) {
  const id = `dialog-${++count}`;
  const close = h("button", { class: "quiet", type: "button", "aria-label": t("close"), onclick: () => dialog.close() }, icon("close"));
  const dialog = h(
    "dialog",
    { class: kind, "aria-labelledby": id },
    h("header", {}, h("h2", { id }, title), close),
    h("div", { class: "content" }, content),
  );
  dialog.addEventListener("mousedown", (event) => event.target === dialog && outside(dialog, event) && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

function outside(dialog, { clientX, clientY }) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return clientX < left || clientX > right || clientY < top || clientY > bottom;
}

/** Prompt for the API key, which is stored for this tab only, and call `given` with it. */
export function askKey(given) {
  const field = h("input", { type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true });
  const take = (event) => {
    event.preventDefault();
    given(field.value.trim());
    dialog.close();
  };
  const form = h(
    "form",
    { class: "fields", onsubmit: take },
    h("p", {}, t("keyWhy")),
    h("label", { for: "key" }, t("key")),
    field,
    h("div", { class: "row" }, h("button", { class: "main" }, t("useKey"))),
  );
  const dialog = openDialog(t("keyTitle"), [form]);
  field.focus();
  return dialog;
}
