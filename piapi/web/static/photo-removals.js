// Deleting photos with time to think: piapi is asked only when the time for Undo is over, or when the page is left.

import { api, ifUnchanged } from "./api.js";
import { announce, toast } from "./dom.js";
import { count } from "./words.js";

const UNDO_WITHIN_S = 10;

export class Removals {
  #pending = new Map();
  #timer = null;
  #closeLine = () => {};

  constructor(list) {
    this.list = list;
    window.addEventListener("pagehide", () => this.#carryOut({ keepalive: true }));
  }

  /** Take a photo away, and begin the time anew for all that are to go. */
  add(photo) {
    this.#pending.set(photo.id, photo);
    this.list.hide(photo.id);
    const words = `${count(this.#pending.size, "photo")} deleted`;
    this.#stop();
    this.#closeLine = toast(words, { seconds: UNDO_WITHIN_S, action: { label: "Undo", run: () => this.#undo() } });
    this.#timer = setTimeout(() => this.#carryOut(), UNDO_WITHIN_S * 1000);
  }

  #undo() {
    for (const id of this.#end().keys()) this.list.hide(id, false);
    announce("The photos are back");
  }

  #carryOut(options = {}) {
    for (const photo of this.#end().values()) this.#remove(photo, options);
  }

  async #remove(photo, options) {
    try {
      await api("DELETE", photo.links.self, { headers: ifUnchanged(photo), ...options });
    } catch (error) {
      if (error.status !== 404) {
        this.list.hide(photo.id, false);
        this.list.changed(photo.id).catch(() => {});
        toast(`Not deleted: ${error.message}`, { kind: "danger", seconds: 10 });
        return;
      }
    }
    await this.list.removed(photo.id);
  }

  /** Those that were to go; none of them is any more. */
  #end() {
    this.#stop();
    const ended = this.#pending;
    this.#pending = new Map();
    return ended;
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#closeLine();
  }
}
