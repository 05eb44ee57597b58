// People with a name and a password.

import { api, Turns, who } from "./api.js";
import { all } from "./devices.js";
import { byId, confirmed, el, icon, show, toast, whileBusy } from "./dom.js";
import { openForm } from "./forms.js";
import { RightsChoice, rightsInWords } from "./rights.js";
import { sessionOfMine } from "./session.js";
import { moment } from "./words.js";

const SHORTEST = 8;

/** The list of people. */
export class People {
  #turns = new Turns();
  isAccess = true;

  constructor() {
    byId("add-person").addEventListener("click", () => this.#add());
  }

  async load() {
    const mayShow = this.#turns.ask();
    const [session, users] = await Promise.all([sessionOfMine(), all("/users")]);
    if (!mayShow()) return;
    const rows = users.map((user) => this.#row(user, session.kind === "user" && user.name === who));
    byId("people-rows").replaceChildren(...(rows.length ? rows : [el("p", { class: "empty" }, "Nobody has a name and a password yet.")]));
    show(byId("people"));
  }

  #row(user, isOwn) {
    const password = el(
      "button",
      {
        type: "button",
        class: "btn btn-outline-secondary",
        "aria-label": `New password for ${user.name}`,
        onclick: () => this.#setPassword(user, isOwn),
      },
      "Password",
    );
    const remove = el(
      "button",
      {
        type: "button",
        class: "btn btn-outline-secondary",
        "aria-label": `Remove ${user.name}`,
        onclick: () => this.#remove(remove, user, isOwn),
      },
      icon("trash"),
    );
    return el(
      "div",
      { class: "row-item", data: { person: user.name } },
      icon("person"),
      el(
        "div",
        { class: "row-text" },
        el("span", {}, user.name, isOwn && el("span", { class: "own" }, "you")),
        el("small", {}, rightsInWords(user)),
        el("small", {}, `Password of ${moment(user.password_changed_at)}`),
      ),
      password,
      remove,
    );
  }

  #add() {
    const name = el("input", {
      class: "form-control",
      id: "person-name",
      required: true,
      maxLength: 40,
      autocomplete: "off",
      autocapitalize: "none",
    });
    const password = passwordField("person-password");
    const rights = new RightsChoice("person");
    openForm(
      "Add a person",
      "Add",
      [el("label", { class: "form-label", htmlFor: "person-name" }, "Name"), name, ...password.parts, rights.node],
      async (key) => {
        const body = { name: name.value.trim(), password: password.input.value, ...rights.body };
        await api("POST", "/users", { body, headers: { "Idempotency-Key": key } });
        await this.load();
      },
    );
  }

  #setPassword(user, isOwn) {
    const password = passwordField("new-password");
    const more = isOwn ? "You are logged out everywhere, here too, and log in with the new one." : `${user.name} is logged out everywhere.`;
    openForm(`New password for ${user.name}`, "Change", [el("p", {}, more), ...password.parts], async () => {
      await api("PATCH", user.links.self, { body: { password: password.input.value } });
      if (isOwn) return () => location.replace("/login");
      toast(`The password of ${user.name} is changed.`);
      return () => this.load();
    });
  }

  async #remove(button, user, isOwn) {
    const more = isOwn ? "That is you: you are logged out." : `${user.name} is logged out everywhere. Paired devices keep their own keys.`;
    if (!(await confirmed(`Remove ${user.name}?`, "Remove", more))) return;
    await whileBusy(button, async () => {
      await api("DELETE", user.links.self);
      if (isOwn) location.replace("/login");
      else await this.load();
    });
  }
}

function passwordField(id) {
  const input = el("input", {
    class: "form-control",
    id,
    type: "password",
    required: true,
    minLength: SHORTEST,
    maxLength: 128,
    autocomplete: "new-password",
  });
  return { input, parts: [el("label", { class: "form-label", htmlFor: id }, `Password (at least ${SHORTEST} characters)`), input] };
}
