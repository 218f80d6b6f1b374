/** What went wrong, in plain words. */

import { t } from "./i18n.js";

/** @param {{kind: string, detail: string, after: number|null}} trouble @returns {string} */
export function inWords({ kind, detail, after }) {
  const told = {
    unreachable: () => t("trouble.unreachable"),
    key: () => t("trouble.key"),
    busy: () => (after ? t("trouble.busyFor", { seconds: Math.ceil(after) }) : t("trouble.busy")),
    refused: () => t("trouble.refused"),
    missing: () => t("trouble.missing"),
    server: () => t("trouble.server"),
    broken: () => t("trouble.broken"),
    odd: () => t("trouble.odd"),
  };
  const said = (told[kind] ?? told.odd)();
  return detail && kind !== "key" ? `${said} ${t("trouble.said", { detail })}` : said;
}
