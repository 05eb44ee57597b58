// What became of every tick: a strip whose bars are as high as frames were late, and hatched where one was missed.

import { api } from "./api.js";
import { byId, el, show, whileBusy, write } from "./dom.js";
import { count, fullMoment, moment } from "./words.js";

const AT_ONCE = 200;
const MOST_FOLLOWED = 5000;
const BAR_PX = 4;
const HEIGHT_PX = 96;
const FULL_LATE_MS = 100;

/** Causes as the ledger has them: what they are called, their colour (by name in piapi.css) and how they are hatched. */
const CAUSES = {
  power: ["missed: no power, or a restart", "--fault", "rising"],
  camera: ["missed: the camera", "--open", "crossed"],
  storage: ["missed: no room on the disk", "--moving", "level"],
  clock: ["missed: the clock jumped", "--quiet", "dotted"],
  overrun: ["missed: the one before took too long", "--fault", "upright"],
};
const CAPTURED = ["captured", "--closed", null];

const kindOf = (tick) => (tick.status === "captured" ? CAPTURED : CAUSES[tick.cause]);
const late = (ms) => (ms === null ? "" : `${Math.round(ms).toLocaleString()} ms`);

/** The ticks of a time-lapse, the newest of them to begin with. */
export class Ticks {
  #ticks = [];
  #older = null;
  #isWhole = true;
  #fetching = null;
  #canvas = byId("ticks");

  constructor() {
    new ResizeObserver(() => this.#paint()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => requestAnimationFrame(() => this.#draw()));
    for (const name of ["pointermove", "pointerdown"]) this.#canvas.addEventListener(name, (event) => this.#tell(event));
    const older = byId("older").querySelector("button");
    older.addEventListener("click", () => whileBusy(older, () => this.#loadOlder()));
  }

  /** Fetch what came since the last time. One call at a time. */
  async refresh(path) {
    this.#fetching ??= this.#refresh(path).finally(() => { this.#fetching = null; });
    return this.#fetching;
  }

  async #refresh(path) {
    const known = this.#ticks.at(-1)?.index ?? -1;
    const fresh = [];
    let next = `${path}?limit=${AT_ONCE}`;
    for (;;) {
      const page = await api("GET", next);
      fresh.push(...page.items.filter((tick) => tick.index > known));
      next = page.links.next;
      if (known < 0) this.#older = next;
      if (known < 0 || !next || page.items.at(-1).index <= known) break;
    }
    if (fresh.length === 0) return;
    this.#ticks.push(...fresh.reverse());
    if (this.#ticks.length > MOST_FOLLOWED) this.#cut();
    this.#isWhole &&= !this.#older;
    this.#draw();
  }

  /** A page that is left open for days must not grow for ever: it follows the newest ones. */
  #cut() {
    this.#ticks = this.#ticks.slice(-MOST_FOLLOWED);
    this.#older = null;
    this.#isWhole = false;
  }

  async #loadOlder() {
    const page = await api("GET", this.#older);
    this.#ticks.unshift(...page.items.reverse());
    this.#older = page.links.next;
    this.#isWhole = !this.#older;
    this.#draw();
  }

  #draw() {
    this.#paint();
    this.#drawLegend();
    this.#drawTable();
    show(byId("older"), Boolean(this.#older));
  }

  /** Numbers by what became of them. */
  #sums() {
    const sums = new Map();
    for (const tick of this.#ticks) sums.set(kindOf(tick), (sums.get(kindOf(tick)) || 0) + 1);
    return [...sums].sort(([a], [b]) => (b === CAPTURED) - (a === CAPTURED));
  }

  #drawLegend() {
    const sums = this.#sums();
    byId("ticks-legend").replaceChildren(...sums.map(([[words, colour, hatch], number]) => {
      const swatch = el("canvas", { width: 32, height: 32, "aria-hidden": "true" });
      const to = swatch.getContext("2d");
      to.fillStyle = fillOf(to, colour, hatch);
      to.fillRect(0, 0, 32, 32);
      return el("li", {}, swatch, el("span", {}, `${number.toLocaleString()} ${words}`));
    }));
    const which = this.#isWhole ? "Every tick" : `The last ${count(this.#ticks.length, "tick")}`;
    write(byId("ticks-heading"), which);
    this.#canvas.setAttribute("aria-label", `${which}: ${sums.map(([[words], number]) => `${number} ${words}`).join("; ")}`);
  }

  /** Rows for runs of ticks of one kind, newest first. */
  #drawTable() {
    byId("ticks-rows").replaceChildren(...runs(this.#ticks).reverse().map(({ first, last, kind, latest }) => el("tr", {},
      el("th", { scope: "row" }, first.index === last.index ? String(first.index) : `${first.index} to ${last.index}`),
      el("td", { title: fullMoment(first.due_at) }, moment(first.due_at)), el("td", {}, kind[0]),
      el("td", {}, first === last ? late(latest) : latest === null ? "" : `up to ${late(latest)}`))));
  }

  /** As many ticks to a bar as it takes for all of them to have their place. */
  get #perBar() {
    return Math.max(1, Math.ceil(this.#ticks.length / Math.floor(this.#canvas.clientWidth / BAR_PX || 1)));
  }

  get #barWidth() {
    return Math.min(12, this.#canvas.clientWidth / Math.ceil(this.#ticks.length / this.#perBar));
  }

  #paint() {
    const canvas = this.#canvas;
    const scale = Math.min(window.devicePixelRatio, 2);
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = HEIGHT_PX * scale;
    const to = canvas.getContext("2d");
    to.scale(scale, scale);
    const fills = new Map([CAPTURED, ...Object.values(CAUSES)].map((kind) => [kind, fillOf(to, kind[1], kind[2])]));
    const most = Math.max(FULL_LATE_MS, ...this.#ticks.map((tick) => tick.lateness_ms || 0));
    for (let bar = 0; bar * this.#perBar < this.#ticks.length; bar += 1) {
      const ticks = this.#ticks.slice(bar * this.#perBar, (bar + 1) * this.#perBar);
      const missed = ticks.find((tick) => tick.status === "missed");
      const lateness = Math.max(...ticks.map((tick) => tick.lateness_ms || 0));
      const height = missed ? HEIGHT_PX : 6 + (HEIGHT_PX - 6) * (lateness / most);
      to.fillStyle = fills.get(kindOf(missed || ticks[0]));
      to.fillRect(bar * this.#barWidth, HEIGHT_PX - height, Math.max(1, this.#barWidth - 1), height);
    }
  }

  #tell({ offsetX }) {
    const tick = this.#ticks[Math.floor(offsetX / this.#barWidth) * this.#perBar];
    if (!tick) return;
    const lateness = tick.lateness_ms === null ? "" : `, ${late(tick.lateness_ms)} late`;
    write(byId("tick-told"), `Tick ${tick.index}, ${fullMoment(tick.due_at)}: ${kindOf(tick)[0]}${lateness}`);
  }
}

function runs(ticks) {
  const found = [];
  for (const tick of ticks) {
    const kind = kindOf(tick);
    const run = found.at(-1);
    if (run && run.kind === kind && tick.index === run.last.index + 1) {
      run.last = tick;
      if (tick.lateness_ms !== null) run.latest = Math.max(run.latest, tick.lateness_ms);
    } else {
      found.push({ first: tick, last: tick, kind, latest: tick.lateness_ms });
    }
  }
  return found;
}

const HATCHES = {
  rising: [[0, 8, 8, 0]],
  crossed: [[0, 8, 8, 0], [0, 0, 8, 8]],
  level: [[0, 4, 8, 4]],
  upright: [[4, 0, 4, 8]],
  dotted: [[3, 4, 5, 4]],
};

/** A colour, hatched so that it can be told from the others without seeing colours. */
function fillOf(to, colour, hatch) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(colour);
  if (!hatch) return value;
  const tile = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const on = tile.getContext("2d");
  Object.assign(on, { strokeStyle: value, fillStyle: value, lineWidth: 2.5 });
  on.globalAlpha = 0.25;
  on.fillRect(0, 0, 8, 8);
  on.globalAlpha = 1;
  for (const [x1, y1, x2, y2] of HATCHES[hatch]) {
    on.beginPath();
    on.moveTo(x1, y1);
    on.lineTo(x2, y2);
    on.stroke();
  }
  return to.createPattern(tile, "repeat");
}
