// A form in a dialog, whose faults are told where they are.

import { newKey } from "./api.js";
import { el, show, write } from "./dom.js";
import { capital } from "./words.js";

/**
 * Open a form. `send(key)` is called when it is sent, with a key that belongs to what is filled in: what is sent again
 * unchanged is the same request. A function that it gives is called once the form is closed.
 */
export function openForm(heading, agree, fields, send) {
  const fault = el("p", { class: "text-danger-emphasis mt-3 mb-0", role: "alert", hidden: true });
  const submit = el("button", { type: "submit", class: "btn btn-lg btn-primary" }, agree);
  const form = el(
    "form",
    { class: "form-sheet" },
    el("h2", { id: "form-heading" }, heading),
    fields,
    fault,
    el(
      "div",
      { class: "sheet-buttons" },
      el("button", { type: "button", class: "btn btn-lg btn-secondary", onclick: () => dialog.close() }, "Back"),
      submit,
    ),
  );
  const dialog = el("dialog", { class: "sheet", "aria-labelledby": "form-heading" }, form);
  let key = newKey();
  form.addEventListener("input", () => {
    key = newKey();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const then = await send(key);
      dialog.close();
      then?.();
    } catch (error) {
      if (error.status) key = newKey(); // it was heard, and refused
      write(fault, wordsOf(error));
      show(fault);
    } finally {
      submit.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** What is wrong with which field, where the server says so. */
function wordsOf(error) {
  const faults = (error.errors || []).map(
    ({ pointer, detail }) => `${(pointer || "").slice(1).split("/")[0].replaceAll("_", " ") || "This"} ${detail}`,
  );
  const words = faults.join("; ") || error.message;
  return capital(words);
}
