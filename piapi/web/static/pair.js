// Redeeming a pairing link. The code comes in the fragment, which no server and no preview of a messenger gets to see.

import { api } from "./api.js";
import { byId, show, write } from "./dom.js";

const form = byId("pair");
form.elements.code.value = decodeURIComponent(location.hash.slice(1));
history.replaceState(null, "", location.pathname); // not into the history of the browser

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const { token } = await api("POST", "/pair", { body: { code: form.elements.code.value.trim() } });
    await api("POST", "/session", { body: { username: "token", password: token } });
    location.replace("/");
  } catch (error) {
    write(byId("error"), error.message);
    show(byId("error"));
    button.disabled = false;
  }
});
