// The machine and what is connected to it: how each is, and what helps where one is not well.

import { api, Turns } from "./api.js";
import { byId, el, icon, show } from "./dom.js";
import { count, duration, size, title } from "./words.js";

const HOT_C = 80;
const WARM_C = 70;

/** What the firmware of a Raspberry Pi holds back, and what helps. */
const THROTTLED = {
  under_voltage: ["Too little power", "Use the power supply made for this Pi, and a short, thick cable."],
  frequency_capped: ["Slowed down, to save power or to cool", "Look at the power supply, and give it air."],
  throttled: ["Much slower, to protect itself", "Look at the power supply, and give it air."],
  soft_temperature_limit: ["Slowed down by heat", "Give it air, or a heat sink."],
};

/** What helps, by words in what a device says of itself. */
const REMEDIES = [
  [/being opened|being looked for|just started/i, "Wait a moment."],
  [/another program/i, "End the other program; piapi then goes on by itself."],
  [/unplugged|has gone|plugged in/i, "Plug it in again; piapi finds it by itself."],
  [/usermod|may not use/i, "Do what it says in a terminal, then restart piapi."],
  [/pip install|cannot be loaded|is missing/i, "Install what is missing, then restart piapi."],
  [/claimed|GPIO chip|gpiozero/i, "See that no other program uses this pin; piapi tries it again by itself."],
  [/there is no|no camera|found/i, "Check the cable with the power off, and the name in piapi.toml."],
  [/cable|hangs|no picture|driver/i, "Check the cable with the power off, then restart the machine."],
];

const remedy = (detail) =>
  REMEDIES.find(([words]) => words.test(detail))?.[1] || "piapi tries again by itself. If it stays so, its log says more.";

function row(picture, heading, text, { look = "", help = "", more = null } = {}) {
  return el(
    "div",
    { class: `row-item state ${look && `state-${look}`}` },
    icon(picture),
    el(
      "div",
      { class: "row-text" },
      el("span", {}, heading),
      el("small", {}, text),
      help && el("small", { class: "state-help" }, help),
      more,
    ),
  );
}

/** Disk, temperature, power, clock. */
export class Machine {
  #turns = new Turns();

  async load() {
    const mayShow = this.#turns.ask();
    const system = await api("GET", "/system");
    if (!mayShow()) return;
    byId("machine-rows").replaceChildren(
      disk(system.disk),
      temperature(system.cpu_temperature_c),
      power(system.throttled),
      clock(system.clock_synchronised),
      memory(system),
      software(system),
    );
    show(byId("machine"));
  }
}

function disk(found) {
  if (!found)
    return row("hdd", "Disk", "Not known", { look: "bad", help: "The data folder cannot be read: see that its disk is mounted." });
  const used = found.total_bytes - found.free_bytes;
  const free = `${size(found.free_bytes)} of ${size(found.total_bytes)} free, the last ${size(found.floor_bytes)} are never used`;
  const words = `${free}. ${count(found.photos, "photo")}: ${size(found.photos_bytes)}`;
  const bar = el("meter", {
    class: "disk-bar",
    min: 0,
    max: found.total_bytes,
    value: used,
    high: found.total_bytes - found.floor_bytes,
    optimum: 0,
    "aria-label": "Used part of the disk",
  });
  return row("hdd", "Disk", words, {
    look: found.low ? "bad" : "",
    help: found.low ? "No photo is kept until there is room: remove photos or time-lapses." : "",
    more: bar,
  });
}

function temperature(celsius) {
  if (celsius === null) return row("thermometer-half", "Temperature", "This machine does not tell");
  const look = celsius >= HOT_C ? "bad" : celsius >= WARM_C ? "warn" : "";
  return row("thermometer-half", "Temperature", `${celsius.toFixed(0)} °C`, {
    look,
    help: look ? "Give it air, or a heat sink: from 80 °C on it slows down." : "",
  });
}

function power(throttled) {
  if (!throttled) return row("lightning-charge", "Power", "This machine does not tell");
  const words = (names) => names.map((name) => THROTTLED[name]?.[0] || title(name)).join(". ");
  const past = throttled.since_boot.filter((name) => !throttled.now.includes(name));
  const text = [
    throttled.now.length ? `Now: ${words(throttled.now)}` : "Enough, and not slowed down",
    past.length && `Since it was switched on: ${words(past)}`,
  ]
    .filter(Boolean)
    .join(". ");
  const worst = throttled.now[0] || past[0];
  return row("lightning-charge", "Power", text, {
    look: throttled.now.length ? "bad" : past.length ? "warn" : "",
    help: THROTTLED[worst]?.[1] || "",
  });
}

function clock(isSynchronised) {
  const words = { true: "Set by the network", false: "Not set by the network yet", null: "Nobody knows whether it is right" };
  const help = isSynchronised
    ? ""
    : "Time-lapses with a calendar wait for it. Connect the machine to a network, or set trust under [clock] in piapi.toml.";
  return row("clock", "Clock", words[isSynchronised], { look: isSynchronised ? "" : "warn", help });
}

function memory(system) {
  const found = [
    system.memory && `${size(system.memory.available_bytes)} of ${size(system.memory.total_bytes)} memory free`,
    system.load_average !== null && `load ${system.load_average.toFixed(2)}`,
  ];
  return row("cpu", system.model || "Computer", found.filter(Boolean).join(", ") || "It does not tell how busy it is");
}

function software(system) {
  return row(
    "info-circle",
    `piapi ${system.version}`,
    `Up for ${duration(system.uptime_s)}${system.emulated ? ". Some of its hardware is simulated" : ""}`,
  );
}

const DOORS = {
  open: "open",
  closed: "closed",
  opening: "opening",
  closing: "closing",
  stopped: "stopped half way",
  unknown: "nobody knows where it is",
  fault: "a fault",
};

/** Cameras, doors and pins: those that this user may see. */
export class Parts {
  #turns = new Turns();

  async load() {
    const mayShow = this.#turns.ask();
    const [cameras, doors, pins] = await Promise.all(
      ["cameras", "doors", "pins"].map(async (kind) => (await api("GET", `/${kind}?limit=200`)).items),
    );
    if (!mayShow()) return;
    const rows = [...cameras.map(camera), ...doors.map(door), ...pins.map(pin)];
    byId("parts-rows").replaceChildren(...rows);
    show(byId("parts"), rows.length > 0);
  }
}

const simulated = (thing) => (thing.emulated ? " · simulated" : "");

function camera(found) {
  const isBad = found.state === "unavailable";
  const words = isBad
    ? `Does not work: ${found.detail}`
    : `${found.model || title(found.backend)}${found.viewers ? `, ${count(found.viewers, "viewer")}` : ", ready"}`;
  return row("camera", `${title(found.id)} (camera)`, words + simulated(found), {
    look: isBad ? "bad" : "",
    help: isBad ? remedy(found.detail || "") : "",
  });
}

function door(found) {
  const isBad = found.state === "fault" || Boolean(found.detail);
  const help =
    found.state === "fault" ? "Both sensors say that it is there: check them and their wires." : found.detail ? remedy(found.detail) : "";
  const words = `${title(DOORS[found.state])}${found.detail ? `: ${found.detail}` : ""}${found.locked ? ", locked" : ""}`;
  return row("door-closed-fill", `${title(found.name)} (door)`, words + simulated(found), { look: isBad ? "bad" : "", help });
}

function pin(found) {
  const isBad = found.value === null && found.mode !== "servo";
  const words = isBad
    ? "Does not work: its line could not be taken"
    : `${{ output: "switch", input: "input", pwm: "dimmer", servo: "servo" }[found.mode]}, ready`;
  return row("lightbulb", `${title(found.name)} (${found.gpio}, pin ${found.physical})`, words + simulated(found), {
    look: isBad ? "bad" : "",
    help: isBad ? remedy("claimed") : "",
  });
}
