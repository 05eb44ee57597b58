// What is known of a photo, in words.

import { el } from "./dom.js";
import { fullMoment, size, title } from "./words.js";

const GAINS = [
  [1.5, "as it was bright"],
  [4, "as there was some shade"],
  [8, "as it was dim"],
  [Infinity, "as it was dark: the picture is grainy"],
];

/** 1/120 s, 0.5 s, 2 s. */
export function exposure(seconds) {
  if (seconds > 0 && seconds < 0.4) return `1/${Math.round(1 / seconds)} s`;
  return `${Number(seconds.toFixed(1))} s`;
}

/** How much the camera brightened the picture, and what that means for it. */
export function gain(factor) {
  return `${Number(factor.toFixed(1))} ×, ${GAINS.find(([below]) => factor < below)[1]}`;
}

const MEASURED = [
  ["exposure_s", "Exposure", exposure],
  ["gain", "Brightened", gain],
  ["lux", "Light", (lux) => `${Math.round(lux).toLocaleString()} lux`],
  ["colour_temperature_k", "Colour of the light", (kelvin) => `${Math.round(kelvin).toLocaleString()} K`],
];

/** A list of terms and what they are. */
export function factsOf(photo) {
  const measured = MEASURED.filter(([name]) => typeof photo.metadata[name] === "number");
  const facts = [
    ["Taken", fullMoment(photo.captured_at)],
    ["Camera", title(photo.camera) + (photo.emulated ? " (simulated)" : "")],
    ["Label", photo.label || "none"],
    ["Size", `${photo.width} × ${photo.height} pixels, ${size(photo.size_bytes)}, ${photo.format.toUpperCase()}`],
    ...measured.map(([name, term, words]) => [term, words(photo.metadata[name])]),
    ["Kept", photo.pinned ? "for good: it is pinned" : "until room is needed, where piapi is set to remove old photos"],
  ];
  return el("dl", { class: "facts" }, facts.map(([term, words]) => [el("dt", {}, term), el("dd", {}, words)]).flat());
}
