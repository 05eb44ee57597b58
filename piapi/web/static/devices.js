// Devices that have a key: which, what for, since when; taking it away, and pairing another one.

import { api, pages, Turns } from "./api.js";
import { byId, confirmed, el, icon, show, whileBusy } from "./dom.js";
import { pairDevice } from "./pairing.js";
import { rightsInWords } from "./rights.js";
import { sessionOfMine } from "./session.js";
import { ago, duration, fullMoment, moment } from "./words.js";

/** All items of a collection. */
export async function all(path) {
  const found = [];
  for await (const items of pages(`${path}?limit=200`)) found.push(...items);
  return found;
}

/** The list of devices, and of links that wait for theirs. */
export class Devices {
  #turns = new Turns();
  isAccess = true;

  constructor() {
    byId("pair").addEventListener("click", () => pairDevice());
  }

  async load() {
    const mayShow = this.#turns.ask();
    const [session, tokens, pairings] = await Promise.all([sessionOfMine(), all("/tokens"), all("/pairings")]);
    if (!mayShow()) return;
    const rows = [
      ...pairings.map((pairing) => this.#waiting(pairing)),
      ...tokens.map((token) => this.#token(token, token.links.self === session.links.token)),
    ];
    byId("devices-rows").replaceChildren(...(rows.length ? rows : [el("p", { class: "empty" }, "No device has a key yet.")]));
    show(byId("devices"));
  }

  #token(token, isOwn) {
    const used = token.last_used_at ? `Used ${ago(token.last_used_at)}` : "Never used";
    const until = token.expires_at
      ? Date.parse(token.expires_at) < Date.now()
        ? `expired ${moment(token.expires_at)}`
        : `until ${moment(token.expires_at)}`
      : "until it is revoked";
    const revoke = el(
      "button",
      {
        type: "button",
        class: "btn btn-outline-secondary",
        "aria-label": `Revoke the key of ${token.name}`,
        onclick: () => this.#revoke(revoke, token, isOwn),
      },
      "Revoke",
    );
    return el(
      "div",
      { class: "row-item", data: { token: token.id } },
      icon(isOwn ? "phone" : "key"),
      el(
        "div",
        { class: "row-text" },
        el("span", {}, token.name, isOwn && el("span", { class: "own" }, "this device")),
        el("small", {}, rightsInWords(token)),
        el("small", { title: token.last_used_at ? fullMoment(token.last_used_at) : "" }, `${used}, ${until}`),
      ),
      revoke,
    );
  }

  async #revoke(button, token, isOwn) {
    const more = isOwn
      ? "It is the key of this device: you are logged out here."
      : "The device is logged out within seconds, and needs a new link to come back.";
    if (!(await confirmed(`Revoke the key of ${token.name}?`, "Revoke", more))) return;
    await whileBusy(button, async () => {
      await api("DELETE", token.links.self);
      if (isOwn) location.replace("/login");
      else await this.load();
    });
  }

  #waiting(pairing) {
    const left = duration((Date.parse(pairing.expires_at) - Date.now()) / 1000);
    const withdraw = el(
      "button",
      {
        type: "button",
        class: "btn btn-outline-secondary",
        "aria-label": `Withdraw the link for ${pairing.name}`,
        onclick: () =>
          whileBusy(withdraw, async () => {
            await api("DELETE", pairing.links.self);
            await this.load();
          }),
      },
      "Withdraw",
    );
    return el(
      "div",
      { class: "row-item", data: { pairing: pairing.id } },
      icon("hourglass-split"),
      el(
        "div",
        { class: "row-text" },
        el("span", {}, pairing.name),
        el("small", {}, `Its link waits for ${left} more. ${rightsInWords(pairing)}`),
      ),
      withdraw,
    );
  }
}
