// All photos: tiles by day, further pages as they come into sight, and one photo as large as the screen.

import { Unreachable } from "./api.js";
import { announce, byId, complain, el, show, write } from "./dom.js";
import { live } from "./live.js";
import { Filter } from "./photo-filter.js";
import { Grid } from "./photo-grid.js";
import { PhotoList } from "./photo-list.js";
import { Removals } from "./photo-removals.js";
import { start } from "./shell.js";
import { Viewer } from "./viewer.js";
import { nameIn, title } from "./words.js";

const filter = new Filter((selection) => load(() => list.select(selection)));
const list = new PhotoList(filter.selection);
const viewer = new Viewer(list, new Removals(list), (photo) => grid.focus(photo.id));
const grid = new Grid(byId("days"), (id) => viewer.open(id));
const more = byId("more");
const sight = new IntersectionObserver(([entry]) => { if (entry.isIntersecting && live.connected) loadMore(); }, { rootMargin: "800px" });

async function load(run) {
  try {
    await run();
    show(byId("loading"), false);
  } catch (error) {
    if (!(error instanceof Unreachable)) complain(error);
  }
}

async function loadMore() {
  if (more.getAttribute("aria-busy") === "true") return;
  more.setAttribute("aria-busy", "true");
  sight.unobserve(more);
  try {
    await list.more();
    sight.observe(more);
  } catch (error) {
    complain(error);
  } finally {
    more.setAttribute("aria-busy", "false");
  }
}

function draw() {
  const { photos } = list;
  grid.draw(photos);
  filter.learn(photos);
  const archive = byId("archive");
  const selection = new URLSearchParams(list.selection);
  archive.href = `/api/v1/photos.tar${selection.size ? `?${selection}` : ""}`;
  write(byId("archive-words"), filter.isEmpty ? "Download all" : "Download these");
  show(archive, photos.length > 0);
  show(more, list.hasMore);
  drawNothing(photos.length === 0 && !list.hasMore);
}

function drawNothing(isEmpty) {
  const nothing = byId("nothing");
  show(nothing, isEmpty);
  if (!isEmpty) return;
  if (filter.isEmpty) nothing.replaceChildren("There are no photos yet. ", el("a", { href: "/" }, "To the cameras"));
  else nothing.replaceChildren("No photo fits. ", el("button", { type: "button", class: "btn btn-link", onclick: clear }, "Show all"));
}

const clear = () => filter.clear();

function allow(isConnected) {
  for (const control of [more, ...filter.form.elements]) control.disabled = !isConnected;
}

async function captured({ data, subject }) {
  await list.captured(data.id);
  if (list.find(data.id)) announce(`New photo of ${title(nameIn(subject))}`);
}

function removed(id) {
  viewer.removed(id);
  return list.removed(id);
}

// A photo of which the journal tells may have gone since.
const quietly = (told) => (entry) => told(entry).catch(() => {});

list.addEventListener("change", draw);
more.addEventListener("click", loadMore);
live.on("photo.captured", quietly(captured));
live.on("photo.changed", quietly(({ data }) => list.changed(data.id)));
live.on("photo.removed", quietly(({ data }) => removed(data.id)));
live.addEventListener("lost", () => allow(false));

let isFirst = true;
live.addEventListener("found", async () => {
  allow(true);
  await load(() => Promise.all([list.refresh(), filter.load()]));
  if (isFirst) {
    isFirst = false;
    sight.observe(more);
    viewer.follow();
  }
});

start();
