// Which photos: by camera, label and days. The address of the page says it, so that a reload keeps it.

import { api } from "./api.js";
import { byId, el, write } from "./dom.js";
import { title } from "./words.js";

const FIELDS = ["camera", "label", "from", "to"];

const dayWords = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/** Midnight at the start of a day (2026-11-27), `later` days on, where the user is; undefined for what is no day. */
function midnight(day, later = 0) {
  const at = new Date(`${day}T00:00`);
  if (Number.isNaN(at.getTime())) return undefined;
  at.setDate(at.getDate() + later);
  return at;
}

/** What `GET /photos` and `/photos.tar` take: camera, label, since (included), until (not included). */
export function selectionOf({ camera, label, from, to }) {
  const all = { camera, label, since: from && midnight(from)?.toISOString(), until: to && midnight(to, 1)?.toISOString() };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value));
}

/** Whether a photo is among those selected. */
export function isSelected(photo, { camera, label, since, until }) {
  return (!camera || photo.camera === camera) && (!label || photo.label === label) &&
    (!since || photo.captured_at >= since) && (!until || photo.captured_at < until);
}

/** The form. `onchange(selection)` is called when it has been changed. */
export class Filter {
  #cameras = new Set();
  #labels = new Set();

  constructor(onchange) {
    this.form = byId("filter");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => this.#changed(onchange));
    this.form.addEventListener("reset", () => queueMicrotask(() => this.#changed(onchange)));
    this.#read();
  }

  get selection() {
    return selectionOf(this.#values);
  }

  get #values() {
    return Object.fromEntries(FIELDS.map((field) => [field, this.form.elements[field].value.trim()]));
  }

  get isEmpty() {
    return Object.keys(this.selection).length === 0;
  }

  /** Choose all photos. */
  clear() {
    this.form.reset();
  }

  /** Offer the cameras that there are. */
  async load() {
    const { items } = await api("GET", "/cameras?limit=200");
    this.#offerCameras(items.map((camera) => camera.id));
  }

  /** Offer what these photos have: also cameras that are no longer there, and labels. */
  learn(photos) {
    this.#offerCameras(photos.map((photo) => photo.camera));
    for (const { label } of photos) {
      if (!label || this.#labels.has(label)) continue;
      this.#labels.add(label);
      byId("labels").append(el("option", { value: label }));
    }
  }

  #offerCameras(names) {
    for (const name of names) {
      if (this.#cameras.has(name)) continue;
      this.#cameras.add(name);
      this.form.elements.camera.append(el("option", { value: name }, title(name)));
    }
  }

  #read() {
    const asked = new URLSearchParams(location.search);
    if (asked.get("camera")) this.#offerCameras([asked.get("camera")]);
    for (const field of FIELDS) this.form.elements[field].value = asked.get(field) || "";
    this.#tell();
  }

  #changed(onchange) {
    const asked = new URLSearchParams(Object.entries(this.#values).filter(([, value]) => value));
    history.replaceState(history.state, "", location.pathname + (asked.size ? `?${asked}` : "") + location.hash);
    this.#tell();
    onchange(this.selection);
  }

  #tell() {
    const { camera, label, from, to } = this.#values;
    const words = [
      camera && title(camera),
      label && `“${label}”`,
      from && `from ${dayWords.format(midnight(from))}`,
      to && `to ${dayWords.format(midnight(to))}`,
    ].filter(Boolean);
    write(byId("filter-words"), words.length ? words.join(", ") : "All photos");
  }
}
