/** Preferences in localStorage: language, theme, the last model and its settings. */

const PREFIX = "groundup.";

/** A preference, or `fallback` if there is none or storage is unavailable. */
export function preference(name, fallback = null) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Store a preference; without storage it is lost with the tab. */
export function prefer(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Full or forbidden: the choice holds until the page is left.
  }
}

/** Theme: "auto" (the system's), "light" or "dark". */
export function theme() {
  return preference("theme", "auto");
}

/** Set the theme. */
export function setTheme(name) {
  prefer("theme", name);
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}
