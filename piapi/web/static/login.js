// Logging in with a name and a password.

import { api } from "./api.js";
import { byId, show, write } from "./dom.js";

const form = byId("login");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const { username, password } = form.elements;
    await api("POST", "/session", { body: { username: username.value, password: password.value } });
    location.replace(afterwards());
  } catch (error) {
    write(byId("error"), error.message);
    show(byId("error"));
    form.elements.password.select();
  } finally {
    button.disabled = false;
  }
});

/** Where one wanted to go; only a page of ours. */
function afterwards() {
  const wanted = new URL(new URLSearchParams(location.search).get("next") || "/", location.origin);
  return wanted.origin === location.origin ? wanted.pathname + wanted.search : "/";
}
