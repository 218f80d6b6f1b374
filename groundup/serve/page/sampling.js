/** Sampling parameters: their bounds, and which of them a request contains. */

/**
 * @typedef {{name: string, min: number, max: number, step: number, slides?: number}} Knob
 * An empty knob is not sent: the server's default holds. One with `slides` has a slider, which rests there while the knob is empty.
 */

/** @type {Knob[]} */
export const KNOBS = [
  { name: "temperature", min: 0, max: 2, step: 0.05, slides: 1 },
  { name: "top_p", min: 0.01, max: 1, step: 0.01, slides: 1 },
  { name: "min_p", min: 0, max: 0.99, step: 0.01, slides: 0 },
  { name: "top_k", min: 0, max: 1_000_000, step: 1 },
  { name: "repetition_penalty", min: 0.01, max: 10, step: 0.01 },
  { name: "presence_penalty", min: -2, max: 2, step: 0.1 },
  { name: "frequency_penalty", min: -2, max: 2, step: 0.1 },
  { name: "max_tokens", min: 1, max: 10_000_000, step: 1 },
  { name: "seed", min: -(2 ** 53) + 1, max: 2 ** 53 - 1, step: 1 },
];

/** The fields of a request from the settings of a conversation. */
export function sent(sampling) {
  const set = KNOBS.filter(({ name }) => Number.isFinite(sampling[name])).map(({ name }) => [name, sampling[name]]);
  const stop = stops(sampling.stop ?? "");
  return { ...Object.fromEntries(set), ...(stop.length ? { stop } : {}) };
}

/** Stop strings, one a line, with "\n" and "\t" escaped. */
export function stops(text) {
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => line.replace(/\\([nt\\])/g, (_, character) => ({ n: "\n", t: "\t", "\\": "\\" })[character]));
}

/** The number in a field, clamped to its bounds; null for an empty or invalid one. */
export function bounded(knob, text) {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) return null;
  const whole = knob.step === 1 ? Math.round(value) : value;
  return Math.min(knob.max, Math.max(knob.min, whole));
}

/** The error in a list of tools: "json", "list" or "" (none). */
export function toolsProblem(text) {
  if (!text.trim()) return "";
  try {
    return Array.isArray(JSON.parse(text)) ? "" : "list";
  } catch {
    return "json";
  }
}
