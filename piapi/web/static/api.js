// The API as the pages call it: the same one that everybody has, in the session of this browser.

const page = document.querySelector('meta[name="piapi"]').dataset;

const PREFIX = "/api/v1";
const ANSWER_WITHIN_MS = 20_000;
const COMMAND_WITHIN_MS = 12_000;
const RETRY_AFTER_MS = 700;

export const staticAddress = (name) => page.static + name;
export const who = page.who;

const scopes = page.scopes.split(" ").filter(Boolean).map((scope) => {
  const [kind, ...rest] = scope.split(":");
  return [kind, rest.slice(0, -1).join(":"), rest.at(-1)];
});

/** Whether this browser's user may do `kind:name:verb`. Only for what is shown: the server decides by itself. */
export function may(kind, name, verb) {
  return scopes.some((scope) => [kind, name, verb].every((wanted, i) => scope[i] === "*" || scope[i] === wanted));
}

/** What a problem document says (RFC 9457). */
export class Problem extends Error {
  constructor(document, status) {
    super(document.detail || document.title || `HTTP status ${status}`);
    this.status = status;
    this.slug = (document.type || "").split("/").pop();
    this.document = document;
    this.errors = document.errors || [];
  }
}

/** piapi did not answer, so nobody knows whether it has heard. */
export class Unreachable extends Error {
  constructor() {
    super("piapi does not answer.");
  }
}

const etags = new WeakMap();

/** Whether a document is the answer that says what there is by itself, and not an item of a collection. */
export const hasETag = (document) => etags.has(document);

/** The header that lets a change happen only to what the user has seen of this answer; none where it has no ETag. */
export const ifUnchanged = (document) => (etags.has(document) ? { "If-Match": etags.get(document) } : {});

let clockOffsetMs = 0;

/** Now, by the clock of the Pi, to a second: that of a phone may be another one. In ms since 1970. */
export const serverNow = () => Date.now() + clockOffsetMs;

/** A string that no other command has. Not crypto.randomUUID, which plain http does not have. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Ask the API. Gives what it answers, null for 204. With `keepalive` it is asked even if the page is left.
 * Throws a Problem, or Unreachable.
 */
export async function api(method, path, { body, headers = {}, signal, keepalive = false, within = ANSWER_WITHIN_MS } = {}) {
  const options = { method, keepalive, headers: { Accept: "application/json, application/problem+json", "X-Requested-With": "XMLHttpRequest", ...headers } };
  if (method !== "GET" && page.csrfToken) options.headers["X-CSRF-Token"] = page.csrfToken;
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const timeout = AbortSignal.timeout(within);
  options.signal = signal ? AbortSignal.any([signal, timeout]) : timeout;
  let response, document;
  try {
    response = await fetch(path.startsWith("/api/") ? path : PREFIX + path, options);
    document = response.status === 204 ? null : await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
  readClock(response);
  if (document && response.headers.has("ETag")) etags.set(document, response.headers.get("ETag"));
  if (response.ok) return document;
  if (response.status === 401 && page.who) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  throw new Problem(document, response.status);
}

function readClock(response) {
  const date = Date.parse(response.headers.get("Date"));
  if (!Number.isNaN(date)) clockOffsetMs = date + 500 - Date.now();
}

/**
 * Give a command that moves something. However often it is sent again, it is one command: `key` was made when the
 * finger went down. The server does not carry it out once `COMMAND_WITHIN_MS` are over, so nothing moves when nobody
 * waits for it any more.
 */
export async function command(method, path, body, key) {
  const deadline = performance.now() + COMMAND_WITHIN_MS;
  for (;;) {
    const left = deadline - performance.now();
    try {
      return await api(method, path, { body, headers: { "Idempotency-Key": key }, within: Math.max(left, 1) });
    } catch (error) {
      const again = error instanceof Unreachable || error.slug === "idempotency-in-flight" || error.slug === "quarantined";
      if (!again || left < RETRY_AFTER_MS) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER_MS));
  }
}

/** The moment at which a command that is given now is too old, for `expires_at`. */
export const expiry = () => new Date(serverNow() + COMMAND_WITHIN_MS).toISOString();

/** A collection, page by page. */
export async function* pages(path) {
  for (let next = path; next; ) {
    const found = await api("GET", next);
    yield found.items;
    next = found.links.next;
  }
}

/** Answers are shown as they come, but none after that to a later question. */
export class Turns {
  #asked = 0;
  #shown = 0;

  /** Before asking. Gives what tells, when the answer is here, whether it may be shown; if so, it counts as shown. */
  ask() {
    const turn = ++this.#asked;
    return () => {
      if (turn <= this.#shown) return false;
      this.#shown = turn;
      return true;
    };
  }

  /** What is on its way is not to be shown. */
  forget() {
    this.#shown = ++this.#asked;
  }

  /** Which question's answer is shown. */
  get shown() {
    return this.#shown;
  }
}
