// Keeps the static files and the page that says that piapi cannot be reached; never an answer of the API, as an old
// state must not be shown as a current one.
const CACHE = "piapi-{{ version }}";
const OFFLINE = "/offline";
const STATIC = "{{ static('') }}";
const KEPT = [OFFLINE, `${STATIC}bootstrap.css`, `${STATIC}piapi.css`, `${STATIC}theme.js`, `${STATIC}icon.svg`];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(KEPT)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name))));
  event.waitUntil(old.then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = new URL(request.url).pathname;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") event.respondWith(fetch(request).catch(() => caches.match(OFFLINE)));
  else if (path.startsWith(STATIC)) event.respondWith(fromCache(request));
});

async function fromCache(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(request, answer.clone());
  return answer;
}
