/** Parser of server-sent events, for chunks split anywhere and any line ends. */

const LONGEST = 8 * 2 ** 20; // characters of one event; more is no answer

/** The stream has an invalid event. */
export class BrokenStream extends Error {}

/** Assembles events from chunks of text. */
export class Events {
  #rest = "";
  #data = [];
  #first = true;

  /** Feed the next chunk. @returns {string[]} the data of the events that are now complete */
  feed(piece) {
    let text = this.#rest + (this.#first ? piece.replace(/^\ufeff/, "") : piece);
    if (piece) this.#first = false;
    // A carriage return at the end may be half a line end.
    const held = text.endsWith("\r") ? "\r" : "";
    if (held) text = text.slice(0, -1);
    const lines = text.split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + held;
    if (this.#rest.length > LONGEST) throw new BrokenStream("an event without an end");
    return lines.flatMap((line) => this.#line(line));
  }

  /** The stream has ended. @returns {string[]} the data of an event that only lacked its empty line */
  end() {
    return this.feed("\n\n");
  }

  #line(line) {
    if (line === "") {
      const data = this.#data.join("\n");
      const some = this.#data.length > 0;
      this.#data = [];
      return some ? [data] : [];
    }
    if (line === "data") this.#data.push("");
    else if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
    return [];
  }
}

/**
 * The JSON values of a stream of events, up to "[DONE]".
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<object, boolean>} returns whether "[DONE]" came
 * @throws {BrokenStream} for what is no JSON object
 */
export async function* chunks(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const events = new Events();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      const found = done ? [...events.feed(decoder.decode()), ...events.end()] : events.feed(decoder.decode(value, { stream: true }));
      for (const data of found) {
        if (data === "[DONE]") return true;
        yield parsed(data);
      }
      if (done) return false;
    }
  } finally {
    reader.cancel().catch(() => {}); // already broken: nothing to free
  }
}

function parsed(data) {
  try {
    const value = JSON.parse(data);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Said below.
  }
  throw new BrokenStream(data.slice(0, 200));
}
