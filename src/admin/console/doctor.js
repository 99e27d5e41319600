// The token doctor: decodes in this tab, and sends the token only when the person asks the gateway.

import { post } from "./api.js";
import { choice, date, distance, el, field, fill, kv, note, steps, verdict } from "./draw.js";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].map((name) => [name]);
const TIMES = ["iat", "nbf", "exp", "auth_time", "updated_at"];

// Header and claims of a pasted text, or why there are none.
export function decode(text) {
  const pasted = text.trim().replace(/^authorization:\s*/i, "").replace(/^bearer\s+/i, "");
  if (pasted === "") return null;
  const parts = pasted.split(".");
  if (parts.length !== 3) return { fault: `It has ${parts.length} part${parts.length === 1 ? "" : "s"}; a signed token has three, with a dot between them.` };
  const part = (text, name) => {
    if (!/^[\w-]*$/.test(text)) throw new Error(`Its ${name} is not base64url.`);
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error(`Its ${name} is no JSON object.`);
    return value;
  };
  try {
    return { header: part(parts[0], "header"), claims: part(parts[1], "payload") };
  } catch (error) {
    return { fault: error instanceof SyntaxError || error.name === "InvalidCharacterError" || error.name === "TypeError" ? "A part of it is no JSON in base64url." : error.message };
  }
}

const seconds = (value) => (typeof value === "number" && Number.isFinite(value) && Math.abs(value) < 1e11 ? value : null);

function members(object) {
  return kv(Object.entries(object).map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const at = TIMES.includes(name) ? seconds(value) : null;
    return [name, at === null ? text : [text, " ", el("span", { class: "when" }, `${date(at)}, ${distance(at)}`)]];
  }));
}

// iat, nbf, now and exp on one line.
function timeline(claims) {
  const now = Date.now() / 1000;
  const marks = [["iat", "issued"], ["nbf", "valid from"], ["exp", "expires"]]
    .map(([name, word]) => ({ name, word, at: seconds(claims[name]) })).filter((mark) => mark.at !== null);
  if (marks.length === 0) return note("It has no times: neither iat, nbf nor exp.", "warn");
  const all = [...marks.map((mark) => mark.at), now];
  const first = Math.min(...all);
  const span = Math.max(1, Math.max(...all) - first);
  const x = (at) => 60 + ((at - first) / span) * 680;
  const start = claims.nbf ?? claims.iat;
  const over = seconds(claims.exp) !== null && now >= claims.exp;
  const said = [...marks.map((mark) => `${mark.word} ${distance(mark.at, now)}`)].join(", ");
  const placed = [...marks, { name: "now", word: "", at: now }].sort((a, b) => a.at - b.at);
  // Labels that would lie on each other stand in turn above and below.
  return el("svg", { class: "times", viewBox: "0 0 800 96", role: "img", "aria-label": said },
    el("line", { x1: 40, y1: 48, x2: 760, y2: 48 }),
    seconds(start) !== null && seconds(claims.exp) !== null && claims.exp > start && el("line", { class: `life ${over ? "over" : ""}`, x1: x(start), y1: 48, x2: x(claims.exp), y2: 48 }),
    placed.map((mark, n) => {
      const above = n % 2 === 0;
      const at = x(mark.at);
      const anchor = at < 130 ? "start" : at > 670 ? "end" : "middle";
      return el("g", {},
        mark.name === "now" ? el("line", { class: "now", x1: at, y1: 26, x2: at, y2: 70 }) : el("circle", { cx: at, cy: 48, r: 6 }),
        el("text", { class: "strong", x: at, y: above ? 16 : 78, "text-anchor": anchor }, mark.name),
        el("text", { x: at, y: above ? 30 : 92, "text-anchor": anchor }, mark.name === "now" ? "" : distance(mark.at, now)));
    }));
}

// What may be passed on: the verdict, and nothing of the token.
function report(told) {
  const lines = [`route ${told.route}, ${told.method}, ${told.at}`, told.allowed ? "allowed" : `refused: ${told.status} ${told.code}`];
  for (const step of told.steps) {
    lines.push(`${step.state.replace("_", " ").padEnd(11)} ${step.check.padEnd(11)} ${step.state === "passed" ? "" : step.text ?? ""}`.trimEnd());
    if (step.hint) lines.push(`            to do: ${step.hint}`);
  }
  return `${lines.join("\n")}\n`;
}

export function doctor(routes, chosen) {
  const decoded = el("div", { class: "grid" });
  const life = el("div");
  const answer = el("div", { "aria-live": "polite" });
  const token = el("textarea", { id: "token", spellcheck: "false", autocomplete: "off", placeholder: "eyJhbGciOi…", oninput: () => show() });
  const route = choice(routes.map((name) => [name]), chosen);
  const method = choice(METHODS, "GET");
  const ask = el("button", { class: "main", type: "submit" }, "Ask the gateway");

  function show() {
    const found = decode(token.value);
    fill(answer);
    if (found === null) {
      fill(decoded);
      fill(life);
    } else if (found.fault) {
      fill(decoded, note(`${found.fault} The gateway can say more.`, "warn"));
      fill(life);
    } else {
      fill(decoded, el("section", { class: "card" }, el("h2", {}, "Header"), members(found.header)), el("section", { class: "card" }, el("h2", {}, "Claims"), members(found.claims)));
      fill(life, el("section", { class: "card" }, el("h2", {}, "Its life"), timeline(found.claims)));
    }
  }

  async function judge(event) {
    event.preventDefault();
    if (token.value.trim() === "") return token.focus();
    ask.disabled = true;
    try {
      const told = await post("tokens/explain", { token: token.value, route: route.value, method: method.value });
      const copied = el("span", { class: "dim", role: "status" });
      const copy = el("button", { type: "button", onclick: async () => {
        await navigator.clipboard.writeText(report(told)).then(() => fill(copied, "Copied."), () => fill(copied, el("pre", {}, report(told))));
      } }, "Copy a report without the token");
      fill(answer, el("section", { class: "card" }, el("h2", {}, "Verdict"), verdict(told),
        told.steps.length > 0 ? steps(told.steps) : told.refusal && note(`${told.refusal.detail ?? ""} ${told.refusal.hint ?? ""}`),
        el("div", { class: "actions" }, copy, copied)));
    } catch (error) {
      fill(answer, note(error.message, "bad"));
    } finally {
      ask.disabled = false;
    }
  }

  return [
    el("form", { class: "card form", onsubmit: judge },
      el("div", { class: "wide" }, field("Token, or a whole Authorization header", token)),
      field("Route", route), field("Method", method),
      el("div", { class: "actions" }, ask, el("button", { type: "button", onclick: () => { token.value = ""; show(); token.focus(); } }, "Clear")),
      el("p", { class: "wide dim" }, "It is decoded in this tab. It leaves the browser only when you ask the gateway, which writes it nowhere.")),
    answer, life, decoded,
  ];
}
