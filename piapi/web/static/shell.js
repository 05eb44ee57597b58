// What every page has: the line that says that the connection is lost, and the worker that keeps the static files.

import { byId, show } from "./dom.js";
import { live } from "./live.js";

const TELL_AFTER_MS = 600;

/** Begin the page, once its listeners are in place. */
export function start() {
  let telling = null;
  live.addEventListener("lost", () => {
    document.documentElement.dataset.connection = "lost";
    telling ??= setTimeout(() => show(byId("lost"), !live.connected), TELL_AFTER_MS);
  });
  live.addEventListener("found", () => {
    clearTimeout(telling);
    telling = null;
    document.documentElement.dataset.connection = "live";
    show(byId("lost"), false);
  });
  live.start();
  if (window.isSecureContext && "serviceWorker" in navigator) navigator.serviceWorker.register("/service-worker.js");
}
