// The first page: cameras, doors and pins, as they are now.

import { Cameras } from "./camera.js";
import { byId, show } from "./dom.js";
import { Doors } from "./doors.js";
import { live, persistently } from "./live.js";
import { Pins } from "./pins.js";
import { start } from "./shell.js";

const parts = [new Doors(byId("doors")), new Cameras(byId("cameras")), new Pins(byId("pins"))];

async function load() {
  const counts = await Promise.all(parts.map((part) => part.load()));
  show(byId("nothing"), counts.every((count) => count === 0));
  show(byId("loading"), false);
}

live.addEventListener("found", () => persistently(load));

start();
