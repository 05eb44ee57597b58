// The form for a new time-lapse: presets fill it, and while it is filled in it tells what it will come to.

import { api, command, newKey, Problem, serverNow, Unreachable } from "./api.js";
import { byId, complain, el, show, write } from "./dom.js";
import { clearFaults, numberIn, tellFaults, timeField, timeIn } from "./fields.js";
import { PLAIN, PRESETS } from "./lapse-presets.js";
import { live } from "./live.js";
import { duration, fullMoment, moment, size, title } from "./words.js";

const CALM_MS = 300;
const AGAIN_MS = 3000;
const DAY_MS = 86_400_000;

const LESS = "take fewer or smaller frames, or do not keep them";

/** The form; `made(timelapse)` is called with what it began. */
export class LapseForm {
  #form = byId("plan");
  #cameras = [];
  #waiting = null;
  #asking = null;
  #pending = null;
  #isBusy = false;

  constructor(made) {
    this.made = made;
    for (const button of document.querySelectorAll("[data-preset]")) {
      button.addEventListener("click", () => this.#fill({ ...PLAIN, ...PRESETS[button.dataset.preset] }));
    }
    this.#form.addEventListener("input", (event) => this.#changed(event.target));
    this.#form.addEventListener("submit", (event) => { event.preventDefault(); this.#create(); });
    byId("use-clock").addEventListener("click", () => this.#useClock());
    live.addEventListener("lost", () => this.#lose());
    live.addEventListener("found", () => { byId("create").disabled = this.#isBusy; this.#changed(); });
    this.#fill(PLAIN);
  }

  /** The cameras that this user may take time-lapses with. */
  offer(cameras) {
    const names = cameras.map((camera) => camera.id).join();
    if (names === this.#cameras.map((camera) => camera.id).join()) return;
    this.#cameras = cameras;
    const { camera } = this.#form.elements;
    camera.replaceChildren(...cameras.map(({ id }) => el("option", { value: id }, title(id))));
    show(byId("camera-field"), cameras.length > 1);
    this.#offerSizes();
  }

  /** Show it, and ask what it comes to. */
  open() {
    this.#changed();
    this.#field("name").focus();
  }

  #field(name) {
    return this.#form.elements[name];
  }

  #fill(values) {
    const until = timeField(new Date(serverNow() + DAY_MS));
    for (const [name, value] of Object.entries({ ...values, until, start: "" })) {
      if (name === "days") for (const box of this.#field("days")) box.checked = value.includes(box.value);
      else if (typeof value === "boolean") this.#field(name).checked = value;
      else this.#field(name).value = value;
    }
    this.#changed();
  }

  #useClock() {
    this.#field("window").value = "clock";
    this.#field("window").focus();
    this.#changed();
  }

  #offerSizes() {
    const camera = this.#cameras.find(({ id }) => id === this.#field("camera").value);
    const sizes = camera?.resolutions || [];
    this.#field("size").replaceChildren(el("option", { value: "" }, "as the camera is set"),
      ...sizes.map(([width, height]) => el("option", { value: `${width}x${height}` }, `${width} × ${height}`)));
  }

  #changed(what) {
    if (what?.name === "camera") this.#offerSizes();
    for (const part of this.#form.querySelectorAll("[data-for]")) {
      const [name, wanted] = part.dataset.for.split("=");
      show(part, wanted.split("|").includes(this.#field(name).value));
    }
    clearTimeout(this.#waiting);
    this.#asking?.abort();
    byId("estimate").dataset.look = "old";
    if (this.#isOpen && live.connected) this.#waiting = setTimeout(() => this.#estimate(), CALM_MS);
  }

  get #isOpen() {
    return this.#cameras.length > 0 && !byId("new").hidden;
  }

  get #path() {
    return `/cameras/${encodeURIComponent(this.#field("camera").value)}/timelapses`;
  }

  /** What the API is asked for. A field that is empty is not in it. */
  #plan() {
    const field = (name) => this.#field(name);
    const times = (name) => { const number = numberIn(field(name)); return number && number * Number(field(`${name}_unit`).value); };
    const ends = {
      count: ["count", numberIn(field("count"))],
      duration: ["duration_s", times("duration")],
      until: ["until", timeIn(field("until"))],
    };
    const [end, value] = ends[field("end").value];
    const [width, height] = field("size").value.split("x").map(Number);
    return {
      name: field("name").value.trim() || undefined,
      interval_s: times("interval"),
      [end]: value,
      start_at: timeIn(field("start")),
      window: this.#window(),
      ...(height ? { width, height } : {}),
      ...(field("exposure").value === "lock" ? { lock_exposure: true } : {}),
      ...(field("exposure").value === "ramp" ? { controls: { exposure: "ramp" } } : {}),
      video: { fps: numberIn(field("fps")), timestamp: field("timestamp").checked, keep_frames: field("keep_frames").checked },
    };
  }

  #window() {
    const kind = this.#field("window").value;
    if (kind === "none") return undefined;
    const sun = (name) => sunEdge(...["word", "side", "minutes"].map((part) => this.#field(`${name}_${part}`).value));
    const edge = (name) => (kind === "clock" ? this.#field(name).value : sun(name));
    return { from: edge("from"), to: edge("to"), days: [...this.#field("days")].filter((box) => box.checked).map((box) => box.value) };
  }

  /** A dry run. Of several the one that was asked for last counts: those before it are given up. */
  async #estimate() {
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const found = await api("POST", `${this.#path}?dry_run=true`, { body: this.#plan(), signal: asking.signal });
      if (asking.signal.aborted) return;
      clearFaults(this.#form);
      show(byId("no-place"), false);
      this.#drawEstimate(found);
    } catch (error) {
      if (asking.signal.aborted) return;
      if (error instanceof Problem && error.errors.length) this.#refuse(error);
      else {
        if (error instanceof Problem) write(byId("fits"), error.message);
        this.#waiting = setTimeout(() => this.#estimate(), AGAIN_MS);
      }
    }
  }

  #drawEstimate(found) {
    const frames = found.frames.toLocaleString();
    const figures = { frames, film: duration(found.video_s), size: size(found.size_bytes), ends: moment(found.ends_at) };
    for (const [name, text] of Object.entries(figures)) write(document.querySelector(`[data-figure="${name}"]`), text);
    document.querySelector('[data-figure="ends"]').title = fullMoment(found.ends_at);
    byId("estimate").dataset.look = "now";
    byId("fits").dataset.look = found.fits ? "good" : "bad";
    write(byId("fits"), found.fits ? "There is room for it." : `There is no room for it: ${LESS}.`);
  }

  /** What is wrong is told beside its field, and no figures stand there that belong to something else. */
  #refuse(problem) {
    const errors = problem.errors.filter((error) => !wantsPlace(error));
    const isPlaceless = errors.length < problem.errors.length;
    if (isPlaceless) errors.push({ pointer: "/window", detail: "This needs to know where the Pi is" });
    const first = tellFaults(this.#form, { message: problem.message, errors });
    show(byId("no-place"), isPlaceless);
    document.querySelectorAll("[data-figure]").forEach((figure) => write(figure, "–"));
    write(byId("fits"), "");
    for (let details = first?.closest("details"); details && !details.open;) details.open = true;
    return first;
  }

  async #create() {
    const body = this.#plan();
    const text = JSON.stringify([this.#path, body]);
    if (this.#pending?.text !== text) this.#pending = { text, key: newKey() };
    this.#isBusy = true;
    byId("create").disabled = true;
    try {
      const made = await command("POST", this.#path, body, this.#pending.key);
      this.#pending = null;
      this.made(made);
    } catch (error) {
      if (!(error instanceof Unreachable)) this.#pending = null; // what nobody has answered is sent again under its key
      if (error instanceof Problem) this.#refuse(error)?.focus();
      else complain(error);
    } finally {
      this.#isBusy = false;
      byId("create").disabled = !live.connected;
    }
  }

  #lose() {
    clearTimeout(this.#waiting);
    this.#asking?.abort();
    byId("estimate").dataset.look = "old";
    byId("create").disabled = true;
  }
}

/** Whether the server says that it does not know where it is. The page explains that itself, once. */
const wantsPlace = ({ pointer, detail }) => pointer?.startsWith("/window/") && detail.includes("[place]");

/** sunset, -, 30 → sunset-00:30. */
function sunEdge(word, side, minutes) {
  if (Number(minutes) === 0) return word;
  return `${word}${side}${[Math.floor(minutes / 60), minutes % 60].map((part) => String(part).padStart(2, "0")).join(":")}`;
}
