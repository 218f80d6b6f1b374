/** The dialog for export and import of conversations. */

import { openDialog } from "./dialog.js";
import { download, h } from "./dom.js";
import { Unreadable, fromText, toJson, toLines, toMarkdown } from "./conversation_files.js";
import { t } from "./i18n.js";
import { toast } from "./toast.js";

const FORMATS = {
  json: { write: toJson, suffix: "json", type: "application/json" },
  lines: { write: toLines, suffix: "jsonl", type: "application/x-ndjson" },
  markdown: { write: toMarkdown, suffix: "md", type: "text/markdown" },
};

/** Open the dialog. @param {import("./session.js").ChatSession} session */
export function openTransfer(session) {
  const some = Object.keys(session.current.nodes).length > 0;
  const save = async (event) => {
    event.preventDefault();
    const chosen = new FormData(event.target);
    const one = chosen.get("scope") === "one";
    const { write, suffix, type } = FORMATS[chosen.get("format")];
    download(`${one ? fileName(session.current.title) : "conversations"}.${suffix}`, write(one ? [session.current] : await session.all()), type);
  };
  const file = h("input", { type: "file", id: "import", accept: ".json,.jsonl,application/json", onchange: () => take(session, file, dialog) });
  const form = h(
    "form",
    { class: "fields", onsubmit: save },
    choices(
      "scope",
      t("which"),
      [
        ["one", t("thisOne"), !some],
        ["all", t("allOfThem")],
      ],
      some ? "one" : "all",
    ),
    choices(
      "format",
      t("format"),
      [
        ["json", t("asJson")],
        ["markdown", t("asMarkdown")],
        ["lines", t("asLines")],
      ],
      "json",
    ),
    h("div", { class: "row" }, h("button", { class: "main" }, t("saveFile"))),
  );
  const dialog = openDialog(t("transfer"), [
    h("h3", {}, t("export")),
    form,
    h("h3", {}, t("import")),
    h("div", { class: "fields" }, h("label", { for: "import" }, t("importWhy")), file),
  ]);
  return dialog;
}

function choices(name, legend, options, chosen) {
  const option = ([value, label, disabled = false]) =>
    h("label", { class: "choice" }, h("input", { type: "radio", name, value, disabled, checked: value === chosen }), h("span", {}, label));
  return h("fieldset", {}, h("legend", {}, legend), options.map(option));
}

async function take(session, file, dialog) {
  const [chosen] = file.files;
  if (!chosen) return;
  try {
    const found = fromText(await chosen.text());
    await session.take(found);
    toast(t("imported", { count: found.length }));
    dialog.close();
    location.hash = `#/chat/${found[0].id}`;
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    toast(t("unreadable", { name: chosen.name }));
    file.value = "";
  }
}

function fileName(title) {
  return (
    title
      .replace(/[^\p{L}\p{N}]+/gu, "-")
      .replace(/^-|-$/g, "")
      .slice(0, 60) || "conversation"
  );
}
