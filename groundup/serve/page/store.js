/** Conversations in IndexedDB: each in full, and a short entry for the list. */

import { merge } from "./tree.js";

const DATABASE = "groundup";
const WHOLE = "conversations";
const HEADS = "heads";

/** The browser's storage is full. */
export class Full extends Error {}

/** Open the store; `kept` is false if the browser has no storage: conversations then live in memory. */
export async function openStore() {
  try {
    return new Store(await opened());
  } catch {
    return new Store(null);
  }
}

/** @typedef {{id: string, title: string, updated: number, count: number}} Head */

class Store {
  #database;
  #memory = new Map();
  #others;

  constructor(database) {
    this.#database = database;
    this.kept = database !== null;
    this.#others = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(DATABASE);
  }

  /** Be told the id of each conversation that another tab writes or removes. */
  watch(listen) {
    this.#others?.addEventListener("message", ({ data }) => listen(data));
  }

  /** All entries, the newest first. @returns {Promise<Head[]>} */
  async heads() {
    const heads = this.kept ? await this.#read(HEADS, (store) => store.getAll()) : [...this.#memory.values()].map(head);
    return heads.sort((one, other) => other.updated - one.updated);
  }

  /** One conversation, or null. */
  async get(id) {
    const found = this.kept ? await this.#read(WHOLE, (store) => store.get(id)) : this.#memory.get(id);
    return found ?? null;
  }

  /** All conversations, the newest first. */
  async all() {
    const found = this.kept ? await this.#read(WHOLE, (store) => store.getAll()) : [...this.#memory.values()];
    return found.sort((one, other) => other.updated - one.updated);
  }

  /** Entries of the conversations that hold all words of a text, in any case, in title or messages. */
  async search(text) {
    const wanted = text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    if (!wanted.length) return this.heads();
    const holds = (whole) => {
      const said = [whole.title, whole.system, ...Object.values(whole.nodes).map((node) => node.content)].join("\n").toLocaleLowerCase();
      return wanted.every((word) => said.includes(word));
    };
    return (await this.all()).filter(holds).map(head);
  }

  /**
   * Keep a conversation. Messages that another tab added meanwhile are kept as well.
   * @throws {Full} when there is no room
   */
  async put(whole) {
    if (!this.kept) return void this.#memory.set(whole.id, whole);
    const transaction = this.#database.transaction([WHOLE, HEADS], "readwrite");
    const store = transaction.objectStore(WHOLE);
    const earlier = store.get(whole.id);
    let failure = null;
    earlier.onsuccess = () => {
      if (earlier.result) merge(whole, earlier.result);
      try {
        store.put(whole);
        transaction.objectStore(HEADS).put(head(whole));
      } catch (error) {
        failure = error;
        transaction.abort();
      }
    };
    await finished(transaction, () => failure);
    this.#others?.postMessage(whole.id);
  }

  /** Forget a conversation. */
  async remove(id) {
    if (!this.kept) return void this.#memory.delete(id);
    const transaction = this.#database.transaction([WHOLE, HEADS], "readwrite");
    transaction.objectStore(WHOLE).delete(id);
    transaction.objectStore(HEADS).delete(id);
    await finished(transaction);
    this.#others?.postMessage(id);
  }

  #read(name, ask) {
    return result(ask(this.#database.transaction(name).objectStore(name)));
  }
}

function head({ id, title, updated, nodes }) {
  return { id, title, updated, count: Object.keys(nodes).length };
}

function opened() {
  const asked = indexedDB.open(DATABASE, 1);
  asked.onupgradeneeded = () => {
    asked.result.createObjectStore(WHOLE, { keyPath: "id" });
    asked.result.createObjectStore(HEADS, { keyPath: "id" });
  };
  return result(asked);
}

function result(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

function finished(transaction, thrown = () => null) {
  return new Promise((resolve, reject) => {
    const failed = () => {
      const error = thrown() ?? transaction.error;
      reject(error?.name === "QuotaExceededError" ? new Full() : error);
    };
    transaction.oncomplete = resolve;
    transaction.onabort = failed;
    transaction.onerror = failed;
  });
}
