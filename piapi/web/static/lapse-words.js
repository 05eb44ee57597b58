// What a time-lapse is doing, in words.

import { serverNow } from "./api.js";
import { count, duration, moment, title } from "./words.js";

const STATES = {
  scheduled: ["Not begun yet", "clock"],
  running: ["Running", "broadcast"],
  waiting: ["Waiting", "hourglass-split"],
  paused: ["Paused", "pause-fill"],
  finished: ["Finished", "check-circle-fill"],
  cancelled: ["Cancelled", "x-circle"],
  failed: ["Failed", "exclamation-triangle-fill"],
};

const TIME = /\d{4}-\d\d-\d\dT[\d:.]+Z/g;

/** Shorter intervals are no countdown: they are over before anybody has read it. */
const COUNTED_FROM_S = 2;

export const stateWords = (lapse) => STATES[lapse.state][0];
export const stateIcon = (lapse) => STATES[lapse.state][1];
export const hasEnded = (lapse) => ["finished", "cancelled", "failed"].includes(lapse.state);
export const nameOf = (lapse) => lapse.name || `Time-lapse of ${title(lapse.camera)}`;

/** The server's reason, with its moments by the clock of whoever reads. */
export const reasonOf = (lapse) => (lapse.state_reason || "").replace(TIME, (at) => moment(at));

/** 45 of 720 frames, 2 missed. */
export function progressWords(lapse) {
  const all = lapse.frames_total && !hasEnded(lapse) ? ` of ${lapse.frames_total.toLocaleString()}` : "";
  const missed = lapse.frames_missed ? `, ${lapse.frames_missed.toLocaleString()} missed` : "";
  return `${lapse.frames_captured.toLocaleString()}${all} ${lapse.frames_captured === 1 && !all ? "frame" : "frames"}${missed}`;
}

/** When the next frame is due: "Next frame in 4 s"; "" where none is. */
export function nextWords(lapse) {
  if (hasEnded(lapse) || lapse.state === "paused" || !lapse.next_frame_at) return "";
  const left = (Date.parse(lapse.next_frame_at) - serverNow()) / 1000;
  if (lapse.state === "running" && lapse.interval_s < COUNTED_FROM_S) return `A frame every ${seconds(lapse.interval_s)}`;
  if (left > 3600) return `Next frame ${moment(lapse.next_frame_at)}`;
  return left < 0.5 ? "Next frame now" : `Next frame in ${duration(left)}`;
}

/** 0.2 s, 5 s, 10 min. */
export const seconds = (value) => (value < 60 ? `${Number(value.toFixed(1))} s` : duration(value));

/** Garden: every 5 s, 720 frames. */
export function planWords(lapse) {
  const camera = `${title(lapse.camera)}${lapse.emulated ? " (simulated)" : ""}`;
  return `${camera}: every ${seconds(lapse.interval_s)}, ${endWords(lapse)}${lapse.window ? windowWords(lapse.window) : ""}`;
}

function endWords(lapse) {
  if (lapse.count !== null) return count(lapse.count, "frame");
  return lapse.duration_s !== null ? `for ${seconds(lapse.duration_s)}` : `until ${moment(lapse.until)}`;
}

function windowWords({ from, to, days }) {
  const some = days.length < 7 ? ` on ${days.map(title).join(", ")}` : "";
  return `, from ${edgeWords(from)} to ${edgeWords(to)}${some}`;
}

const EDGE = /^([a-z]+)(?:([+-])(\d\d):(\d\d))?$/;

/** sunrise-00:30 → 30 min before sunrise. */
export function edgeWords(edge) {
  const [, word, sign, hours, minutes] = EDGE.exec(edge) || [];
  if (!word || !sign) return word || edge;
  return `${duration(hours * 3600 + minutes * 60)} ${sign === "-" ? "before" : "after"} ${word}`;
}

/** How long to wait until the next frame ought to be there, in ms, between `least` and a minute. */
export function untilNextMs(lapse, least) {
  const left = Date.parse(lapse.next_frame_at) - serverNow() + 800;
  return Number.isNaN(left) ? 60_000 : Math.min(60_000, Math.max(least, left));
}
