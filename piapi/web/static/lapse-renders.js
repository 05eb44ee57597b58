// Films made again from the same frames: how far they are, and a form for another one.

import { api, command, newKey, Problem, Unreachable } from "./api.js";
import { announce, byId, complain, el, icon, show, whileBusy, write } from "./dom.js";
import { clearFaults, numberIn, tellFaults } from "./fields.js";
import { live } from "./live.js";
import { duration, fullMoment, moment, size } from "./words.js";

const REFRESH_MS = 1000;

const STATES = { queued: "Waits its turn", running: "Being made", finished: "Ready", failed: "Failed", cancelled: "Cancelled" };

const isActive = (render) => render.state === "queued" || render.state === "running";

/** The renders of a time-lapse. */
export class Renders {
  #path = null;
  #mayMake = false;
  #keepsFrames = false;
  #rows = new Map();
  #later = null;
  #form = byId("render");

  constructor() {
    this.#form.addEventListener("submit", (event) => { event.preventDefault(); this.#make(); });
    live.on("render.state", () => this.refresh());
    live.addEventListener("lost", () => clearTimeout(this.#later));
  }

  /** Whose renders they are. */
  take({ links, video, frames_captured: frames }, mayMake) {
    if (!this.#path) this.#form.elements.fps.value = video.fps;
    this.#path = links.renders;
    this.#mayMake = mayMake;
    this.#keepsFrames = video.keep_frames && frames > 0;
    this.#show();
  }

  async refresh() {
    clearTimeout(this.#later);
    if (!this.#path) return;
    try {
      const { items } = await api("GET", `${this.#path}?limit=20`);
      this.#draw(items);
      if (items.some(isActive) && live.connected) this.#later = setTimeout(() => this.refresh(), REFRESH_MS);
    } catch (error) {
      if (!(error instanceof Unreachable)) complain(error);
    }
  }

  #show() {
    show(byId("renders-panel"), this.#rows.size > 0 || (this.#mayMake && this.#keepsFrames));
    show(byId("render-more"), this.#mayMake && this.#keepsFrames);
  }

  #draw(renders) {
    for (const render of renders) {
      if (!this.#rows.has(render.id)) this.#rows.set(render.id, new RenderRow(render, () => this.refresh()));
      this.#rows.get(render.id).take(render, this.#mayMake);
    }
    const nodes = renders.map((render) => this.#rows.get(render.id).node);
    if (nodes.some((node, place) => byId("renders").children[place] !== node)) byId("renders").replaceChildren(...nodes);
    this.#show();
  }

  async #make() {
    const key = newKey();
    const { fps, width, every_nth: nth, codec, deflicker, timestamp } = this.#form.elements;
    const numbers = { fps: numberIn(fps), width: numberIn(width), every_nth: numberIn(nth) };
    const body = { ...numbers, codec: codec.value, deflicker: deflicker.checked, timestamp: timestamp.checked };
    clearFaults(this.#form);
    await whileBusy(this.#form.querySelector("[type=submit]"), async () => {
      try {
        await command("POST", this.#path, body, key);
        announce("The film will be made");
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        tellFaults(this.#form, error)?.focus();
      }
    });
    await this.refresh();
  }
}

class RenderRow {
  #said = null;

  constructor(render, changed) {
    this.state = el("strong");
    this.words = el("small");
    this.progress = el("progress", { max: 1, "aria-label": "Progress of the film" });
    const look = "btn btn-outline-secondary";
    const cancel = () => this.#cancel(render, changed);
    this.cancel = el("button", { type: "button", class: look, data: { command: "" }, onclick: cancel }, "Cancel");
    this.file = el("a", { class: look, download: `${render.timelapse}-${render.id}.mp4` }, icon("download"), " Download");
    const wish = el("small", { title: fullMoment(render.created_at) }, `${moment(render.created_at)}: ${wishWords(render)}`);
    this.node = el("div", { class: "row-item render", data: { render: render.id } },
      el("div", { class: "row-text" }, this.state, this.words, wish, this.progress), this.cancel, this.file);
  }

  take(render, mayCancel) {
    this.node.dataset.state = render.state;
    write(this.state, STATES[render.state]);
    const left = render.state === "running" && render.eta_s !== null ? `about ${duration(render.eta_s)} left` : "";
    write(this.words, render.detail || left || (render.state === "finished" ? size(render.size_bytes) : ""));
    show(this.words, this.words.textContent !== "");
    this.progress.value = render.progress;
    show(this.progress, isActive(render));
    show(this.cancel, isActive(render) && mayCancel);
    this.cancel.disabled = !live.connected;
    show(this.file, Boolean(render.links.file));
    if (render.links.file) this.file.href = render.links.file;
    if (this.#said !== null && this.#said !== render.state) announce(`Film: ${STATES[render.state]}`);
    this.#said = render.state;
  }

  async #cancel(render, changed) {
    await whileBusy(this.cancel, () => api("DELETE", render.links.self));
    await changed();
  }
}

function wishWords({ fps, width, every_nth: nth, codec, deflicker, timestamp }) {
  return [`${fps} frames per second`, width && `${width} px wide`, nth > 1 && `one frame of ${nth}`, codec === "hevc" && "HEVC",
    deflicker && "without flicker", timestamp && "with date and time"].filter(Boolean).join(", ");
}
