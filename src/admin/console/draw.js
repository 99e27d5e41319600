// Making elements. Text is always text: nothing that a token or a client says is ever read as HTML.

export function el(name, attributes = {}, ...children) {
  const svg = ["svg", "polyline", "polygon", "line", "circle", "text", "title", "g"].includes(name) && attributes.svg !== false;
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false || key === "svg") continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "value") node.value = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const fill = (node, ...children) => {
  node.replaceChildren(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};

export const pill = (text, kind = "") => el("span", { class: `pill ${kind}` }, text);
export const note = (text, kind = "") => el("p", { class: `note ${kind}`, role: kind === "bad" ? "alert" : undefined }, text);
export const field = (label, control) => el("label", {}, label, control);

export function choice(options, chosen, more = {}) {
  const select = el("select", more, options.map(([value, text]) => el("option", { value, selected: value === chosen }, text ?? value)));
  return select;
}

export function table(label, heads, rows) {
  if (rows.length === 0) return el("p", { class: "empty" }, "Nothing here.");
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    el("table", {},
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col", class: head.startsWith(">") ? "right" : "" }, head.replace(/^>/, ""))))),
      el("tbody", {}, rows)));
}

export const kv = (pairs) => el("dl", { class: "kv" },
  pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

// A line of counts, the newest at the right.
export function spark(counts, label, kind = "") {
  const most = Math.max(1, ...counts);
  const [width, height] = [136, 30];
  const step = width / Math.max(1, counts.length - 1);
  const points = counts.map((count, n) => `${(n * step).toFixed(1)},${(height - 2 - (count / most) * (height - 5)).toFixed(1)}`);
  return el("svg", { class: `spark ${kind}`, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    el("polygon", { points: `0,${height} ${points.join(" ")} ${width},${height}` }),
    el("polyline", { points: points.join(" ") }));
}

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

// "3 minutes and 12 seconds", as the gateway says it.
export function spoken(seconds) {
  let rest = Math.floor(Math.abs(seconds));
  if (rest === 0) return "less than a second";
  const parts = [];
  for (const [name, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count > 0) parts.push(`${count} ${name}${count === 1 ? "" : "s"}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" and ");
}

export function distance(at, now = Date.now() / 1000) {
  return at > now ? `in ${spoken(at - now)}` : `${spoken(now - at)} ago`;
}

export const ago = (text) => (text ? distance(Date.parse(text) / 1000) : "never");
export const date = (seconds) => new Date(seconds * 1000).toISOString().replace(".000", "");
export const clock = (text) => new Date(text).toLocaleTimeString([], { hour12: false });

const SIGNS = { passed: "✓", failed: "✕", not_reached: "·", skipped: "?" };
const WORDS = { passed: "passed", failed: "failed", not_reached: "not reached", skipped: "skipped" };

// The checks of a verdict, one below the other.
export function steps(list) {
  return el("ol", { class: "steps", "aria-label": "Checks" }, list.map((step) => el("li", { class: step.state },
    el("span", { class: "sign-of", "aria-hidden": "true" }, SIGNS[step.state]),
    el("span", { class: "name" }, step.check),
    el("span", { class: "said" },
      step.text ?? WORDS[step.state],
      step.found && el("span", { class: "found dim" }, `Found: ${step.found}`),
      step.expected && el("span", { class: "found dim" }, `Expected: ${step.expected}`),
      step.hint && el("span", { class: "hint" }, step.hint)))));
}

export function verdict(told) {
  const allowed = told.allowed;
  return el("div", { class: `verdict ${allowed ? "" : "no"}`, role: "status" },
    el("span", {}, allowed ? "This token passes" : `${told.status} ${told.code}`),
    el("span", { class: "dim" }, `${told.method} on route ${told.route}`));
}

export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  el("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}
