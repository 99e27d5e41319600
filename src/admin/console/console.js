// The console: signs in with the admin token, shows a page by the address's hash, keeps it up to date while it is
// looked at.

import { get, readiness, Refused, token } from "./api.js";
import { el, field, fill, note } from "./draw.js";
import * as pages from "./pages.js";

const PAGES = [
  ["overview", "Overview", pages.overview], ["tokens", "Token doctor", pages.tokens], ["refusals", "Refusals", pages.refusals], ["issuers", "Issuers", pages.issuers],
  ["revocations", "Revocations", pages.revocations], ["routes", "Routes", pages.routes], ["configuration", "Configuration", pages.configuration],
];

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const state = document.getElementById("state");
const leave = document.getElementById("leave");
let current = null;
let turn = 0;

function stop() {
  clearInterval(current?.timer);
  current?.leave?.();
  current = null;
}

function signIn(why) {
  stop();
  turn += 1;
  leave.hidden = true;
  state.hidden = true;
  fill(nav);
  const input = el("input", { type: "password", id: "admin-token", autocomplete: "off", required: true });
  const said = el("div", { role: "alert" }, why && note(why, "bad"));
  const enter = async (event) => {
    event.preventDefault();
    token.set(input.value.trim());
    try {
      await get("cache");
      show();
    } catch (error) {
      token.forget();
      fill(said, note(error.status === 401 ? "That is not the admin token." : error.message, "bad"));
      input.select();
    }
  };
  document.title = "Sign in · Bearward";
  fill(main, el("form", { class: "card sign", onsubmit: enter }, el("h1", {}, "Bearward"), el("p", { class: "dim" }, "Sign in with the admin token: what admin.token says, or else the file admin-token in the state folder."),
    field("Admin token", input), el("button", { class: "main", type: "submit" }, "Sign in"), said));
  input.focus();
}

async function show() {
  if (!token.get()) return signIn();
  stop();
  turn += 1;
  const mine = turn;
  const [name, query] = location.hash.replace(/^#\//, "").split("?");
  const [key, title, page] = PAGES.find(([key]) => key === name) ?? PAGES[0];
  leave.hidden = false;
  state.hidden = false;
  fill(nav, PAGES.map(([own, text]) => el("li", {}, el("a", { href: `#/${own}`, "aria-current": own === key ? "page" : undefined, onclick: () => location.hash === `#/${own}` && show() }, text))));
  document.title = `${title} · Bearward`;
  try {
    const content = el("div");
    const kept = (await page(content, new URLSearchParams(query ?? ""))) ?? {};
    if (mine !== turn) return kept.leave?.();
    fill(main, ...content.childNodes);
    current = kept;
    if (kept.refresh) current.timer = setInterval(() => document.hidden || kept.refresh().catch(failed), kept.every);
    main.querySelector("h1")?.focus({ preventScroll: true });
    scrollTo(0, 0);
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

function failed(error) {
  if (error instanceof Refused && error.status === 401) {
    token.forget();
    return signIn("The admin token is not accepted any more.");
  }
  if (!main.querySelector(".note.bad")) main.prepend(note(error.message, "bad"));
}

async function look() {
  if (document.hidden) return;
  try {
    const { ready } = await readiness();
    state.hidden = !token.get();
    state.className = `state ${ready ? "good" : "bad"}`;
    fill(state, ready ? "ready" : "not ready");
  } catch {
    state.className = "state bad";
    fill(state, "no answer");
  }
}

leave.addEventListener("click", () => {
  token.forget();
  signIn();
});
addEventListener("hashchange", show);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
setInterval(look, 5000);
look();
show();
