// The journal: who did what, and when; newest first, a heading for each day, older ones as one scrolls.

import { api, may, Unreachable } from "./api.js";
import { byId, complain, el, icon, show, write } from "./dom.js";
import { doer, iconOf, isStep, isWarning, operationOf, sentence } from "./journal.js";
import { live } from "./live.js";
import { Pictures } from "./pictures.js";
import { start } from "./shell.js";
import { kindIn, nameIn, title } from "./words.js";

const PAGE = 50;
const AHEAD = "800px";

const dayWords = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const timeWords = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Today, Yesterday, or Friday, 27 November 2026. */
function dayName(at) {
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  if (at.toDateString() === new Date().toDateString()) return "Today";
  return at.toDateString() === yesterday.toDateString() ? "Yesterday" : dayWords.format(at);
}

/** What the address of the page says is to be shown. */
class Choice {
  constructor(query) {
    this.subject = query.get("subject") || "";
    this.type = query.get("type") || "";
    this.since = /^\d{4}-\d\d-\d\d$/.test(query.get("since") || "") ? query.get("since") : "";
    this.all = query.get("all") === "1";
  }

  get from() {
    const midnight = this.since && new Date(`${this.since}T00:00`);
    return midnight && !Number.isNaN(midnight.getTime()) ? midnight.toISOString() : "";
  }

  /** As a query; a person's has the day, the API's the moment. */
  query({ forPerson }) {
    const known = {
      subject: this.subject,
      type: this.type,
      since: forPerson ? this.since : this.from,
      all: forPerson && this.all ? "1" : "",
    };
    return new URLSearchParams(Object.entries(known).filter(([, value]) => value)).toString();
  }

  holds(entry) {
    return (
      (!this.subject || entry.subject === this.subject) && (!this.type || entry.type === this.type) && (!this.from || entry.at >= this.from)
    );
  }
}

/** The list of entries. Their ids rise, so it is known which have been shown. */
class Journal {
  #choice = null;
  #reading = null;
  #next = null;
  #newest = 0;
  #waiting = [];
  #pictures = new Pictures();

  constructor(place) {
    this.place = place;
    this.more = byId("more");
    this.more.addEventListener("click", () => this.#older());
    new IntersectionObserver(
      ([seen]) => {
        this.isNearEnd = seen.isIntersecting;
        this.#fill();
      },
      { rootMargin: AHEAD },
    ).observe(byId("more-place"));
    live.on("", (entry) => this.#take(entry));
  }

  /** Show what is chosen, from the newest on. */
  async choose(choice) {
    this.#choice = choice;
    this.#newest = 0;
    await this.catchUp();
  }

  /** Fetch what is new. Where that is more than a page, or nothing was there yet, begin anew. */
  async catchUp() {
    this.#reading?.abort();
    const reading = (this.#reading = new AbortController());
    try {
      const found = await this.#page(`/events?limit=${PAGE}&${this.#choice.query({ forPerson: false })}`, reading.signal);
      const isAnew = !this.#newest || found.items.at(-1)?.id > this.#newest;
      if (isAnew) this.#clear(found.links.next);
      if (isAnew) this.#append(found.items);
      this.#reading = null;
      this.#prepend([...(isAnew ? [] : found.items), ...this.#waiting.splice(0)]);
      show(byId("loading"), false);
      this.#fill();
    } catch (error) {
      if (!reading.signal.aborted) this.#fail(error);
    } finally {
      if (this.#reading === reading) this.#reading = null;
    }
  }

  /** An entry came just now. */
  #take(entry) {
    const operation = operationOf(entry);
    if (operation) this.#pictures.refresh(operation);
    if (!this.#choice.holds(entry)) return;
    if (this.#reading) this.#waiting.push(entry);
    else this.#prepend([entry]);
  }

  #page(path, signal) {
    return api("GET", path, { signal });
  }

  #clear(next) {
    this.#next = next;
    this.#pictures.forget();
    this.place.replaceChildren();
    this.#newest = 0;
  }

  /** Go on while the end of the list is to be seen: what is left out of it makes no page full. */
  async #fill() {
    while (this.isNearEnd && this.#next && !this.#reading) {
      if (!(await this.#older())) return;
    }
  }

  async #older() {
    if (!this.#next || this.#reading) return false;
    const reading = (this.#reading = new AbortController());
    this.more.disabled = true;
    try {
      const found = await this.#page(this.#next, reading.signal);
      this.#next = found.links.next;
      this.#append(found.items);
      return true;
    } catch (error) {
      if (!reading.signal.aborted) this.#fail(error);
      return false;
    } finally {
      this.more.disabled = false;
      if (this.#reading === reading) {
        this.#reading = null;
        this.#prepend(this.#waiting.splice(0));
      }
    }
  }

  #append(entries) {
    for (const entry of entries.filter((entry) => this.#shows(entry))) {
      const at = new Date(entry.at);
      let day = this.place.lastElementChild;
      if (day?.dataset.day !== at.toDateString()) this.place.append((day = dayOf(at)));
      day.lastElementChild.append(this.#row(entry, at));
    }
    this.#newest = Math.max(this.#newest, entries[0]?.id ?? 0);
    this.#tellEnd();
  }

  #prepend(entries) {
    const news = entries.filter((entry) => entry.id > this.#newest).sort((a, b) => a.id - b.id);
    for (const entry of news) {
      if (entry.id <= this.#newest) continue;
      this.#newest = entry.id;
      if (!this.#shows(entry)) continue;
      const at = new Date(entry.at);
      let day = this.place.firstElementChild;
      if (day?.dataset.day !== at.toDateString()) this.place.prepend((day = dayOf(at)));
      day.lastElementChild.prepend(this.#row(entry, at));
    }
    this.#tellEnd();
  }

  #shows(entry) {
    return this.#choice.all || this.#choice.type || !isStep(entry);
  }

  #tellEnd() {
    const isEmpty = !this.place.childElementCount;
    show(byId("nothing"), isEmpty && !this.#next);
    show(byId("end"), !isEmpty && !this.#next);
    show(this.more, Boolean(this.#next));
  }

  #row(entry, at) {
    const who = doer(entry);
    const time = el("time", { dateTime: entry.at, title: at.toLocaleString() }, timeWords.format(at));
    const row = el(
      "li",
      { class: "row-item entry", data: { entry: entry.id, type: entry.type } },
      icon(iconOf(entry)),
      el("div", { class: "row-text" }, el("span", {}, sentence(entry)), el("small", {}, time, who && ` ${who}`)),
    );
    if (isWarning(entry)) row.classList.add("entry-warning");
    this.#pictures.add(entry, row);
    return row;
  }

  #fail(error) {
    if (!(error instanceof Unreachable)) complain(error);
  }
}

function dayOf(at) {
  const id = `day-${at.getTime()}-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  return el(
    "section",
    { class: "day", data: { day: at.toDateString() }, "aria-labelledby": id },
    el("h2", { id }, dayName(at)),
    el("ul", { class: "rows" }),
  );
}

/** The form above: what there is to choose, and the address that says what was. */
class Filter {
  constructor(form, onChange) {
    this.form = form;
    this.fields = form.elements;
    this.only = byId("only");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.#changed());
    this.only.querySelector("button").addEventListener("click", () => {
      this.type = "";
      this.#changed();
    });
    window.addEventListener("popstate", () => {
      this.read();
      onChange(this.choice);
    });
    this.onChange = onChange;
    this.read();
  }

  /** Take over what the address says. */
  read() {
    const choice = (this.choice = new Choice(new URLSearchParams(location.search)));
    if (choice.subject && ![...this.fields.subject.options].some((option) => option.value === choice.subject)) {
      this.fields.subject.append(el("option", { value: choice.subject }, `${title(nameIn(choice.subject))} (${kindIn(choice.subject)})`));
    }
    this.fields.subject.value = choice.subject;
    this.fields.since.value = choice.since;
    this.fields.all.checked = choice.all;
    this.type = choice.type;
    this.#drawType();
  }

  #drawType() {
    write(this.only.firstElementChild, `Only: ${title(this.type.replace(".", " "))}`);
    show(this.only, Boolean(this.type));
  }

  #changed() {
    const { subject, since, all } = this.fields;
    this.choice = new Choice(
      new URLSearchParams({ subject: subject.value, type: this.type, since: since.value, all: all.checked ? "1" : "" }),
    );
    const query = this.choice.query({ forPerson: true });
    history.pushState(null, "", query ? `?${query}` : location.pathname);
    this.#drawType();
    this.onChange(this.choice);
  }

  /** Fetch the doors, pins and cameras that one may ask for. */
  async load() {
    const kinds = [
      ["Doors", "door", "/doors"],
      ["Pins", "pin", "/pins"],
      ["Cameras", "camera", "/cameras"],
    ];
    const found = await Promise.all(
      kinds.map(async ([label, kind, path]) => [
        label,
        (await api("GET", `${path}?limit=200`)).items.map((item) => [`${kind}:${item.name || item.id}`, title(item.name || item.id)]),
      ]),
    );
    if (may("system", "*", "view")) {
      found.push([
        "Machine",
        [
          ["system:service", "Starts and stops"],
          ["system:storage", "Disk"],
          ["system:tokens", "Devices"],
          ["system:users", "People"],
        ],
      ]);
    }
    const groups = found
      .filter(([, items]) => items.length)
      .map(([label, items]) =>
        el(
          "optgroup",
          { label },
          items.map(([value, words]) => el("option", { value }, words)),
        ),
      );
    this.fields.subject.replaceChildren(this.fields.subject.options[0], ...groups);
    this.read();
  }
}

const journal = new Journal(byId("days"));
const filter = new Filter(byId("filter"), (choice) => journal.choose(choice));
let isFirst = true;

live.addEventListener("found", async () => {
  try {
    if (isFirst) filter.load().catch(() => {});
    await (isFirst ? journal.choose(filter.choice) : journal.catchUp());
    isFirst = false;
  } catch (error) {
    if (!(error instanceof Unreachable)) complain(error);
  }
});

start();
