// Entries of the journal, in plain words.

import { actor as nameOf, count, duration, kindIn, nameIn, size, title } from "./words.js";

const ROLES = { admin: "an admin", operator: "an operator", viewer: "a viewer" };
const OPERATIONS = { open: "open", closed: "close" };
const DONE = { open: "opened", closed: "closed" };
const CAUSES = {
  power: "piapi was not running",
  camera: "the camera did not work",
  storage: "the disk was full",
  clock: "the clock was not set",
  overrun: "the camera was too slow",
};
const WHY_OFF = {
  time: "its time was over",
  limit: "it had been on for as long as it may",
  guard: "piapi had stopped",
  stop: "piapi stopped",
};
const WHY_REMOVED = { age: "it was old enough to go", quota: "to make room for newer ones" };

/** garage of door:garage. */

const because = (reason) => (reason ? `: ${reason}` : "");

/** What somebody asked of a door or a pin. */
function asked(data, name) {
  if (data.target) return `${OPERATIONS[data.target]} ${name}`;
  if (data.toggle) return `press the button of ${name}`;
  if (data.cancel) return `stop ${name} before it moves`;
  if ("locked" in data) return `${data.locked ? "lock" : "unlock"} ${name}`;
  if (data.pulse_s) return `switch ${name} on for ${duration(data.pulse_s)}`;
  if (typeof data.value === "boolean") return `switch ${name} ${data.value ? "on" : "off"}`;
  return "value" in data ? `set ${name} to ${data.value}` : `command ${name}`;
}

function operation({ target, state, detail }, name) {
  const doing = target ? OPERATIONS[target] : "move";
  return (
    {
      warning: `${name} was told to ${doing}, and warns first`,
      moving: target ? `${name} was told to ${doing}` : `The button of ${name} was pressed`,
      succeeded: target ? `${name} ${DONE[target]}` : `${name} moved after its button was pressed`,
      failed: `${name} did not ${doing}${because(detail)}`,
      timed_out: `${name} did not ${doing} in time${because(detail)}`,
      superseded: `${name} was given another command on its way`,
      cancelled: `${name} was stopped before it moved`,
      unknown: `The command to ${doing} ${name} was cut off; nobody knows whether it moved`,
    }[state] || `${name}: ${state}`
  );
}

function level({ value, cause, on_s: onFor, edges }, name) {
  const words = typeof value === "boolean" ? (value ? "on" : "off") : `at ${value}`;
  const after = onFor === undefined || onFor < 0.5 ? "" : ` after ${duration(onFor)}`;
  const why = WHY_OFF[cause] ? `, because ${WHY_OFF[cause]}` : "";
  return `${name} ${words}${after}${why}${edges ? ` (${count(edges, "change")} in a second)` : ""}`;
}

function lapse(data, words) {
  return `Time-lapse${data.name ? ` ${data.name}` : ""} ${words}`;
}

const LAPSE_STATES = {
  scheduled: "is going to start",
  running: "runs",
  waiting: "waits",
  paused: "is paused",
  finished: "is finished",
  cancelled: "was cancelled",
  failed: "failed",
};
const RENDER_STATES = {
  queued: "was ordered",
  running: "is being made",
  finished: "is ready",
  failed: "could not be made",
  cancelled: "was cancelled",
};
const DOOR_STATES = { stopped: "stopped half way", unknown: "is somewhere: nobody knows where", fault: "has a fault" };

/** By type: the icon, and what the entry says, from its data, the name of its subject, and who did it. */
const WORDS = {
  "actuation.unknown": ["exclamation-triangle-fill", (data, name) => `A pulse of ${name} was cut off; nobody knows how long it was on`],
  "auth.failed": [
    "exclamation-triangle-fill",
    (data, name) =>
      `${name === "Users" ? "A wrong name or password" : "A wrong key"} was tried${data.count > 1 ? ` ${data.count} times` : ""}`,
  ],
  "camera.configured": ["gear", (data, name) => `The settings of camera ${name} were changed`],
  "camera.state": [
    "camera",
    (data, name) => (data.state === "unavailable" ? `Camera ${name} does not work${because(data.detail)}` : `Camera ${name} is ready`),
  ],
  "command.accepted": ["info-circle", (data, name) => `The command to ${asked(data, name)} was taken`],
  "command.refused": [
    "x-circle",
    (data, name) =>
      `Refused to ${asked(data, name)}${because(data.reason)}${data.unsaid ? ` (and ${count(data.unsaid, "more command")})` : ""}`,
  ],
  "door.auto_close_suspended": [
    "exclamation-triangle-fill",
    (data, name) => `${name} is not closed by itself any more: that failed ${count(data.failed_closes, "time")}`,
  ],
  "door.left_open": ["exclamation-triangle-fill", (data, name) => `${name} has been left open`],
  "door.lock": ["lock-fill", (data, name) => `${name} was ${data.locked ? "locked" : "unlocked"}${because(data.reason)}`],
  "door.moved_unasked": ["exclamation-triangle-fill", (data, name) => `${name} moved, and nobody had asked piapi for it`],
  "door.pressed": ["info-circle", (data, name) => `The opener of ${name} was pressed`],
  "door.released": ["info-circle", (data, name) => `The opener of ${name} was let go after ${data.on_s} s`],
  "door.sensor": ["info-circle", (data, name) => `The ${data.sensor} sensor of ${name} went ${data.value ? "on" : "off"}`],
  "door.state": ["door-closed-fill", (data, name) => `${name} ${DOOR_STATES[data.state] || `is ${data.state}`}`],
  "operation.state": ["door-open-fill", operation],
  "pairing.created": ["qr-code", (data) => `A link for a new device was made: ${data.name}`],
  "pairing.redeemed": ["phone", (data) => `${data.name} was paired, as ${nameOf(data.allowed_by)} had allowed`],
  "pairing.removed": ["qr-code", () => "A link for a new device was withdrawn"],
  "photo.captured": ["camera-fill", (data, name) => `A photo was taken with ${name}`],
  "photo.changed": [
    "images",
    (data, name) => `A photo of ${name} was ${"pinned" in data ? (data.pinned ? "pinned" : "unpinned") : "labelled"}`,
  ],
  "photo.recovered": ["images", (data, name) => `A photo of ${name} was found again after a crash`],
  "photo.removed": [
    "trash",
    (data, name) => `A photo of ${name} was removed${WHY_REMOVED[data.cause] ? `: ${WHY_REMOVED[data.cause]}` : ""}`,
  ],
  "pin.changed": ["lightbulb", level],
  "render.removed": ["film", () => "A film rendered again was removed"],
  "render.state": ["film", (data) => `A film ${RENDER_STATES[data.state] || data.state}${because(data.detail)}`],
  "session.created": ["person", (data, name, by) => `${by} logged in${data.address ? ` from ${data.address}` : ""}`],
  "session.removed": ["person", (data, name, by) => `${by} logged out${data.everywhere ? " everywhere" : ""}`],
  "storage.low": ["hdd", (data) => `The disk is full: ${size(data.free_bytes)} are free, and no photo is kept`],
  "storage.mended": ["hdd", (data) => `After a look at the disk: ${count(data.missing, "photo")} missing, ${data.found} found again`],
  "storage.ok": ["hdd", (data) => `There is room on the disk again: ${size(data.free_bytes)}`],
  "system.started": ["cpu", (data) => `piapi${data.version ? ` ${data.version}` : ""} started`],
  "system.stopped": ["cpu", () => "piapi stopped"],
  "timelapse.changed": ["film", (data) => lapse(data, "has a new end")],
  "timelapse.created": ["film", (data) => lapse(data, `was made: a picture every ${data.interval_s} s`)],
  "timelapse.missed": [
    "film",
    (data) => lapse(data, `missed ${count(data.count, "picture")}${CAUSES[data.cause] ? `, because ${CAUSES[data.cause]}` : ""}`),
  ],
  "timelapse.removed": ["trash", (data) => lapse(data, `was removed${data.cause === "age" ? ": it was old enough to go" : ""}`)],
  "timelapse.state": ["film", (data) => lapse(data, `${LAPSE_STATES[data.state] || data.state}${because(data.reason)}`)],
  "token.created": ["key", (data) => `A key was made: ${data.name}${ROLES[data.role] ? `, for ${ROLES[data.role]}` : ""}`],
  "token.revoked": ["key", (data) => `The key of ${data.name} was revoked`],
  "user.changed": ["people", (data) => `The ${(data.changed || []).join(" and ") || "account"} of ${data.name} was changed`],
  "user.created": ["people", (data) => `${data.name} was added`],
  "user.removed": ["people", (data) => `${data.name} was removed`],
};

/** What only those want to know who look for a fault: each step of what another entry tells. */
const STEPS = new Set(["command.accepted", "door.pressed", "door.released", "door.sensor"]);
const RUNNING = new Set(["warning", "moving"]);
const BAD = new Set(["failed", "timed_out", "unknown", "fault", "unavailable"]);
const WARNINGS = new Set([
  "actuation.unknown",
  "auth.failed",
  "command.refused",
  "door.auto_close_suspended",
  "door.left_open",
  "door.moved_unasked",
  "storage.low",
  "timelapse.missed",
]);

export const isKnown = (type) => type in WORDS;

/** Whether it is one step of something, and not what came of it. */
export function isStep({ type, data, actor }) {
  if (type === "operation.state") return data.state === "moving" && actor === "nobody";
  if (type === "door.state") return ["opening", "closing"].includes(data.state);
  if (type === "photo.captured") return Boolean(operationOf({ type, data }));
  return STEPS.has(type);
}

/** Whether somebody should know of it. */
export const isWarning = ({ type, data }) => WARNINGS.has(type) || BAD.has(data.state);

/** The id of the operation of a door that an entry belongs to: as the pictures of one are labelled. */
export const operationOf = ({ type, data }) => (type === "photo.captured" && /^operation-(.+)$/.exec(data.label || "")?.[1]) || null;

/** The id of the operation that ended with this entry. */
export const endedOperation = ({ type, data }) => (type === "operation.state" && !RUNNING.has(data.state) ? data.id : null);

export function iconOf({ type, data }) {
  if (type === "door.state" && data.state !== "closed") return isWarning({ type, data }) ? "exclamation-triangle-fill" : "door-open-fill";
  if (type === "operation.state" && data.target === "closed") return "door-closed-fill";
  if (type === "door.lock" && !data.locked) return "unlock";
  return WORDS[type]?.[0] || "info-circle";
}

/** What happened. A type that this page does not know yet is told by its name and what is in it. */
export function sentence({ type, subject, actor, data }) {
  const name = title(nameIn(subject));
  const [, words] = WORDS[type] || [];
  if (words) return words(data, name, nameOf(actor));
  const more = Object.entries(data)
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([key, value]) => `${title(key)}: ${value}`);
  return [`${title(type.replace(".", " "))} (${name})`, ...more].join(", ");
}

/** Who did it; empty where it happened by itself. */
export function doer({ type, actor, data }) {
  const by = (type === "operation.state" && data.requested_by) || actor;
  if (type.startsWith("session.")) return "";
  if (by === "nobody") return type === "operation.state" ? "by itself" : "";
  if (by === "console") return "on the machine itself";
  if (by === "address:others") return "from several addresses";
  return by.startsWith("address:") ? `from ${nameOf(by)}` : `by ${nameOf(by)}`;
}
