// What somebody may do: scopes in words, and choosing them.

import { api } from "./api.js";
import { el, write } from "./dom.js";
import { kindIn, nameIn, title } from "./words.js";

export const ROLES = {
  viewer: ["Viewer", "sees everything and changes nothing"],
  operator: ["Operator", "sees everything, moves doors, switches pins, takes photos"],
  admin: ["Admin", "may do everything, and let others in"],
};

const VERBS = {
  camera: { view: "See", capture: "Take photos", configure: "Set up" },
  pin: { view: "See", write: "Switch" },
  door: { view: "See", open: "Open", close: "Close", lock: "Lock" },
  system: { view: "See", admin: "Manage" },
};

/** Garage: see, open. Front camera: see. */
export function rightsInWords({ role, scopes }) {
  if (role && ROLES[role]) return `${ROLES[role][0]}: ${ROLES[role][1]}`;
  const byThing = Map.groupBy(scopes, (scope) => scope.slice(0, scope.lastIndexOf(":")));
  return [...byThing]
    .map(([thing, of]) => `${thingInWords(thing)}: ${of.map((scope) => verbInWords(thing, scope.split(":").at(-1))).join(", ")}`)
    .join(". ");
}

function thingInWords(thing) {
  const kind = kindIn(thing);
  const name = nameIn(thing);
  if (kind === "*") return "Everything";
  if (kind === "system") return "This machine";
  return name === "*" ? `All ${kind}s` : title(name);
}

const verbInWords = (thing, verb) => (verb === "*" ? "everything" : (VERBS[thing.split(":")[0]]?.[verb] || title(verb)).toLowerCase());

/**
 * A choice of a role, or of single things that somebody may do: for a guest one door, say.
 * `name` keeps the fields of two choices apart.
 */
export class RightsChoice {
  constructor(name) {
    this.role = el(
      "select",
      { class: "form-select", id: `${name}-role` },
      Object.entries(ROLES).map(([value, [label]]) => el("option", { value }, label)),
      el("option", { value: "" }, "Guest"),
    );
    this.role.value = "operator";
    this.things = el("div", { class: "rights", hidden: true, role: "group", "aria-label": "What the guest may do" });
    this.hint = el("p", { class: "rights-hint" }, ROLES.operator[1]);
    this.node = el("div", {}, el("label", { class: "form-label", htmlFor: this.role.id }, "Role"), this.role, this.hint, this.things);
    this.role.addEventListener("change", () => this.#open(name));
  }

  async #open(name) {
    write(this.hint, ROLES[this.role.value]?.[1] || "may do only what is chosen here");
    this.things.hidden = this.role.value !== "";
    if (this.things.hidden || this.things.childElementCount) return;
    const kinds = await Promise.all(["door", "camera", "pin"].map(async (kind) => [kind, (await api("GET", `/${kind}s?limit=200`)).items]));
    this.things.replaceChildren(...kinds.flatMap(([kind, items]) => items.map((item) => thing(name, kind, item))));
    this.things.addEventListener("change", ({ target }) => withSight(this.things, target));
  }

  /** For the request: {role} or {scopes}. */
  get body() {
    if (this.role.value) return { role: this.role.value };
    return { scopes: [...this.things.querySelectorAll("input:checked")].map((input) => input.value) };
  }
}

function thing(name, kind, item) {
  const called = item.name || item.id;
  const verbs = Object.entries(VERBS[kind]).filter(
    ([verb]) => !["configure", "lock"].includes(verb) && !(item.mode === "input" && verb === "write"),
  );
  return el(
    "fieldset",
    {},
    el("legend", {}, `${title(called)} (${kind})`),
    verbs.map(([verb, words]) => {
      const id = `${name}-${kind}-${called}-${verb}`;
      return el(
        "div",
        { class: "form-check" },
        el("input", { class: "form-check-input", type: "checkbox", id, value: `${kind}:${called}:${verb}`, data: { verb } }),
        el("label", { class: "form-check-label", htmlFor: id }, words),
      );
    }),
  );
}

/** Who may move a thing has to see it; who may not see it cannot move it. */
function withSight(things, changed) {
  const view = changed.closest("fieldset").querySelector('[data-verb="view"]');
  if (changed === view && !view.checked)
    changed
      .closest("fieldset")
      .querySelectorAll("input")
      .forEach((input) => {
        input.checked = false;
      });
  else if (changed.checked) view.checked = true;
}
