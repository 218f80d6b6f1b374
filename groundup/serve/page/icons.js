/** Icons: outlines of 24 by 24 in the colour of the text. */

import { svg } from "./dom.js";

const PATHS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l5 5",
  chat: "M4 5h16v11H10l-5 4v-4H4z",
  runs: "M4 19V5M4 19h16M7 15l4-5 3 2 5-6",
  send: "M12 20V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  done: "M5 13l4 4L19 7",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  retry: "M20 12a8 8 0 1 1-2.5-5.8M20 4v4h-4",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  down: "M6 10l6 6 6-6",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 2-2 5 5M15 9h.01",
  tune: "M4 8h9M17 8h3M15 6v4M4 16h3M11 16h9M9 14v4",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  close: "M6 6l12 12M18 6L6 18",
  export: "M12 4v11M8 11l4 4 4-4M5 20h14",
  import: "M12 15V4M8 8l4-4 4 4M5 20h14",
  help: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9.6 9.5a2.4 2.4 0 1 1 3.4 2.2c-.7.3-1 .8-1 1.6M12 16.5h.01",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  auto: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 3v18M12 8l7-2M12 13h9M12 18l6 1",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
  thought: "M9 18h6M10 21h4M8 15a6 6 0 1 1 8 0c-.7.6-1 1.3-1 2H9c0-.7-.3-1.4-1-2z",
  tool: "M14 7a4 4 0 0 1 5-3l-2.5 2.5 1 2 2 1L22 7a4 4 0 0 1-5 5l-7.5 7.5a2 2 0 0 1-3-3L14 9z",
  key: "M15 14a5 5 0 1 0-4.6-3L4 17.4V20h3v-2h2v-2h2l1.2-2.3A5 5 0 0 0 15 14zM16 8h.01",
  open: "M10 5H5v14h14v-5M14 4h6v6M20 4l-9 9",
};

/** An icon by name; hidden from screen readers, as its control has a name. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" }, svg("path", { d: PATHS[name] }));
}
