// Runs before anything is painted, so that the page does not flash in the other colours. A classic script: modules wait.
try {
  const theme = JSON.parse(localStorage.getItem("groundup.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's colours.
}
