// Building the page: elements, icons, and telling people what happened.

import { staticAddress } from "./api.js";

/** An element: properties, `data` and attributes by name; text is always text. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name in made && !name.startsWith("aria")) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** One of the icons in piapi/web/icons.py. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${staticAddress("icons.svg")}#${name}`);
  svg.append(use);
  return svg;
}

export const byId = (id) => document.getElementById(id);

/** Write a text only where it is another one, so that screen readers are not told twice. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, visible = true) {
  node.hidden = !visible;
}

/** Say something to those who do not see the screen. `urgent`: at once. */
export function announce(text, urgent = false) {
  const place = byId(urgent ? "alerts" : "announcements");
  if (place) write(place, text);
}

/** A line at the bottom that goes by itself, with a button where `action` is given: {label, run}. */
export function toast(text, { kind = "info", action, seconds = 6 } = {}) {
  const line = el("div", { class: `toast-line toast-${kind}`, role: kind === "danger" ? "alert" : "status" }, el("span", {}, text));
  const close = () => { clearTimeout(timer); line.remove(); };
  if (action) line.append(el("button", { type: "button", class: "btn btn-sm btn-outline-light", onclick: () => { close(); action.run(); } }, action.label));
  line.append(el("button", { type: "button", class: "btn-close btn-close-white", "aria-label": "Close", onclick: close }));
  const timer = setTimeout(close, seconds * 1000);
  byId("toasts").append(line);
  return close;
}

/** Tell that something went wrong, in the server's words. */
export function complain(error) {
  toast(error.message, { kind: "danger", seconds: 10 });
}

/** Ask in a dialog; resolves to whether it was agreed to. */
export function confirmed(question, agree, more = "") {
  return new Promise((resolve) => {
    const dialog = el("dialog", { class: "sheet", "aria-labelledby": "question" },
      el("form", { method: "dialog" },
        el("h2", { id: "question" }, question), more && el("p", {}, more),
        el("div", { class: "sheet-buttons" },
          el("button", { class: "btn btn-lg btn-secondary", value: "" }, "Back"),
          el("button", { class: "btn btn-lg btn-primary", value: "yes" }, agree))));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "yes"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Run an action of a button: it cannot be pressed meanwhile, and what goes wrong is told. */
export async function whileBusy(button, run) {
  button.disabled = true;
  try {
    return await run();
  } catch (error) {
    complain(error);
    return undefined;
  } finally {
    button.disabled = false;
  }
}
