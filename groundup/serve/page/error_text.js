/** Error messages in the language of the page. */

import { t } from "./i18n.js";

/** @param {{kind: string, detail: string, after: number|null}} trouble @returns {string} */
export function errorText({ kind, detail, after }) {
  const told = {
    unreachable: () => t("error.unreachable"),
    key: () => t("error.key"),
    busy: () => (after ? t("error.busyFor", { seconds: Math.ceil(after) }) : t("error.busy")),
    refused: () => t("error.refused"),
    missing: () => t("error.missing"),
    server: () => t("error.server"),
    broken: () => t("error.broken"),
    odd: () => t("error.odd"),
  };
  const said = (told[kind] ?? told.odd)();
  return detail && kind !== "key" ? `${said} ${t("error.said", { detail })}` : said;
}
