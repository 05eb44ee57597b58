// The film so far: it grows while it is looked at, and nobody who watches it is disturbed.

import { byId, show, write } from "./dom.js";
import { live } from "./live.js";
import { count, duration, size } from "./words.js";

const LEAST_RELOAD_MS = 5000;

/** Some browsers show nothing of a film until it is asked for a moment in it. */
const FIRST_PICTURE_S = 0.001;

/** The player of a film that gets longer. */
export class Film {
  #video = byId("film");
  #frames = 0;
  #loaded = 0;
  #loadedAt = -Infinity;
  #address = "";
  #later = null;

  constructor() {
    this.#video.addEventListener("pause", () => this.#renew());
    this.#video.addEventListener("error", () => { this.#loaded = 0; });
  }

  /** Show this film, of a time-lapse that was just fetched. */
  take({ video, links, id }, hasEnded) {
    this.#frames = video.frames;
    this.#address = links.video;
    show(this.#video, video.frames > 0);
    write(byId("film-heading"), hasEnded ? "The film" : "The film so far");
    const words = `${duration(video.duration_s)}, ${count(video.frames, "frame")}, ${size(video.size_bytes)}`;
    write(byId("film-words"), video.frames ? words : "There is no frame yet.");
    const file = byId("film-file");
    file.href = links.video;
    file.download = `${id}.mp4`;
    show(file, video.frames > 0);
    this.#renew();
  }

  /** Load it anew where it has grown; not while it plays, and not all the time, as its end is encoded for each look. */
  #renew() {
    clearTimeout(this.#later);
    if (this.#frames === this.#loaded || this.#frames === 0 || this.#isWatched || !live.connected) return;
    const wait = this.#loadedAt + LEAST_RELOAD_MS - performance.now();
    if (wait > 0) {
      this.#later = setTimeout(() => this.#renew(), wait);
      return;
    }
    const place = this.#video.currentTime || FIRST_PICTURE_S;
    this.#loaded = this.#frames;
    this.#loadedAt = performance.now();
    this.#video.src = `${this.#address}#t=${place}&frames=${this.#frames}`; // players keep what they know by address
  }

  get #isWatched() {
    return this.#video.seeking || (!this.#video.paused && !this.#video.ended);
  }
}
