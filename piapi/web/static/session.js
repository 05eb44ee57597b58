// This browser's own session: who is logged in, and logging out.

import { api } from "./api.js";
import { byId, confirmed, whileBusy, write } from "./dom.js";
import { rightsInWords } from "./rights.js";
import { fullMoment } from "./words.js";

const SESSION = "/session";
let session = null;

/** Tell who is logged in. */
export async function loadSession() {
  const found = await sessionOfMine();
  const kind = found.kind === "token" ? "This device is paired as" : "Logged in as";
  write(byId("session"), `${kind} ${found.user}, until ${fullMoment(found.expires_at)}. ${rightsInWords(found)}.`);
}

/** The session's document. */
export async function sessionOfMine() {
  session = await api("GET", SESSION);
  return session;
}

async function logOut(button, everywhere) {
  const isPaired = session?.kind === "token";
  const question = everywhere ? "Log out everywhere?" : "Log out?";
  const who = isPaired ? "this key" : "your name";
  const more = [
    everywhere && `All browsers that are logged in with ${who} are logged out.`,
    isPaired && "To come back, this device needs a new pairing link.",
  ];
  if ((everywhere || isPaired) && !(await confirmed(question, "Log out", more.filter(Boolean).join(" ")))) return;
  await whileBusy(button, async () => {
    await api("DELETE", everywhere ? `${SESSION}?everywhere=true` : SESSION);
    location.replace("/login");
  });
}

byId("log-out").addEventListener("click", (event) => logOut(event.currentTarget, false));
byId("log-out-everywhere").addEventListener("click", (event) => logOut(event.currentTarget, true));
