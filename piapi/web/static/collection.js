// The things of a collection, each with a part of the page that the journal keeps in step.

import { api } from "./api.js";
import { show } from "./dom.js";
import { live } from "./live.js";
import { nameIn } from "./words.js";

export class Collection {
  #parts = new Map();
  #loads = 0;
  #newest = 0;
  #told = new Set();

  /**
   * `types`: how those entries of the journal begin that are about one of them. `make(thing)` gives its part, which has
   * a `node`, its `turns`, and `take(thing)`, `refresh()` and `lose()`.
   */
  constructor(section, path, types, make) {
    this.section = section;
    this.path = path;
    this.make = make;
    for (const type of types) live.on(type, ({ subject }) => this.#changed(nameIn(subject)));
    live.addEventListener("lost", () => this.each((part) => part.lose()));
    live.addEventListener("found", () => this.each((part) => part.turns.forget())); // before it is fetched anew
  }

  each(run) {
    this.#parts.forEach(run);
  }

  /** Fetch all that this user may see anew. Gives how many there are. */
  async load() {
    const load = ++this.#newest;
    this.#loads += 1;
    const turns = new Map([...this.#parts].map(([name, part]) => [name, part.turns.ask()]));
    try {
      const { items } = await api("GET", `${this.path}?limit=200`);
      if (load !== this.#newest) return items.length; // overtaken, on a network that came back
      for (const thing of items) {
        const part = this.#parts.get(thing.name) ?? this.#add(thing);
        const mayShow = turns.get(thing.name) ?? part.turns.ask();
        if (mayShow()) part.take(thing);
      }
      show(this.section, items.length > 0);
      return items.length;
    } finally {
      this.#loads -= 1;
      const told = [...this.#told];
      this.#told.clear();
      for (const name of told) this.#changed(name);
    }
  }

  #add(thing) {
    const part = this.make(thing);
    this.#parts.set(thing.name, part);
    this.section.append(part.node);
    return part;
  }

  /** Also what is on its way may be older than that. */
  #changed(name) {
    if (this.#loads) this.#told.add(name);
    this.#parts.get(name)?.refresh();
  }
}
