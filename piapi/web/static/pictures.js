// Pictures beside entries of the journal: of a door before and after an operation, or the photo that was taken. They are
// fetched when one comes near them, and shown large when tapped.

import { api } from "./api.js";
import { el, icon } from "./dom.js";
import { endedOperation } from "./journal.js";
import { fullMoment, title } from "./words.js";

const NEAR = "300px";

export class Pictures {
  #rows = new Map();
  #wanted = new WeakMap();
  #seen;

  constructor() {
    this.#seen = new IntersectionObserver(
      (changes) =>
        changes
          .filter((change) => change.isIntersecting)
          .forEach((change) => {
            this.#seen.unobserve(change.target);
            this.#load(change.target);
          }),
      { rootMargin: NEAR },
    );
  }

  /** Of this entry, if there are to be any, in its row. */
  add(entry, row) {
    const operation = endedOperation(entry);
    const photo = entry.data.links?.photo;
    const find = operation ? () => ofOperation(operation) : photo && (() => ofPhoto(photo));
    if (!find) return;
    if (operation) this.#rows.set(operation, row);
    this.#wanted.set(row, find);
    this.#seen.observe(row);
  }

  /** There is another picture of an operation. */
  refresh(operation) {
    const row = this.#rows.get(operation);
    if (row) this.#load(row);
  }

  forget() {
    this.#seen.disconnect();
    this.#rows.clear();
  }

  async #load(row) {
    const found = await this.#wanted
      .get(row)()
      .catch(() => []); // removed meanwhile, or not for this user: then none
    const old = row.querySelector(".entry-pictures");
    const made = found.length ? el("div", { class: "entry-pictures" }, found.map(thumbnail)) : null;
    if (old && made) old.replaceWith(made);
    else if (made) row.querySelector(".row-text").append(made);
  }
}

/** The first one was taken before, the last one after. */
async function ofOperation(id) {
  const operation = await api("GET", `/operations/${id}`);
  if (!operation.links.pictures) return [];
  const { items } = await api("GET", operation.links.pictures);
  const oldestFirst = items.toReversed();
  const words = (photo) => (Date.parse(photo.captured_at) < Date.parse(operation.ended_at) ? "Before" : "After");
  return oldestFirst.map((photo) => [photo, words(photo), operation.door]);
}

async function ofPhoto(path) {
  const photo = await api("GET", path);
  return [[photo, "", photo.camera]];
}

function thumbnail([photo, words, of]) {
  const about = `${title(of)}${words ? ` ${words.toLowerCase()}` : ""}, ${fullMoment(photo.captured_at)}`;
  const picture = el("img", { src: `${photo.links.thumbnail}?width=320`, alt: about, width: 160, height: 90, loading: "lazy" });
  return el(
    "button",
    { type: "button", class: "entry-picture", "aria-label": `Show large: ${about}`, onclick: () => showLarge(photo, about) },
    picture,
    words && el("span", {}, words),
  );
}

function showLarge(photo, about) {
  const close = el("button", { class: "btn btn-dark picture-close", "aria-label": "Close" }, icon("x-lg"));
  const picture = el("img", { src: `${photo.links.thumbnail}?width=1280`, alt: about, width: photo.width, height: photo.height });
  const dialog = el(
    "dialog",
    { class: "picture-large", "aria-label": about },
    el("form", { method: "dialog" }, close),
    picture,
    el("p", {}, about, " ", el("a", { href: photo.links.file, download: "" }, "Download")),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target === picture) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
}
