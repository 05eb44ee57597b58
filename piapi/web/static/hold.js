// A button that acts when it is held for 0.8 s, so that no pocket and no passing finger opens a garage.

import { newKey } from "./api.js";
import { confirmed, el } from "./dom.js";

const HOLD_MS = 800;

/**
 * A button to hold: by finger or mouse, or with Space or Enter. A screen reader's click, which cannot be held, is asked
 * about in a dialog. `act(key)` is called once a hold; the key was made when the finger went down.
 */
export function holdButton({ label, question, act, style = "primary" }) {
  const hint = el("span", { class: "hold-hint" }, "Hold");
  const text = el("span", { class: "hold-label" }, label);
  const button = el("button", { type: "button", class: `btn btn-${style} btn-hold`, "aria-description": "Hold for about one second" }, ring(), text, hint);
  let timer = null;
  let key = null;
  let released = -Infinity;

  const down = () => {
    if (button.disabled || timer !== null) return;
    key = newKey();
    button.classList.add("is-held");
    hint.textContent = "Keep holding";
    timer = setTimeout(() => { up(true); navigator.vibrate?.(30); act(key); }, HOLD_MS);
  };
  const up = (done = false) => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    released = performance.now();
    button.classList.remove("is-held");
    hint.textContent = done ? "Hold" : "Hold longer";
  };

  button.addEventListener("pointerdown", (event) => { if (event.button === 0) { button.setPointerCapture(event.pointerId); down(); } });
  button.addEventListener("pointermove", (event) => { if (timer !== null && !isInside(button, event)) up(); });
  for (const name of ["pointerup", "pointercancel", "blur"]) button.addEventListener(name, () => up());
  button.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    if (!event.repeat) down();
  });
  button.addEventListener("keyup", (event) => { if (event.key === " " || event.key === "Enter") up(); });
  // A finger that is lifted clicks what lies under it by then: where this button was, the one to cancel may be now.
  button.addEventListener("touchend", (event) => event.preventDefault());
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("click", async (event) => {
    const byAssistant = event.detail === 0 && performance.now() - released > HOLD_MS;
    if (byAssistant && timer === null && await confirmed(question, text.textContent)) act(newKey());
  });
  return Object.assign(button, { setLabel: (words) => { if (text.textContent !== words) text.textContent = words; }, letGo: () => up() });
}

function isInside(node, event) {
  const box = node.getBoundingClientRect();
  return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
}

function ring() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "hold-ring");
  svg.setAttribute("viewBox", "0 0 36 36");
  svg.setAttribute("aria-hidden", "true");
  for (const name of ["hold-ring-track", "hold-ring-fill"]) {
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [attribute, value] of Object.entries({ cx: 18, cy: 18, r: 15.915, class: name })) circle.setAttribute(attribute, value);
    svg.append(circle);
  }
  return svg;
}
