/** Parses an answer into parts: reasoning, text, detections and tool calls. */

import { boxed, inPlace, withoutHalfBox } from "./boxes.js";

const THINK = "<think>";
const CALL = "<tool_call>";
const THOUGHT = /^\s*<think>([\s\S]*?)(<\/think>|$)/;
const CALL_END = "</tool_call>";

/**
 * An answer's text in parts, in order.
 * @param {string} text
 * @param {boolean} running More text may follow: an incomplete tag at the end is held back.
 * @returns {{kind: "thought"|"text"|"call"|"boxes", text: string, open?: boolean, name?: string, detections?: import("./boxes.js").Detection[]}[]} A call that is no JSON object with a name stays text.
 */
export function parts(text, running = false) {
  const found = [];
  const thought = THOUGHT.exec(text);
  if (thought) found.push({ kind: "thought", text: thought[1].trim(), open: thought[2] === "" });
  let rest = text.slice(thought?.[0].length ?? 0);
  if (running) rest = withoutHalfBox(withoutHalf(rest, found.length ? [CALL] : [THINK, CALL]));
  let end = 0;
  for (const [start, behind] of called(rest)) {
    const call = read(rest.slice(start + CALL.length, behind - CALL_END.length));
    if (!call) continue;
    found.push(...said(rest.slice(end, start)), call);
    end = behind;
  }
  found.push(...said(rest.slice(end)));
  return found.filter((part) => part.kind !== "text" || part.text.trim());
}

/** Start and end of each tool call. */
function* called(text) {
  for (let start = text.indexOf(CALL); start >= 0;) {
    const end = text.indexOf(CALL_END, start + CALL.length);
    if (end < 0) return;
    yield [start, end + CALL_END.length];
    start = text.indexOf(CALL, end + CALL_END.length);
  }
}

function said(text) {
  return boxed(text).map((part) =>
    typeof part === "string" ? { kind: "text", text: part } : { kind: "boxes", text: part.map(inPlace).join("\n"), detections: part },
  );
}

/** The text of an answer without reasoning, boxes and calls: for copying and screen readers. */
export function words(text) {
  return parts(text)
    .filter((part) => part.kind === "text" || part.kind === "boxes")
    .map((part) => part.text.trim())
    .join("\n\n");
}

function read(json) {
  try {
    const value = JSON.parse(json);
    return typeof value?.name === "string" ? { kind: "call", name: value.name, text: pretty(value.arguments) } : null;
  } catch {
    return null;
  }
}

/** Indented JSON; other text unchanged. */
export function pretty(value) {
  try {
    return JSON.stringify(typeof value === "string" ? JSON.parse(value) : value, null, 2) ?? "";
  } catch {
    return String(value);
  }
}

function withoutHalf(text, tags) {
  for (const tag of tags) {
    const open = text.lastIndexOf("<");
    if (open < 0) return text;
    if (tag.startsWith(text.slice(open))) return text.slice(0, open);
    const call = text.lastIndexOf(CALL);
    if (tag === CALL && call >= 0 && !text.includes(CALL_END, call)) return text.slice(0, call);
  }
  return text;
}
