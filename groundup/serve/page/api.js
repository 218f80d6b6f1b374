/** Requests to the page's server, and their errors. */

const KEY = "groundup.key";
let unkept = null; // the key, if the tab may not store anything

/**
 * An error of a request, independent of the language.
 * `kind`: "unreachable", "key", "busy", "refused" (the server says why), "missing", "server", "broken" (an answer that ended early), "odd" (no answer at all).
 */
export class ApiError extends Error {
  constructor(kind, detail = "", after = null) {
    super(`${kind}: ${detail}`);
    Object.assign(this, { kind, detail, after });
  }
}

/** The API key of this tab, or null. It is stored in sessionStorage only and deleted with the tab. */
export function apiKey() {
  try {
    return sessionStorage.getItem(KEY) ?? unkept;
  } catch {
    return unkept;
  }
}

/** Set the API key; empty removes it. */
export function setApiKey(key) {
  unkept = key || null;
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is forbidden: the key is kept in this page only.
  }
}

/**
 * Send a request.
 * @param {string} path
 * @param {{body?: object, signal?: AbortSignal}} [options] With a body it is a POST of JSON.
 * @returns {Promise<Response>} a response of success
 * @throws {ApiError} otherwise; an AbortError passes
 */
export async function request(path, { body, signal } = {}) {
  const headers = {};
  const key = apiKey();
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("unreachable");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

/** Get JSON. @throws {ApiError} */
export async function get(path, signal) {
  const response = await request(path, { signal });
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("odd");
  }
}

async function refusal(response) {
  const detail = await reason(response);
  const after = Number(response.headers.get("Retry-After")) || null;
  switch (response.status) {
    case 401:
      return new ApiError("key", detail);
    case 404:
      return new ApiError("missing", detail);
    case 429:
    case 503:
      return new ApiError("busy", detail, after);
  }
  return new ApiError(response.status < 500 ? "refused" : "server", detail || `HTTP ${response.status}`);
}

async function reason(response) {
  try {
    const { error } = await response.json();
    return typeof error?.message === "string" ? error.message : "";
  } catch {
    return "";
  }
}
