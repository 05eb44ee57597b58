// Asking for the label of a photo.

import { el } from "./dom.js";

/** Ask in a dialog; resolves to the label, null for none, or undefined when it is to stay as it is. */
export function askLabel(label) {
  return new Promise((resolve) => {
    const input = el("input", { class: "form-control form-control-lg", id: "label", autocomplete: "off", value: label || "" });
    input.maxLength = 100;
    input.setAttribute("list", "labels"); // as a property it can only be read
    const dialog = el("dialog", { class: "sheet", "aria-labelledby": "label-title" },
      el("form", { method: "dialog" },
        el("h2", { id: "label-title" }, el("label", { htmlFor: "label" }, "Label")), input,
        el("div", { class: "sheet-buttons" },
          el("button", { class: "btn btn-lg btn-secondary", type: "button", onclick: () => dialog.close() }, "Back"),
          el("button", { class: "btn btn-lg btn-primary", value: "save" }, "Save"))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "save" ? input.value.trim() || null : undefined);
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
