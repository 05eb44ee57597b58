// The live view: one camera at a time, and none while nobody looks, as each stream keeps a camera and a connection busy.

import { api, may, newKey } from "./api.js";
import { announce, el, icon, show, toast, whileBusy, write } from "./dom.js";
import { live } from "./live.js";
import { title } from "./words.js";

const CHOSEN = "piapi.camera";
const TRY_AGAIN_MS = 3000;

/** The live view with its shutter. */
export class Cameras {
  #cameras = [];
  #chosen = null;
  #retry = null;
  #newest = 0;

  constructor(section) {
    this.section = section;
    this.image = el("img", { alt: "", width: 640, height: 360, onerror: () => this.#failed(), onload: () => this.#arrived() });
    this.absent = el("p", { class: "view-absent", role: "status", hidden: true });
    this.mark = el("span", { class: "view-mark" }, "Live");
    this.shutter = el("button", { type: "button", class: "shutter", "aria-label": "Take a photo", onclick: () => this.#shoot() }, icon("camera-fill"));
    this.choice = el("div", { class: "view-choice", role: "group", "aria-label": "Camera" });
    section.append(el("figure", { class: "view" }, this.image, this.absent, this.mark, this.shutter), this.choice);
    document.addEventListener("visibilitychange", () => this.#play());
    window.addEventListener("pagehide", () => this.#stop());
    live.addEventListener("lost", () => this.#stop());
    live.on("camera.", () => this.load().catch(() => {}));
  }

  /** Fetch all anew. Gives how many there are. */
  async load() {
    const load = ++this.#newest;
    const { items } = await api("GET", "/cameras?limit=200");
    if (load !== this.#newest) return items.length; // overtaken: what is on its way is newer
    this.#cameras = items;
    show(this.section, items.length > 0);
    if (items.length) this.#choose(items.find((item) => item.id === (this.#chosen?.id ?? remembered())) || items[0]);
    return items.length;
  }

  #choose(camera) {
    const isSame = this.#chosen?.id === camera.id && this.image.src;
    this.#chosen = camera;
    this.choice.replaceChildren(...this.#cameras.map((item) => el("button", {
      type: "button", class: "btn btn-sm btn-outline-secondary", "aria-pressed": String(item.id === camera.id),
      onclick: () => { remember(item.id); this.#stop(); this.#choose(item); },
    }, title(item.id))));
    show(this.choice, this.#cameras.length > 1);
    this.image.alt = `Live view of ${title(camera.id)}`;
    const gone = camera.state === "unavailable";
    write(this.absent, gone ? `${title(camera.id)} cannot be used now: ${camera.detail}` : "");
    show(this.absent, gone);
    show(this.shutter, may("camera", camera.id, "capture"));
    this.shutter.disabled = gone || !live.connected;
    if (gone) this.#stop();
    else if (!isSame) this.#play();
  }

  #play() {
    clearTimeout(this.#retry);
    if (document.hidden || !this.#chosen || this.#chosen.state === "unavailable" || !live.connected) {
      this.#stop();
      return;
    }
    const width = Math.ceil(this.image.clientWidth * Math.min(window.devicePixelRatio, 2)) || 640;
    this.image.src = `${this.#chosen.links.stream}?fps=15&width=${width}`;
    this.section.dataset.view = "waiting";
  }

  #stop() {
    clearTimeout(this.#retry);
    this.image.removeAttribute("src");
    this.section.dataset.view = "paused";
    write(this.mark, "Paused");
    this.shutter.disabled = true;
  }

  #arrived() {
    this.section.dataset.view = "live";
    write(this.mark, "Live");
  }

  #failed() {
    if (!this.image.hasAttribute("src")) return;
    this.#stop();
    this.#retry = setTimeout(() => this.load().catch(() => {}), TRY_AGAIN_MS);
  }

  async #shoot() {
    const camera = this.#chosen;
    const key = newKey();
    const photo = await whileBusy(this.shutter, () => api("POST", camera.links.photos, { headers: { "Idempotency-Key": key } }));
    if (!photo) return;
    this.section.dataset.flash = "on";
    setTimeout(() => { delete this.section.dataset.flash; }, 200);
    announce("Photo taken");
    toast("Photo taken", { action: { label: "Show", run: () => location.assign(`/photos#${photo.id}`) } });
  }
}

const remembered = () => localStorage.getItem(CHOSEN);
const remember = (id) => localStorage.setItem(CHOSEN, id);
