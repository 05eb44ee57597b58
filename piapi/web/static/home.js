// The first page: cameras, doors and pins, as they are now.

import { Unreachable } from "./api.js";
import { Cameras } from "./camera.js";
import { byId, complain, show } from "./dom.js";
import { Doors } from "./doors.js";
import { live } from "./live.js";
import { Pins } from "./pins.js";
import { start } from "./shell.js";

const parts = [new Doors(byId("doors")), new Cameras(byId("cameras")), new Pins(byId("pins"))];

live.addEventListener("found", async () => {
  try {
    const counts = await Promise.all(parts.map((part) => part.load()));
    show(byId("nothing"), counts.every((count) => count === 0));
    show(byId("loading"), false);
  } catch (error) {
    if (!(error instanceof Unreachable)) complain(error);
  }
});

start();
