/** Sections below the curves of a run: evaluation tables, lineage, licences. */

import { h } from "./dom.js";
import { number, t } from "./i18n.js";
import { lineagePicture } from "./lineage.js";

/** The sections that have content. @returns {HTMLElement[]} */
export function below({ figures, lineage, licences }) {
  const parts = [];
  if (figures.length)
    parts.push(
      h(
        "section",
        {},
        h("h2", {}, t("figures")),
        h(
          "div",
          { class: "tables" },
          figures.map(({ title, columns, rows }) => table(title, columns, rows)),
        ),
      ),
    );
  if (lineage?.nodes.length)
    parts.push(h("section", {}, h("h2", {}, t("lineage")), h("p", { class: "note" }, t("lineageWhy")), lineagePicture(lineage)));
  const known = Object.entries(licences ?? {});
  if (known.length)
    parts.push(
      h(
        "section",
        {},
        h("h2", {}, t("licences")),
        table(
          "",
          [t("licence"), t("documents")],
          known.map(([licence, count]) => [licence, number(count)]),
        ),
      ),
    );
  return parts;
}

function table(title, columns, rows) {
  const figure = (place) =>
    rows.length > 0 && rows.every((row) => /^[\d\s.,%()–×+-]*$|^\D{0,2}[\d.,]+\s?\S{0,6}(\s\(.*\))?$/.test(String(row[place] ?? "")));
  const kinds = columns.map((_, place) => (place && figure(place) ? "figure" : null));
  const body = rows.map((row) =>
    h(
      "tr",
      {},
      columns.map((_, place) => h(place ? "td" : "th", { scope: place ? null : "row", class: kinds[place] }, String(row[place] ?? ""))),
    ),
  );
  const head = h(
    "thead",
    {},
    h(
      "tr",
      {},
      columns.map((name, place) => h("th", { scope: "col", class: kinds[place] }, name)),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": title || columns[0] },
    h("table", {}, title && h("caption", {}, title), head, h("tbody", {}, body)),
  );
}
