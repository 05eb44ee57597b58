// The things of a collection, each with a part of the page that the journal keeps in step.

import { api } from "./api.js";
import { show } from "./dom.js";
import { live } from "./live.js";
import { nameIn } from "./words.js";

export class Collection {
  #parts = new Map();

  /**
   * `types`: how those entries of the journal begin that are about one of them. `make(thing)` gives its part, which has
   * a `node`, and `take(thing)`, `refresh()` and `lose()`.
   */
  constructor(section, path, types, make) {
    this.section = section;
    this.path = path;
    this.make = make;
    for (const type of types) live.on(type, ({ subject }) => this.#parts.get(nameIn(subject))?.refresh());
    live.addEventListener("lost", () => this.each((part) => part.lose()));
  }

  each(run) {
    this.#parts.forEach(run);
  }

  /** Fetch all that this user may see anew. Gives how many there are. */
  async load() {
    const { items } = await api("GET", `${this.path}?limit=200`);
    for (const thing of items) {
      if (!this.#parts.has(thing.name)) {
        const part = this.make(thing);
        this.#parts.set(thing.name, part);
        this.section.append(part.node);
      }
      this.#parts.get(thing.name).take(thing);
    }
    show(this.section, items.length > 0);
    return items.length;
  }
}
