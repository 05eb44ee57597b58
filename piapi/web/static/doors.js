// Doors: where each is and how that is known, and holding a button to move it.

import { api, command, expiry, may, newKey, serverNow, Turns, Unreachable } from "./api.js";
import { Collection } from "./collection.js";
import { announce, confirmed, el, icon, show, toast, whileBusy, write } from "./dom.js";
import { holdButton } from "./hold.js";
import { live, persistently } from "./live.js";
import { ago, duration, fullMoment, moment, title } from "./words.js";

const STATES = {
  open: ["Open", "door-open-fill", "open"],
  closed: ["Closed", "door-closed-fill", "closed"],
  opening: ["Opening…", "arrow-up-circle", "moving"],
  closing: ["Closing…", "arrow-down-circle", "moving"],
  stopped: ["Stopped half way", "stop-circle", "open"],
  unknown: ["Not known", "question-circle", "unknown"],
  fault: ["Fault", "exclamation-triangle-fill", "fault"],
};

const BASIS = { sensor: "by its sensor", inferred: "as reckoned, not seen", none: "no sensor tells" };

const FAILURES = {
  failed: "did not move as asked",
  timed_out: "did not arrive in time",
  unknown: "was cut off; nobody knows whether it moved",
};

const TICK_MS = 500;

/** The cards of all doors. */
export class Doors extends Collection {
  constructor(section) {
    super(section, "/doors", ["door.", "operation.state"], (door) => new DoorCard(door.name));
    setInterval(() => this.each((card) => card.tick()), TICK_MS);
  }
}

class DoorCard {
  #door = null;
  #operation = null;
  #said = "";
  #busy = false;
  #isLost = true;

  constructor(name) {
    this.name = name;
    this.turns = new Turns();
    this.path = `/doors/${encodeURIComponent(name)}`;
    this.state = el("p", { class: "door-state" });
    this.basis = el("p", { class: "door-basis" });
    this.note = el("p", { class: "door-note", hidden: true });
    this.picture = el("div", { class: "door-picture" });
    this.progress = el("progress", { class: "door-progress", max: 1, "aria-label": "On its way", hidden: true });
    this.cancel = el("button", { type: "button", class: "btn btn-warning btn-lg w-100", hidden: true, onclick: () => this.#cancel() }, "Cancel");
    this.open = this.#holdFor("open", "Open");
    this.close = this.#holdFor("closed", "Close");
    this.press = holdButton({ label: "Press", question: `Press the button of ${title(name)}?`, act: (key) => this.#press(key) });
    this.lock = el("button", { type: "button", class: "btn btn-sm btn-outline-secondary", onclick: () => this.#lock() }, "Lock");
    this.node = el("article", { class: "door", data: { door: name }, "aria-labelledby": `door-${name}` },
      el("header", {}, el("h2", { id: `door-${name}` }, title(name)), this.lock),
      el("div", { class: "door-face" }, this.picture, el("div", {}, this.state, this.basis)),
      this.note, this.progress, this.cancel,
      el("div", { class: "door-buttons" }, this.open, this.close, this.press));
  }

  #holdFor(target, verb) {
    const act = (key) => this.#command("PUT", "target", { target, expires_at: expiry() }, key);
    return holdButton({ label: verb, question: `${verb} ${title(this.name)}?`, act });
  }

  /** Fetch it anew, and its operation. */
  refresh() {
    return persistently(async () => {
      const mayShow = this.turns.ask();
      const door = await api("GET", this.path);
      const operation = await this.#operationOf(door);
      if (mayShow()) this.#show(door, operation);
    });
  }

  /** Show this door at once, and its operation as soon as it is here. */
  take(door) {
    const { operation } = door.links;
    const { shown } = this.turns;
    this.#show(door, this.#operation?.links.self === operation ? this.#operation : null);
    return persistently(async () => {
      const found = await this.#operationOf(door);
      if (this.turns.shown === shown) this.#show(door, found);
    });
  }

  #operationOf(door) {
    return door.links.operation ? api("GET", door.links.operation) : null;
  }

  #show(door, operation) {
    const isFirst = this.#door === null;
    this.#door = door;
    this.#operation = operation;
    this.#isLost = !live.connected;
    this.#draw();
    const words = `${title(this.name)}: ${this.state.textContent}`;
    if (!isFirst && words !== this.#said) announce(words, door.state === "fault");
    this.#said = words;
  }

  lose() {
    this.#isLost = true;
    for (const button of [this.open, this.close, this.press]) button.letGo();
    if (this.#door) this.#draw();
  }

  tick() {
    if (this.#door) this.#drawTimes();
  }

  #draw() {
    const door = this.#door;
    const [words, picture, look] = STATES[door.state];
    this.node.dataset.state = door.state;
    this.node.dataset.look = this.#isLost ? "lost" : look;
    write(this.state, words);
    if (this.picture.dataset.icon !== picture) this.picture.replaceChildren(icon(picture));
    this.picture.dataset.icon = picture;
    this.#drawNote();
    this.#drawButtons();
    this.#drawTimes();
  }

  #drawNote() {
    const door = this.#door;
    const ended = FAILURES[this.#operation?.state];
    const text = door.locked ? `Locked${door.lock_reason ? `: ${door.lock_reason}` : ""}. It takes no command.`
      : door.detail || (ended && `The last command ${ended}${this.#operation.detail ? `: ${this.#operation.detail}` : "."}`) || "";
    write(this.note, text);
    show(this.note, Boolean(text));
  }

  #drawButtons() {
    const door = this.#door;
    const hasTarget = door.sensors.closed !== null || door.sensors.open !== null;
    const blocked = this.#isLost || this.#busy || door.locked || door.state === "fault";
    const warns = this.#operation?.state === "warning";
    show(this.open, hasTarget && may("door", this.name, "open") && !["open", "opening"].includes(door.state) && !warns);
    show(this.close, hasTarget && may("door", this.name, "close") && !["closed", "closing"].includes(door.state) && !warns);
    show(this.press, !hasTarget && may("door", this.name, "open") && may("door", this.name, "close") && !warns);
    for (const button of [this.open, this.close, this.press]) button.disabled = blocked;
    show(this.cancel, warns && (may("door", this.name, "close") || may("door", this.name, "open")));
    this.cancel.disabled = this.#isLost;
    show(this.lock, may("door", this.name, "lock"));
    write(this.lock, door.locked ? "Unlock" : "Lock");
    this.lock.disabled = this.#isLost;
  }

  #drawTimes() {
    const door = this.#door;
    const operation = this.#operation;
    const known = this.#isLost ? "Last known. " : "";
    write(this.basis, `${known}Since ${moment(door.since)} (${ago(door.since, serverNow())}), ${BASIS[door.basis]}`);
    this.basis.title = fullMoment(door.since);
    const warns = operation?.state === "warning";
    show(this.progress, (warns || operation?.state === "moving") && !this.#isLost);
    if (warns) {
      const left = Math.max(0, Math.ceil((Date.parse(operation.warning_ends_at) - serverNow()) / 1000));
      write(this.state, `Will ${operation.target === "open" ? "open" : "close"} in ${left} s`);
      write(this.cancel, `Cancel (${duration(left)})`);
    }
  }

  async #command(method, part, body, key) {
    this.#busy = true;
    this.#drawButtons();
    try {
      await command(method, `${this.path}/${part}`, body, key);
    } catch (error) {
      const words = error instanceof Unreachable ? "piapi did not answer. Look at the door: the command may have been heard." : error.message;
      toast(words, { kind: "danger", seconds: 12 });
      announce(words, true);
    } finally {
      this.#busy = false;
      await this.refresh();
      this.#drawButtons();
    }
  }

  #press(key) {
    return this.#command("POST", "toggles", { expires_at: expiry() }, key);
  }

  async #cancel() {
    await whileBusy(this.cancel, () => api("DELETE", this.#operation.links.self));
    await this.refresh();
  }

  async #lock() {
    const locked = !this.#door.locked;
    if (!locked && !await confirmed(`Unlock ${title(this.name)}?`, "Unlock", "It takes commands again.")) return;
    await whileBusy(this.lock, () => api("PUT", `${this.path}/lock`, { body: { locked }, headers: { "Idempotency-Key": newKey() } }));
    await this.refresh();
  }
}
