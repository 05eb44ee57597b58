// The photos as tiles, day by day. Tiles stay the same elements as long as their photos are there.

import { serverNow } from "./api.js";
import { el, icon, show, write } from "./dom.js";
import { title } from "./words.js";

const TRY_AGAIN_MS = 1500;
const MOST_TRIES = 5;

const dayWords = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** Today, Yesterday, or the date, where the user is. */
function dayOf(photo) {
  const days = [["Today", 0], ["Yesterday", 1]];
  const at = new Date(photo.captured_at);
  const near = days.find(([, back]) => {
    const day = new Date(serverNow());
    day.setDate(day.getDate() - back);
    return day.toDateString() === at.toDateString();
  });
  return near ? near[0] : dayWords.format(at);
}

export class Grid {
  #tiles = new Map();
  #days = new Map();

  /** `onopen(id)` is called when a photo is chosen. */
  constructor(place, onopen) {
    this.place = place;
    this.onopen = onopen;
  }

  /** Show these photos. */
  draw(photos) {
    const days = Map.groupBy(photos, dayOf);
    keepOnly(this.#tiles, new Set(photos.map((photo) => photo.id)));
    keepOnly(this.#days, days);
    const sections = [...days].map(([day, taken]) => {
      const section = getOrMake(this.#days, day, () => new Day(day));
      arrange(section.list, taken.map((photo) => this.#tile(photo)));
      return section.node;
    });
    arrange(this.place, sections);
  }

  /** Put the focus on the tile of a photo. */
  focus(id) {
    this.#tiles.get(id)?.link.focus();
  }

  #tile(photo) {
    const tile = getOrMake(this.#tiles, photo.id, () => new Tile(photo, this.onopen));
    tile.take(photo);
    return tile.node;
  }
}

class Day {
  constructor(words) {
    this.list = el("ul", { class: "tiles" });
    this.node = el("section", { class: "day" }, el("h2", {}, words), this.list);
  }
}

class Tile {
  #tries = 0;

  constructor(photo, onopen) {
    this.image = el("img", { alt: "", loading: "lazy", decoding: "async", width: 320, height: 240, onerror: () => this.#tryAgain(photo) });
    this.image.src = thumbnail(photo, 320);
    this.pin = el("span", { class: "tile-pin" }, icon("pin-angle-fill"));
    this.label = el("span", { class: "tile-label" });
    this.link = el("a", { class: "tile", href: `#${photo.id}`, onclick: (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      onopen(photo.id);
    } }, this.image, this.pin, this.label);
    this.node = el("li", { data: { photo: photo.id } }, this.link);
  }

  take(photo) {
    show(this.pin, photo.pinned);
    write(this.label, labelOf(photo));
    const words = [title(photo.camera), clock.format(new Date(photo.captured_at)), labelOf(photo), photo.pinned && "pinned"];
    this.link.setAttribute("aria-label", words.filter(Boolean).join(", "));
  }

  /** Where many thumbnails are being made, piapi lets some wait. */
  #tryAgain(photo) {
    this.#tries += 1;
    if (this.#tries > MOST_TRIES) this.link.classList.add("is-broken");
    else setTimeout(() => { this.image.src = thumbnail(photo, 320); }, TRY_AGAIN_MS * this.#tries);
  }
}

/** The address of a photo made smaller: `width` pixels wide. */
export const thumbnail = (photo, width) => `${photo.links.thumbnail}?width=${width}`;

function getOrMake(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

function keepOnly(map, keys) {
  for (const key of map.keys()) if (!keys.has(key)) map.delete(key);
}

/** Make these the children of `parent`, and move none that stands right, so that focus and images stay. */
function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const node of nodes) {
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
}

/** The pictures beside a door's operation are labelled with its number, which says nothing to people. */
const labelOf = ({ label }) => (label?.startsWith("operation-") ? "Door" : label || "");
