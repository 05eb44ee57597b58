// The photos that are known of so far, newest first: pages of the collection, and what the journal tells since.

import { api } from "./api.js";
import { isSelected } from "./photo-filter.js";

const PAGE = 60;
const LARGEST_PAGE = 200;
const FARTHEST = 2000;

/** The photos of one selection. Tells "change" whenever another list is to be shown. */
export class PhotoList extends EventTarget {
  #known = [];
  #hidden = new Set();
  #next = null;
  #last = Promise.resolve();
  #aborter = new AbortController();

  constructor(selection) {
    super();
    this.selection = selection;
  }

  /** All but those that are about to be deleted. */
  get photos() {
    return this.#known.filter((photo) => !this.#hidden.has(photo.id));
  }

  get hasMore() {
    return this.#next !== null;
  }

  isHidden(id) {
    return this.#hidden.has(id);
  }

  find(id) {
    return this.#known.find((photo) => photo.id === id);
  }

  /** Show another selection. */
  select(selection) {
    this.selection = selection;
    this.#known = [];
    this.#next = null;
    return this.refresh();
  }

  /** Fetch all anew, as far as it was known. What is on its way is given up. */
  refresh() {
    this.#aborter.abort();
    this.#aborter = new AbortController();
    return this.#inTurn(async (get) => {
      const wanted = Math.max(PAGE, this.#known.length);
      const found = [];
      let next = `/photos?${new URLSearchParams({ ...this.selection, limit: Math.min(wanted, LARGEST_PAGE) })}`;
      while (next && found.length < wanted) {
        const page = await get(next);
        found.push(...page.items);
        next = page.links.next ?? null;
      }
      this.#next = next;
      this.#set(found);
    });
  }

  /** Fetch the next page. */
  more() {
    return this.#inTurn((get) => this.#more(get));
  }

  /** Fetch pages until this photo is known, though not endlessly. */
  reach(photo) {
    return this.#inTurn(async (get) => {
      const isFarther = () => !this.find(photo.id) && this.hasMore && this.#known.at(-1)?.captured_at >= photo.captured_at;
      while (isFarther() && this.#known.length < FARTHEST) await this.#more(get);
    });
  }

  /** A photo was taken. */
  captured(id) {
    return this.#inTurn(async (get) => this.#insert(await get(`/photos/${id}`)));
  }

  /** A photo was changed, by whomever. */
  changed(id) {
    return this.#inTurn(async (get) => { if (this.find(id)) this.take(await get(`/photos/${id}`)); });
  }

  /** A photo is there no longer. */
  removed(id) {
    return this.#inTurn(() => {
      this.#hidden.delete(id);
      if (this.find(id)) this.#set(this.#known.filter((photo) => photo.id !== id));
    });
  }

  /** This is how a photo is now. */
  take(photo) {
    if (!this.find(photo.id)) return;
    const now = this.#known.map((known) => (known.id === photo.id ? photo : known));
    this.#set(now.filter((known) => isSelected(known, this.selection)));
  }

  /** Leave a photo out, or not any more. */
  hide(id, isHidden = true) {
    if (isHidden) this.#hidden.add(id);
    else this.#hidden.delete(id);
    this.#tell();
  }

  /** The one taken after; undefined where there is none, or none known. */
  newer(photo) {
    const isReached = this.find(photo.id) || !this.hasMore || !this.isOldest(photo);
    return isReached ? this.photos.slice(0, this.#placeOf(photo)).at(-1) : undefined;
  }

  /** The one taken before, of the next page where needed; undefined where there is none. */
  async older(photo) {
    if (this.isOldest(photo) && this.hasMore) await this.more();
    return this.#before(photo);
  }

  /** Whether none of those known was taken before it. */
  isOldest(photo) {
    return !this.#before(photo);
  }

  #before(photo) {
    return this.photos.slice(this.#placeOf(photo)).find((other) => other.id !== photo.id);
  }

  #placeOf(photo) {
    const place = this.photos.findIndex((other) => other.id === photo.id || other.captured_at < photo.captured_at);
    return place < 0 ? this.photos.length : place;
  }

  async #more(get) {
    if (!this.#next) return;
    const page = await get(this.#next);
    this.#next = page.links.next ?? null;
    this.#set([...this.#known, ...page.items.filter((photo) => !this.find(photo.id))]);
  }

  #insert(photo) {
    if (this.find(photo.id) || !isSelected(photo, this.selection)) return;
    const place = this.#known.findIndex((known) => known.captured_at <= photo.captured_at);
    if (place < 0 && this.hasMore) return; // it comes with its page
    this.#set(this.#known.toSpliced(place < 0 ? this.#known.length : place, 0, photo));
  }

  #set(photos) {
    this.#known = photos;
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }

  /** One after the other, so that no page that was asked for earlier hides what the journal has told since. */
  #inTurn(job) {
    const { signal } = this.#aborter;
    const get = (path) => api("GET", path, { signal });
    const done = this.#last.then(() => (signal.aborted ? undefined : job(get))).catch((error) => {
      if (!signal.aborted) throw error;
    });
    this.#last = done.catch(() => {});
    return done;
  }
}
