// Pairing a device: who it is for and what it may do, then its link and QR code, this once.

import { api } from "./api.js";
import { announce, el, icon, toast, write } from "./dom.js";
import { openForm } from "./forms.js";
import { live } from "./live.js";
import { RightsChoice } from "./rights.js";

const DAY_S = 86_400;
const LASTS = [
  ["", "Until it is revoked"],
  [DAY_S / 24, "One hour"],
  [DAY_S, "One day"],
  [7 * DAY_S, "One week"],
  [30 * DAY_S, "30 days"],
  [365 * DAY_S, "One year"],
];
const OPEN_S = 300;
const TICK_MS = 500;

/** Ask, make the link, and show it. */
export function pairDevice() {
  const name = el("input", {
    class: "form-control",
    id: "pair-name",
    required: true,
    maxLength: 100,
    autocomplete: "off",
    placeholder: "Anna's phone",
  });
  const rights = new RightsChoice("pair");
  const lasts = el(
    "select",
    { class: "form-select", id: "pair-lasts" },
    LASTS.map(([value, words]) => el("option", { value }, words)),
  );
  openForm(
    "Pair a device",
    "Make the link",
    [
      el("label", { class: "form-label", htmlFor: "pair-name" }, "Name of the device"),
      name,
      rights.node,
      el("label", { class: "form-label", htmlFor: "pair-lasts" }, "Its key is good"),
      lasts,
    ],
    async (key) => {
      const expires = lasts.value ? { expires_in_s: Number(lasts.value) } : {};
      const made = await api("POST", "/pairings", {
        body: { name: name.value.trim(), ...rights.body, ...expires },
        headers: { "Idempotency-Key": key },
      });
      if (!made.code) {
        // a retry was answered again, and a secret is told once
        await api("DELETE", made.links.self);
        throw new Error("The answer was lost on its way. Press again.");
      }
      return () => showLink(made);
    },
  );
}

function showLink(made) {
  const link = isLoopback() && made.link ? made.link : location.origin + made.page;
  const endsAt = performance.now() + OPEN_S * 1000;
  const left = el("p", { class: "pair-left", role: "timer" });
  const address = el("input", {
    class: "form-control",
    readOnly: true,
    value: link,
    "aria-label": "Pairing link",
    onfocus: (event) => event.target.select(),
  });
  const place = el(
    "div",
    { class: "pair-code" },
    made.qr ? scanned(made.qr) : isLoopback() ? noWayIn() : el("p", {}, "Send the new device this link:"),
    el(
      "div",
      { class: "input-group" },
      address,
      el("button", { type: "button", class: "btn btn-primary", onclick: () => copy(address) }, "Copy"),
    ),
    left,
  );
  const dialog = el(
    "dialog",
    { class: "sheet", "aria-labelledby": "pair-heading" },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "pair-heading" }, `Pair ${made.name}`),
      place,
      el("div", { class: "sheet-buttons" }, el("button", { class: "btn btn-lg btn-secondary" }, "Done")),
    ),
  );

  const end = (picture, words) => {
    clearInterval(timer);
    live.removeEventListener("entry", heard);
    place.replaceChildren(icon(picture), el("p", {}, words));
    announce(words);
  };
  const heard = ({ detail }) => {
    if (detail.data.id !== made.id) return;
    if (detail.type === "pairing.redeemed") end("check-circle-fill", `${made.name} is paired.`);
    if (detail.type === "pairing.removed") end("x-circle", "The link was withdrawn.");
  };
  const tick = () => {
    const s = Math.ceil((endsAt - performance.now()) / 1000);
    if (s <= 0) end("clock", "The five minutes are over. Make a new link.");
    else write(left, `Good once, for ${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")} more. It is not shown again.`);
  };
  const timer = setInterval(tick, TICK_MS);
  live.addEventListener("entry", heard);
  dialog.addEventListener("close", () => {
    clearInterval(timer);
    live.removeEventListener("entry", heard);
    dialog.remove();
  });
  tick();
  document.body.append(dialog);
  dialog.showModal();
}

const scanned = (qr) => [
  el("img", { src: qr, alt: "QR code of the pairing link", width: 264, height: 264 }),
  el("p", {}, "Scan it with the camera of the new device, or send it this link:"),
];

const noWayIn = () =>
  el(
    "p",
    { class: "door-note" },
    "No other device gets to this link: piapi listens on this machine alone. To let phones in, set ",
    el("code", {}, 'host = "0.0.0.0"'),
    " under [server] in piapi.toml and start piapi again. Until then the link is for browsers of this machine:",
  );

const isLoopback = () => ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);

/** The clipboard needs a secure context, which plain http in a house is not; the old way does not. */
async function copy(field) {
  field.select();
  try {
    await (navigator.clipboard ? navigator.clipboard.writeText(field.value) : document.execCommand("copy"));
    toast("The link is copied.");
  } catch {
    toast("Copy the link by hand: it is marked.");
  }
}
