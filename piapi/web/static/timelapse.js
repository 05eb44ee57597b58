// One time-lapse: how it goes, its film, its ticks, and what can be done with it.

import { api, may, Problem, serverNow, Unreachable } from "./api.js";
import { announce, byId, complain, confirmed, icon, show, whileBusy, write } from "./dom.js";
import { clearFaults, numberIn, tellFaults, timeField, timeIn } from "./fields.js";
import { Film } from "./lapse-film.js";
import { Latest } from "./lapse-latest.js";
import { Renders } from "./lapse-renders.js";
import { Ticks } from "./lapse-ticks.js";
import { hasEnded, nameOf, nextWords, planWords, progressWords, reasonOf, stateIcon, stateWords, untilNextMs } from "./lapse-words.js";
import { live } from "./live.js";
import { start } from "./shell.js";
import { ago } from "./words.js";

const TICK_MS = 500;
const LEAST_REFRESH_MS = 1000;

const root = byId("timelapse");
const path = `/timelapses/${encodeURIComponent(root.dataset.id)}`;
const film = new Film();
const ticks = new Ticks();
const renders = new Renders();
const latest = new Latest(byId("latest"), 1280);
let lapse = null;
let asked = 0;
let refreshing = null;

const mayChange = () => may("camera", lapse.camera, "capture");

async function refresh() {
  const mine = ++asked;
  clearTimeout(refreshing);
  try {
    const found = await api("GET", path);
    if (mine !== asked) return;
    take(found);
    await ticks.refresh(found.links.frames);
  } catch (error) {
    if (error.status === 404) leave();
    else if (!(error instanceof Unreachable)) complain(error);
  }
  if (mine === asked && live.connected && lapse && !hasEnded(lapse)) refreshing = setTimeout(refresh, untilNextMs(lapse, LEAST_REFRESH_MS));
}

function take(found) {
  const before = lapse;
  lapse = found;
  show(byId("loading"), false);
  show(root);
  draw();
  film.take(found, hasEnded(found));
  latest.take(found);
  renders.take(found, mayChange());
  if (!before) renders.refresh();
  if (before && before.state !== found.state) announce(stateWords(found));
}

function leave() {
  asked += 1;
  clearTimeout(refreshing);
  lapse = null;
  show(root, false);
  show(byId("loading"), false);
  show(byId("gone"));
}

function draw() {
  const isLost = !live.connected;
  root.dataset.state = lapse.state;
  root.dataset.look = isLost ? "lost" : "now";
  write(byId("name"), nameOf(lapse));
  document.title = `${nameOf(lapse)}: piapi`;
  write(byId("state"), `${isLost ? "Last known: " : ""}${stateWords(lapse)}`);
  byId("picture").replaceChildren(icon(stateIcon(lapse)));
  write(byId("reason"), reasonOf(lapse));
  show(byId("reason"), byId("reason").textContent !== "");
  byId("progress").value = lapse.progress;
  show(byId("progress"), !hasEnded(lapse));
  write(byId("figures"), progressWords(lapse));
  write(byId("plan"), planWords(lapse));
  const { p50, max } = lapse.lateness_ms;
  const lateness = `Half of the frames were at most ${Math.round(p50)} ms late, the latest one ${Math.round(max)} ms.`;
  write(byId("lateness"), p50 === null ? "" : lateness);
  drawCommands();
  tick();
}

function drawCommands() {
  const ended = hasEnded(lapse);
  show(byId("commands"), mayChange());
  show(byId("pause"), !ended && lapse.state !== "paused");
  show(byId("resume"), lapse.state === "paused");
  for (const id of ["extend", "rename", "cancel"]) show(byId(id), !ended);
  const frames = byId("frames-file");
  frames.href = `${lapse.links.self}/frames.tar`;
  show(frames, lapse.video.keep_frames && lapse.frames_captured > 0);
  for (const button of document.querySelectorAll("[data-command]")) button.disabled = !live.connected;
}

function tick() {
  if (!lapse) return;
  const words = !live.connected ? "" : hasEnded(lapse) && lapse.ended_at ? `Ended ${ago(lapse.ended_at, serverNow())}` : nextWords(lapse);
  write(byId("next"), words);
}

/** Change it. What comes back is newer than what was asked for before. */
async function change(body) {
  const found = await api("PATCH", path, { body });
  asked += 1;
  take(found);
  await refresh();
}

function sheet(name, open, bodyOf) {
  const dialog = byId(`${name}-sheet`);
  const form = byId(`${name}-form`);
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearFaults(form);
    whileBusy(form.querySelector("[type=submit]"), async () => {
      try {
        await change(bodyOf(form.elements));
        dialog.close();
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        tellFaults(form, error)?.focus();
      }
    });
  });
  return () => { clearFaults(form); open(form.elements); dialog.showModal(); };
}

function chooseEnd() {
  for (const part of byId("end-form").querySelectorAll("[data-for]")) show(part, part.dataset.for === byId("end").value);
}

const openEnd = sheet("end", (fields) => {
  fields.end.value = ["count", "duration_s", "until"].find((name) => lapse[name] !== null);
  fields.count.value = lapse.count ?? lapse.frames_total ?? "";
  fields.duration.value = lapse.duration_s === null ? "" : lapse.duration_s / 60;
  fields.until.value = lapse.ends_at ? timeField(new Date(lapse.ends_at)) : "";
  chooseEnd();
}, (fields) => {
  const minutes = numberIn(fields.duration);
  const ends = { count: numberIn(fields.count), duration_s: minutes && minutes * 60, until: timeIn(fields.until) };
  return { [fields.end.value]: ends[fields.end.value] ?? null };
});
const openName = sheet("name", (fields) => { fields.name.value = lapse.name || ""; },
  (fields) => ({ name: fields.name.value.trim() || null }));

function onPress(id, run) {
  byId(id).addEventListener("click", () => run(byId(id)));
}

onPress("pause", (button) => whileBusy(button, () => change({ state: "paused" })));
onPress("resume", (button) => whileBusy(button, () => change({ state: "running" })));
onPress("extend", openEnd);
onPress("rename", openName);
onPress("cancel", async (button) => {
  const more = "It takes no further frame. Its film and its frames stay.";
  if (await confirmed(`Cancel ${nameOf(lapse)}?`, "Cancel it", more)) await whileBusy(button, () => change({ state: "cancelled" }));
});
onPress("delete", async (button) => {
  const more = "Its frames and films are removed for good.";
  if (!await confirmed(`Delete ${nameOf(lapse)}?`, "Delete", more)) return;
  await whileBusy(button, async () => {
    await api("DELETE", path);
    location.assign("/timelapses");
  });
});
byId("end").addEventListener("change", chooseEnd);

live.on("timelapse.", (entry) => { if (entry.data.id === root.dataset.id) refresh(); });
live.addEventListener("found", refresh);
live.addEventListener("lost", () => { clearTimeout(refreshing); if (lapse) draw(); });
setInterval(tick, TICK_MS);

start();
