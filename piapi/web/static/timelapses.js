// All time-lapses, as they are now, and the form for a new one.

import { api, may, serverNow, Unreachable } from "./api.js";
import { announce, byId, complain, el, icon, show, whileBusy, write } from "./dom.js";
import { LapseForm } from "./lapse-form.js";
import { Latest } from "./lapse-latest.js";
import { hasEnded, nameOf, nextWords, planWords, progressWords, reasonOf, stateIcon, stateWords, untilNextMs } from "./lapse-words.js";
import { live } from "./live.js";
import { start } from "./shell.js";
import { ago } from "./words.js";

const TICK_MS = 500;
const LEAST_REFRESH_MS = 2000;
const PAGE = 24;

const form = new LapseForm((made) => location.assign(`/timelapses/${made.id}`));
const section = byId("lapses");
const cards = new Map();
let next = null;
let isLong = false;
let asked = 0;
let refreshing = null;

class LapseCard {
  #lapse = null;

  constructor(id) {
    const image = el("canvas", { "aria-hidden": "true" });
    this.latest = new Latest(image, 480);
    this.state = el("span", { class: "lapse-state" });
    this.picture = el("span", { class: "lapse-icon" });
    this.name = el("h2", { id: `lapse-${id}` });
    this.reason = el("p", { class: "lapse-reason", hidden: true });
    this.progress = el("progress", { max: 1, "aria-label": "Progress" });
    this.figures = el("p", { class: "lapse-figures" });
    this.next = el("p", { class: "lapse-next" });
    this.plan = el("p", { class: "lapse-plan" });
    this.node = el("article", { class: "lapse panel", data: { lapse: id }, "aria-labelledby": `lapse-${id}` },
      el("a", { class: "lapse-link", href: `/timelapses/${id}` },
        el("div", { class: "lapse-frame" }, icon("film"), image),
        el("div", { class: "lapse-text" }, this.name, el("p", { class: "lapse-line" }, this.picture, this.state),
          this.reason, this.progress, this.figures, this.next, this.plan)));
  }

  take(lapse) {
    const before = this.#lapse;
    this.#lapse = lapse;
    this.draw();
    this.latest.take(lapse);
    if (before && before.state !== lapse.state) announce(`${nameOf(lapse)}: ${stateWords(lapse)}`);
  }

  get lapse() {
    return this.#lapse;
  }

  draw() {
    const lapse = this.#lapse;
    const isLost = !live.connected;
    this.node.dataset.state = lapse.state;
    this.node.dataset.look = isLost ? "lost" : "now";
    write(this.name, nameOf(lapse));
    write(this.state, `${isLost ? "Last known: " : ""}${stateWords(lapse)}`);
    if (this.picture.dataset.icon !== stateIcon(lapse)) this.picture.replaceChildren(icon(stateIcon(lapse)));
    this.picture.dataset.icon = stateIcon(lapse);
    write(this.reason, reasonOf(lapse));
    show(this.reason, this.reason.textContent !== "");
    this.progress.value = lapse.progress;
    show(this.progress, !hasEnded(lapse));
    write(this.figures, progressWords(lapse));
    write(this.plan, planWords(lapse));
    this.tick();
  }

  tick() {
    const lapse = this.#lapse;
    write(this.next, !live.connected ? "" : hasEnded(lapse) && lapse.ended_at ? ago(lapse.ended_at, serverNow()) : nextWords(lapse));
  }
}

function put(lapses) {
  for (const lapse of lapses) {
    if (!cards.has(lapse.id)) cards.set(lapse.id, new LapseCard(lapse.id));
    cards.get(lapse.id).take(lapse);
  }
}

function forget(id) {
  cards.get(id)?.node.remove();
  cards.delete(id);
}

/** In the order of the list, newest first. What stands right already is not moved: it may have the focus. */
function order(ids) {
  ids.forEach((id, place) => {
    const { node } = cards.get(id);
    if (section.children[place] !== node) section.insertBefore(node, section.children[place] || null);
  });
}

async function load() {
  const mine = ++asked;
  clearTimeout(refreshing);
  try {
    const found = await api("GET", `/timelapses?limit=${PAGE}`);
    if (mine !== asked) return;
    const ids = found.items.map((item) => item.id);
    if (!isLong) next = found.links.next;
    if (!found.links.next) [...cards.keys()].filter((id) => !ids.includes(id)).forEach(forget);
    put(found.items);
    order(ids);
    show(section, cards.size > 0);
    show(byId("nothing"), cards.size === 0);
    show(byId("older"), Boolean(next));
    show(byId("loading"), false);
  } catch (error) {
    if (!(error instanceof Unreachable)) complain(error);
  }
  again();
}

/** Frames are no events; so the list is looked at again when the next one is due. */
function again() {
  clearTimeout(refreshing);
  const active = [...cards.values()].map((card) => card.lapse).filter((lapse) => !hasEnded(lapse));
  if (!active.length || !live.connected) return;
  refreshing = setTimeout(load, Math.min(...active.map((lapse) => untilNextMs(lapse, LEAST_REFRESH_MS))));
}

async function loadCameras() {
  try {
    const { items } = await api("GET", "/cameras?limit=200");
    const cameras = items.filter((camera) => may("camera", camera.id, "capture"));
    form.offer(cameras);
    show(byId("may-begin"), cameras.length > 0);
    if (location.hash === "#new" && cameras.length) open(true);
  } catch (error) {
    if (!(error instanceof Unreachable)) complain(error);
  }
}

function open(isOpen) {
  show(byId("new"), isOpen);
  byId("begin").setAttribute("aria-expanded", String(isOpen));
  show(byId("begin"), !isOpen);
  history.replaceState(null, "", isOpen ? "#new" : location.pathname);
  if (isOpen) form.open();
  else byId("begin").focus();
}

byId("begin").addEventListener("click", () => open(true));
byId("back").addEventListener("click", () => open(false));
byId("older").querySelector("button").addEventListener("click", ({ currentTarget }) => whileBusy(currentTarget, async () => {
  const found = await api("GET", next);
  put(found.items);
  found.items.forEach(({ id }) => section.append(cards.get(id).node));
  next = found.links.next;
  isLong = true;
  show(byId("older"), Boolean(next));
}));

live.on("timelapse.", (entry) => {
  if (entry.type === "timelapse.removed") forget(entry.data.id);
  load();
});
live.addEventListener("found", () => { load(); loadCameras(); });
live.addEventListener("lost", () => { clearTimeout(refreshing); cards.forEach((card) => card.draw()); });
setInterval(() => cards.forEach((card) => card.tick()), TICK_MS);

start();
