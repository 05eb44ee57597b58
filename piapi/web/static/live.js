// The connection to piapi: the journal as it is written, and whether what is shown is still true.
//
// A closed connection tells itself at once, a lost network does not. So while somebody looks, piapi is asked every
// second whether it is there; two without an answer count as lost.

import { api, Unreachable } from "./api.js";
import { complain } from "./dom.js";

const LOOK_EVERY_MS = 250;
const ASK_EVERY_MS = 1000;
const LOST_AFTER_MS = 2000;
const OPEN_AGAIN_AFTER_MS = 1000;
const RUN_AGAIN_AFTER_MS = 1000;

const TYPES = [
  "actuation.unknown", "auth.failed", "camera.configured", "camera.state", "command.accepted", "command.refused",
  "door.auto_close_suspended", "door.left_open", "door.lock", "door.moved_unasked", "door.pressed", "door.released",
  "door.sensor", "door.state", "operation.state", "pairing.created", "pairing.redeemed", "pairing.removed",
  "photo.captured", "photo.changed", "photo.recovered", "photo.removed", "pin.changed", "render.removed", "render.state",
  "session.created", "session.removed", "storage.low", "storage.mended", "storage.ok", "system.started",
  "system.stopped", "timelapse.changed", "timelapse.created", "timelapse.missed", "timelapse.removed",
  "timelapse.state", "token.created", "token.revoked", "user.changed", "user.created", "user.removed",
];

class Live extends EventTarget {
  #source = null;
  #openedAt = 0;
  #askedAt = 0;
  #heardAt = 0;
  #looking = null;
  connected = false;

  /** Begin, once all listeners are there: "found" (fetch everything anew), "lost", and entries of the journal. */
  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#rest() : this.#wake()));
    window.addEventListener("offline", () => this.#drop());
    window.addEventListener("pagehide", () => this.#rest());
    window.addEventListener("pageshow", (event) => { if (event.persisted) this.#wake(); });
    this.#wake();
  }

  /** Tells entries whose type begins so: `live.on("door.", (entry) => …)`. */
  on(type, listener) {
    this.addEventListener("entry", ({ detail }) => { if (detail.type.startsWith(type)) listener(detail); });
  }

  #wake() {
    clearInterval(this.#looking);
    this.#looking = setInterval(() => this.#look(), LOOK_EVERY_MS);
    this.#open();
  }

  #rest() {
    clearInterval(this.#looking);
    this.#drop();
  }

  #look() {
    const now = performance.now();
    if (now - this.#askedAt >= ASK_EVERY_MS) this.#ask(now);
    if (this.connected && now - this.#heardAt > LOST_AFTER_MS) this.#drop();
    if (!this.#source && now - this.#openedAt >= OPEN_AGAIN_AFTER_MS) this.#open();
  }

  async #ask(now) {
    this.#askedAt = now;
    try {
      await api("GET", "/health/live", { within: LOST_AFTER_MS });
      this.#heardAt = Math.max(this.#heardAt, now);
    } catch {
      // What counts is for how long nothing was heard.
    }
  }

  #open() {
    this.#drop();
    this.#openedAt = performance.now();
    const source = new EventSource("/api/v1/events");
    this.#source = source;
    source.addEventListener("open", () => {
      this.#heardAt = performance.now();
      this.connected = true;
      this.dispatchEvent(new Event("found"));
    });
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      const refused = source.readyState === EventSource.CLOSED;
      this.#drop();
      if (refused) api("GET", "/events?limit=1").catch(() => {}); // where nobody is logged in any more, to the login
    });
    for (const type of TYPES) {
      source.addEventListener(type, (message) => {
        this.dispatchEvent(new CustomEvent("entry", { detail: JSON.parse(message.data) }));
      });
    }
  }

  #drop() {
    this.#source?.close();
    this.#source = null;
    this.connected = false;
    this.dispatchEvent(new Event("lost"));
  }
}

export const live = new Live();

/** Run it; where piapi does not answer though it is there, again after a while. Other trouble is told. */
export async function persistently(run) {
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof Unreachable)) return complain(error);
    }
    if (!live.connected) return undefined; // once it is found, all is fetched anew
    await new Promise((resolve) => setTimeout(resolve, RUN_AGAIN_AFTER_MS));
  }
}
