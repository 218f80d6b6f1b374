/** Generates one answer: streams chunks from the API into a message. */

import { ApiError, request } from "./api.js";
import { BrokenStream, chunks } from "./stream.js";

const ADDRESS = "/v1/chat/completions";

/**
 * Request an answer and stream it into `node`.
 * @param {object} body The request without the fields for streaming.
 * @param {import("./tree.js").Node} node An empty message of the assistant.
 * @param {AbortSignal} signal
 * @param {() => void} grown Called after each delta.
 * @throws {ApiError} if the answer is incomplete; `node` keeps the text so far
 */
export async function generate(body, node, signal, grown) {
  const began = performance.now();
  let first = null;
  const note = () => {
    first ??= performance.now();
    node.wait = (first - began) / 1000;
    node.seconds = (performance.now() - began) / 1000;
    grown();
  };
  try {
    const response = await request(ADDRESS, { body: { ...body, stream: true, stream_options: { include_usage: true } }, signal });
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new ApiError("odd");
    const whole = await read(response.body, node, note);
    if (!whole && !node.finish) throw new ApiError("broken");
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    if (error instanceof BrokenStream) throw new ApiError("odd", error.message);
    throw new ApiError(first === null ? "unreachable" : "broken");
  }
}

async function read(stream, node, note) {
  const found = chunks(stream);
  for (;;) {
    const { value, done } = await found.next();
    if (done) return value;
    if (value.error) throw new ApiError("server", String(value.error.message ?? ""));
    if (value.usage) node.usage = counts(value.usage);
    const choice = value.choices?.[0];
    if (choice && take(node, choice)) note();
  }
}

/** Add a choice of a chunk to the message; returns whether it had content. */
function take(node, { delta, finish_reason: finish }) {
  if (typeof finish === "string") node.finish = finish;
  const thought = delta?.reasoning_content;
  if (typeof delta?.content === "string") node.content += delta.content;
  if (typeof thought === "string") node.thought = (node.thought ?? "") + thought;
  for (const call of Array.isArray(delta?.tool_calls) ? delta.tool_calls : []) addCall(node, call);
  return Boolean(delta?.content || thought || delta?.tool_calls);
}

function addCall(node, { index, id, function: called }) {
  node.calls ??= [];
  const place = Number.isInteger(index) && index >= 0 && index <= node.calls.length ? index : node.calls.length;
  const call = (node.calls[place] ??= { id: "", name: "", arguments: "" });
  if (typeof id === "string") call.id = id;
  if (typeof called?.name === "string") call.name += called.name;
  if (typeof called?.arguments === "string") call.arguments += called.arguments;
}

function counts(usage) {
  const number = (value) => (Number.isFinite(value) ? value : 0);
  return { prompt: number(usage.prompt_tokens), answer: number(usage.completion_tokens), cached: number(usage.prompt_tokens_details?.cached_tokens) };
}

/** Tokens/s of a finished answer, without the time to the first token; null for very short answers. */
export function speed({ usage, wait, seconds }) {
  return usage?.answer > 1 && seconds > wait ? (usage.answer - 1) / (seconds - wait) : null;
}
