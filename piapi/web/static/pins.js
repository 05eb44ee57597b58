// Pins: a switch, a button to hold for as long as it is to be on, a slider, or the light of an input.

import { api, command, may, newKey, Turns } from "./api.js";
import { Collection } from "./collection.js";
import { announce, complain, el, icon, write } from "./dom.js";
import { live, persistently } from "./live.js";
import { title } from "./words.js";

/** The rows of all pins. */
export class Pins extends Collection {
  constructor(section) {
    super(section, "/pins", ["pin."], (pin) => new PinRow(pin));
  }
}

class PinRow {
  #pin;
  #busy = false;
  #wanted = null;

  constructor(pin) {
    this.#pin = pin;
    this.name = pin.name;
    this.turns = new Turns();
    this.path = `/pins/${encodeURIComponent(pin.name)}`;
    this.picture = el("span", { class: "pin-light" }, icon("lightbulb"));
    this.state = el("small", { class: "pin-state" });
    this.control = this.#makeControl();
    this.node = el("div", { class: "row-item pin", data: { pin: pin.name } }, this.picture,
      el("div", { class: "row-text" }, el("span", { id: `pin-${pin.name}` }, title(pin.name)), this.state), this.control);
  }

  #makeControl() {
    const { mode } = this.#pin;
    if (mode === "input" || !may("pin", this.name, "write")) return null;
    const labelled = { "aria-labelledby": `pin-${this.name}` };
    if (mode === "output") {
      const input = el("input", { class: "form-check-input", type: "checkbox", role: "switch", ...labelled, onchange: (event) => this.#set(event.target.checked) });
      return el("div", { class: "form-check form-switch switch-large" }, input);
    }
    return el("input", { class: "form-range", type: "range", min: mode === "servo" ? -1 : 0, max: 1, step: 0.01, ...labelled, oninput: (event) => this.#set(event.target.valueAsNumber) });
  }

  get #input() {
    return this.control?.querySelector("input") || this.control;
  }

  refresh() {
    return persistently(async () => {
      const mayShow = this.turns.ask();
      const pin = await api("GET", this.path);
      if (mayShow()) this.take(pin);
    });
  }

  take(pin) {
    const before = this.#pin.value;
    this.#pin = pin;
    this.#draw(!live.connected);
    if (before !== pin.value && pin.mode !== "pwm") announce(`${title(this.name)}: ${this.state.textContent}`);
  }

  lose() {
    this.#draw(true);
  }

  #draw(isLost) {
    const { value, mode } = this.#pin;
    const input = this.#input;
    this.node.dataset.look = isLost ? "lost" : value ? "on" : "off";
    const words = value === null ? "not known" : mode === "pwm" ? `${Math.round(value * 100)} %` : mode === "servo" ? value.toFixed(2) : value ? "on" : "off";
    write(this.state, isLost ? `Last known: ${words}` : words);
    if (!input) return;
    input.disabled = isLost || value === null;
    if (this.#busy) return;
    if (input.type === "checkbox") input.checked = Boolean(value);
    else input.value = value ?? 0;
  }

  /** One command at a time; of a slider that moves on meanwhile the last place counts. */
  async #set(value) {
    this.#wanted = value;
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#wanted !== null) {
        const body = { value: this.#wanted };
        this.#wanted = null;
        this.#pin = await command("PUT", `${this.path}/value`, body, newKey());
      }
    } catch (error) {
      complain(error);
    } finally {
      this.#wanted = null;
      this.#busy = false;
      await this.refresh();
    }
  }
}
