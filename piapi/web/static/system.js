// How the machine is, what is connected to it, and who has a key to it.

import { may, Unreachable } from "./api.js";
import { byId, complain, show } from "./dom.js";
import { Devices } from "./devices.js";
import { live } from "./live.js";
import { Machine, Parts } from "./machine.js";
import { People } from "./people.js";
import { loadSession } from "./session.js";
import { start } from "./shell.js";

const LOOK_EVERY_MS = 10_000;

const parts = [new Parts()];
if (may("system", "*", "view")) parts.unshift(new Machine());
if (may("system", "*", "admin")) parts.push(new Devices(), new People());

/** What one part cannot tell keeps none of the others from telling. */
async function load(some = parts) {
  const told = await Promise.allSettled(some.map((part) => part.load()));
  for (const { reason } of told) if (reason && !(reason instanceof Unreachable)) complain(reason);
  show(byId("loading"), false);
}

live.addEventListener("found", () => load([...parts, { load: loadSession }]));
live.on("camera.", () => load());
live.on("door.state", () => load());
live.on("storage.", () => load());
for (const type of ["token.", "pairing.", "session.", "user."]) live.on(type, () => load(parts.filter((part) => part.isAccess)));
setInterval(() => {
  if (live.connected) load(parts.filter((part) => !part.isAccess));
}, LOOK_EVERY_MS);

start();
