// Forms that say beside each field what the server found wrong with it.

import { el, show, write } from "./dom.js";
import { capital } from "./words.js";

/**
 * Show the faults of a problem: each in the field whose `data-pointer` is its pointer or the nearest above it, the rest
 * in the form's `.form-fault`. Gives the first control that is wrong.
 */
export function tellFaults(form, { message, errors }) {
  clearFaults(form);
  const rest = [];
  for (const { pointer = "", detail } of errors) {
    const field = fieldOf(form, pointer);
    if (field) tell(field, detail);
    else rest.push(`${pointer && `${pointer.slice(1)}: `}${detail}`);
  }
  const general = form.querySelector(".form-fault");
  write(general, errors.length ? rest.map(sentence).join(" ") : message);
  show(general, general.textContent !== "");
  return form.querySelector("[aria-invalid]");
}

export function clearFaults(form) {
  for (const control of form.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-describedby");
  }
  form.querySelectorAll(".field-fault").forEach((fault) => fault.remove());
  show(form.querySelector(".form-fault"), false);
}

function fieldOf(form, pointer) {
  for (let path = pointer; path; path = path.slice(0, path.lastIndexOf("/"))) {
    const field = form.querySelector(`[data-pointer~="${CSS.escape(path)}"]`);
    if (field && !field.closest("[hidden]")) return field;
  }
  return null;
}

function tell(field, detail) {
  const told = field.querySelector(":scope > .field-fault");
  if (told) {
    told.append(` ${sentence(detail)}`);
    return;
  }
  const control = field.querySelector("input, select");
  const fault = el("p", { class: "field-fault", id: `fault-${control.id || control.name}` }, sentence(detail));
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-describedby", fault.id);
  field.append(fault);
}

const sentence = (text) => capital(text) + (text.endsWith(".") ? "" : ".");

/** A number field's value; undefined where it is empty, which the server then calls missing. */
export const numberIn = (input) => (input.value === "" ? undefined : input.valueAsNumber);

/** What stands in a field for date and time, as the API wants it: UTC. */
export function timeIn(input) {
  const at = new Date(input.value);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

/** A moment for such a field: by this device's clock, to the minute. */
export function timeField(at) {
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16);
}
