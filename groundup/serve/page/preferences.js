/** Small choices that outlive the tab: language, colours, the last model and its settings. */

const PREFIX = "groundup.";

/** A choice, or `fallback` where none was made or nothing can be kept. */
export function preference(name, fallback = null) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Keep a choice; a browser that keeps nothing forgets it with the tab. */
export function prefer(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Full or forbidden: the choice holds until the page is left.
  }
}

/** Colours: "auto" (as the system has them), "light" or "dark". */
export function theme() {
  return preference("theme", "auto");
}

/** Choose the colours. */
export function setTheme(name) {
  prefer("theme", name);
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}
