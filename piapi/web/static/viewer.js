// One photo, as large as the screen. It has an entry in the history, so that Back closes it, and an address of its own.

import { api, hasETag, ifUnchanged, may } from "./api.js";
import { announce, byId, complain, el, icon, show, toast, whileBusy, write } from "./dom.js";
import { live } from "./live.js";
import { factsOf } from "./photo-facts.js";
import { thumbnail } from "./photo-grid.js";
import { askLabel } from "./photo-label.js";
import { fullMoment, title } from "./words.js";
import { Zoom } from "./zoom.js";

const ID = /^#[0-9a-f]{16}$/;
const LARGEST_THUMBNAIL = 1280;
const PAN_PX = 80;
const TOLD = ["alerts", "announcements", "toasts", "lost"];

function named(name, label, act) {
  return el("button", { type: "button", class: "viewer-button", "aria-label": label, title: label, onclick: act }, icon(name));
}

export class Viewer {
  #photo = null;
  #turn = 0;
  #homes = [];

  /** `onclose(photo)` is told which one was seen last. */
  constructor(list, removals, onclose) {
    Object.assign(this, { list, removals, onclose });
    this.#build();
    this.zoom = new Zoom(this.stage, this.image, { onswipe: (step) => this.#go(step), onscale: () => this.#scaled() });
    window.addEventListener("popstate", () => this.follow());
    live.addEventListener("lost", () => this.#draw());
    live.addEventListener("found", () => this.#draw());
    list.addEventListener("change", () => this.#listChanged());
  }

  /** Show the photo that the address names, or none. */
  async follow() {
    if (!ID.test(location.hash)) {
      this.dialog.close();
      return;
    }
    if (this.dialog.open && location.hash === `#${this.#photo.id}`) return;
    if (!history.state?.viewer) {
      const { hash } = location;
      history.replaceState(null, "", location.pathname + location.search);
      history.pushState({ viewer: true }, "", hash);
    }
    await this.#find(location.hash.slice(1));
  }

  /** Open a photo of the list. */
  open(id) {
    history.pushState({ viewer: true }, "", `#${id}`);
    this.#show(this.list.find(id));
  }

  /** A photo was removed, by whomever. */
  removed(id) {
    if (this.#photo?.id !== id || !this.dialog.open) return;
    toast("This photo has been deleted");
    this.dialog.close();
  }

  #build() {
    this.when = el("h2", { id: "viewer-title" });
    this.image = el("img", { alt: "", draggable: false, onload: () => this.#loaded(true), onerror: () => this.#loaded(false) });
    this.absent = el("p", { class: "viewer-absent", role: "status", hidden: true }, "This photo cannot be shown.");
    this.newer = named("chevron-left", "Newer photo", () => this.#go(-1));
    this.older = named("chevron-right", "Older photo", () => this.#go(1));
    this.smaller = named("zoom-out", "Smaller", () => this.zoom.reduce());
    this.stage = el("div", { class: "viewer-stage" }, this.image, this.absent, this.newer, this.older);
    this.larger = named("zoom-in", "Larger", () => this.zoom.enlarge());
    this.info = named("info-circle", "About this photo", () => this.#showFacts(this.facts.hidden));
    this.label = named("tag", "Label", () => this.#askLabel());
    this.pin = named("pin-angle", "Pin: never remove it to make room", () => this.#togglePin());
    this.trash = named("trash", "Delete", () => this.#delete());
    this.download = el("a", { class: "viewer-button", "aria-label": "Download", title: "Download", download: "" }, icon("download"));
    this.facts = el("aside", { class: "viewer-facts", id: "viewer-facts", "aria-label": "About this photo", tabIndex: 0, hidden: true });
    this.info.setAttribute("aria-controls", "viewer-facts");
    this.dialog = el("dialog", { class: "viewer", "aria-labelledby": "viewer-title", data: { bsTheme: "dark" } },
      el("header", {}, named("x-lg", "Close", () => this.dialog.close()), this.when, this.info),
      el("div", { class: "viewer-middle" }, this.stage, this.facts),
      el("footer", {}, this.smaller, this.larger, this.label, this.pin, this.download, this.trash));
    this.dialog.addEventListener("close", () => this.#closed());
    this.dialog.addEventListener("keydown", (event) => this.#pressed(event));
    document.body.append(this.dialog);
    this.#showFacts(window.matchMedia("(min-width: 64rem)").matches);
  }

  async #find(id) {
    if (this.list.isHidden(id)) {
      this.#forget();
      return;
    }
    try {
      const photo = this.list.find(id) || await api("GET", `/photos/${id}`);
      if (location.hash !== `#${id}`) return;
      this.#show(photo);
      await this.list.reach(photo);
      this.#draw();
    } catch (error) {
      complain(error);
      this.#forget();
    }
  }

  /** Take the photo out of the address, where it is shown no more. */
  #forget() {
    if (history.state?.viewer) history.back();
  }

  #show(photo) {
    const turn = ++this.#turn;
    this.#photo = photo;
    history.replaceState({ viewer: true }, "", `#${photo.id}`);
    this.#open();
    show(this.absent, false);
    this.image.alt = `Photo of ${title(photo.camera)}, ${fullMoment(photo.captured_at)}`;
    this.image.style.backgroundImage = `url("${thumbnail(photo, 320)}")`;
    this.image.src = thumbnail(photo, LARGEST_THUMBNAIL);
    this.zoom.reset(photo);
    this.#draw();
    announce(this.image.alt);
    this.#freshen(photo, turn);
    this.#prepare(photo, turn);
  }

  #open() {
    if (this.dialog.open) return;
    this.dialog.showModal();
    this.#homes = TOLD.map((id) => byId(id)).map((node) => [node, node.parentNode, node.nextSibling]);
    this.dialog.prepend(...this.#homes.map(([node]) => node).reverse());
  }

  #closed() {
    for (const [node, parent, next] of this.#homes.reverse()) parent.insertBefore(node, next);
    this.#homes = [];
    this.#turn += 1;
    this.image.removeAttribute("src");
    if (history.state?.viewer) history.back();
    this.onclose(this.#photo);
  }

  /** Know its ETag, so that nothing is changed that the user has not seen. */
  async #freshen(photo, turn) {
    const now = await api("GET", photo.links.self).catch(() => null);
    if (now && turn === this.#turn) this.#take(now);
  }

  /** Fetch the neighbours' pictures, so that a swipe has something to show. */
  async #prepare(photo, turn) {
    const neighbours = [this.list.newer(photo), await this.list.older(photo).catch(() => undefined)];
    if (turn !== this.#turn) return;
    this.#draw();
    for (const neighbour of neighbours) if (neighbour) new Image().src = thumbnail(neighbour, LARGEST_THUMBNAIL);
  }

  #take(photo) {
    this.#photo = photo;
    this.list.take(photo);
    this.#draw();
  }

  #listChanged() {
    if (!this.#photo || !this.dialog.open) return;
    this.#photo = this.list.find(this.#photo.id) || this.#photo;
    this.#draw();
  }

  #draw() {
    const photo = this.#photo;
    if (!photo) return;
    const mayChange = may("camera", photo.camera, "capture");
    for (const button of [this.label, this.pin, this.trash]) {
      show(button, mayChange);
      button.disabled = !live.connected;
    }
    this.pin.replaceChildren(icon(photo.pinned ? "pin-angle-fill" : "pin-angle"));
    this.pin.setAttribute("aria-pressed", String(photo.pinned));
    write(this.when, fullMoment(photo.captured_at));
    this.facts.replaceChildren(factsOf(photo));
    this.download.href = photo.links.file;
    this.newer.disabled = !this.list.newer(photo);
    this.older.disabled = this.list.isOldest(photo) && !this.list.hasMore;
    this.#drawScale();
  }

  #drawScale() {
    this.smaller.disabled = this.zoom.scale <= 1;
    this.larger.disabled = this.zoom.scale >= this.zoom.most;
  }

  #scaled() {
    this.#drawScale();
    const photo = this.#photo;
    if (this.zoom.scale > 1 && photo.width > LARGEST_THUMBNAIL && photo.format !== "dng") this.#sharpen(photo);
  }

  /** Show all pixels of the photo, once they are here. */
  async #sharpen(photo) {
    if (this.image.src.endsWith(photo.links.file)) return;
    const whole = el("img", { src: photo.links.file });
    await whole.decode().catch(() => {});
    if (photo.id === this.#photo.id && whole.naturalWidth) this.image.src = photo.links.file;
  }

  #loaded(isThere) {
    show(this.absent, !isThere && this.image.hasAttribute("src"));
  }

  #showFacts(isShown) {
    show(this.facts, isShown);
    this.info.setAttribute("aria-expanded", String(isShown));
  }

  async #go(step) {
    const turn = this.#turn;
    const photo = step < 0 ? this.list.newer(this.#photo) : await this.list.older(this.#photo).catch(complain);
    if (photo && turn === this.#turn) this.#show(photo);
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isEnlarged = this.zoom.scale > 1;
    const scrolls = this.facts.contains(event.target);
    const act = {
      ArrowLeft: () => (isEnlarged ? this.zoom.pan(PAN_PX, 0) : this.#go(-1)),
      ArrowRight: () => (isEnlarged ? this.zoom.pan(-PAN_PX, 0) : this.#go(1)),
      ArrowUp: isEnlarged && !scrolls && (() => this.zoom.pan(0, PAN_PX)),
      ArrowDown: isEnlarged && !scrolls && (() => this.zoom.pan(0, -PAN_PX)),
      "+": this.zoom.enlarge,
      "=": this.zoom.enlarge,
      "-": this.zoom.reduce,
      0: () => { this.zoom.reset(this.#photo); this.#drawScale(); },
      i: () => this.#showFacts(this.facts.hidden),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  async #change(button, changes) {
    const photo = this.#photo;
    const turn = this.#turn;
    const headers = ifUnchanged(photo);
    const changed = await whileBusy(button, () => api("PATCH", photo.links.self, { body: changes, headers }));
    if (changed) this.list.take(changed);
    if (turn === this.#turn && changed) this.#photo = changed;
    this.#draw();
    if (!changed) await this.#freshen(photo, turn);
    return changed;
  }

  async #togglePin() {
    const changed = await this.#change(this.pin, { pinned: !this.#photo.pinned });
    if (changed) toast(changed.pinned ? "Pinned: it is never removed to make room" : "No longer pinned");
  }

  async #askLabel() {
    const label = await askLabel(this.#photo.label);
    if (label !== undefined && label !== this.#photo.label) await this.#change(this.label, { label });
  }

  /** It goes only as the user has seen it, so its ETag is waited for. */
  async #delete() {
    const turn = this.#turn;
    const seen = this.#photo;
    const photo = hasETag(seen) ? seen : await api("GET", seen.links.self).catch(() => seen);
    const next = await this.list.older(photo).catch(() => undefined) || this.list.newer(photo);
    this.removals.add(photo);
    if (turn !== this.#turn) return;
    if (next) this.#show(next);
    else this.dialog.close();
  }
}
