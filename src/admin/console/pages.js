// The pages. Each gives its elements, and how it keeps itself up to date.

import { follow, get, post, raw, readiness, remove } from "./api.js";
import { doctor } from "./doctor.js";
import { ago, choice, clock, distance, download, el, field, fill, kv, note, pill, spark, steps, table } from "./draw.js";

const sum = (counts) => counts.reduce((all, count) => all + count, 0);
const head = (title, text, ...tools) => el("div", { class: "head" }, el("h1", { tabindex: "-1" }, title), el("p", {}, text), el("div", { class: "tools" }, tools));
const outcome = (decision) => (decision.would_deny ? pill(`would be ${decision.would_deny}`, "warn")
  : decision.reason === "none" ? pill("allowed", "good") : pill(decision.reason, decision.status >= 500 ? "warn" : "bad"));

// ---- Overview

export async function overview(page) {
  const body = el("div", { class: "grid four" });
  const tiles = el("div", { class: "tiles" });
  const reasons = el("section", { class: "card" });
  const noticed = el("div");
  fill(page, head("Overview", "The last 15 minutes"), tiles, noticed, reasons, body);
  const tile = (value, label, kind = "") => el("div", { class: `card tile ${kind}` }, el("b", {}, value), el("span", {}, label));
  const refresh = async () => {
    const [summary, ready, cache, config, { oddities }] = await Promise.all([get("decisions/summary"), readiness(), get("cache"), get("config"), get("oddities")]);
    const refused = summary.minutes.map((_, n) => sum(Object.values(summary.reasons).map((counts) => counts[n])));
    fill(tiles,
      tile(ready.ready ? "Ready" : "Not ready", config.last_reload_failed ? "a reload failed" : `configuration ${config.config}`, `word ${ready.ready ? "" : "bad"}`),
      tile(sum(summary.allowed).toLocaleString(), "allowed"),
      tile(sum(refused).toLocaleString(), "refused"),
      tile(cache.entries.toLocaleString(), "tokens in the cache"));
    const rows = Object.entries(summary.reasons).sort(([, a], [, b]) => sum(b) - sum(a)).map(([reason, counts]) => el("tr", {},
      el("td", {}, el("a", { class: "mono", href: `#/refusals?reason=${reason}` }, reason)),
      el("td", {}, spark(counts, `${reason} by minute: ${counts.join(", ")}`)),
      el("td", { class: "right" }, sum(counts).toLocaleString())));
    const allowed = el("tr", {}, el("td", {}, "allowed"), el("td", {}, spark(summary.allowed, `allowed by minute: ${summary.allowed.join(", ")}`, "ok")), el("td", { class: "right" }, sum(summary.allowed).toLocaleString()));
    fill(reasons, el("h2", {}, "By reason"), table("Requests by reason", ["Reason", "By minute", ">In 15 minutes"], [allowed, ...rows]));
    const odd = oddities.length > 0 && el("section", { class: "card" }, el("h2", {}, "Noticed"), table("What is odd", ["When", "What", "About"], oddities.slice(0, 10).map((it) => el("tr", {},
      el("td", { class: "tight dim" }, ago(it.at)), el("td", {}, pill(it.kind.replace("_", " "), "warn"), " ", it.what), el("td", { class: "mono" }, it.decision ? el("button", { class: "link mono", type: "button", onclick: () => openDecision(it.decision) }, it.about) : it.about)))));
    fill(noticed, odd);
    const most = (title, list) => el("section", { class: "card" }, el("h2", {}, title), table(title, ["Name", ">Refusals"], list.map((entry) => el("tr", {}, el("td", {}, entry.name), el("td", { class: "right" }, entry.count)))));
    fill(body,
      el("section", { class: "card" }, el("h2", {}, "Readiness"), el("ul", { class: "steps" }, ready.lines.map((line) => {
        const good = line.startsWith("[ok]");
        return el("li", { class: good ? "passed" : "failed" }, el("span", { class: "sign-of", "aria-hidden": "true" }, good ? "✓" : "✕"), el("span", { class: "name" }, good ? "ok" : "fail"), el("span", { class: "said" }, line.replace(/^\[\w+\] /, "")));
      }))),
      most(`Kept refusals by route`, summary.refusals.by_route), most("Kept refusals by client", summary.refusals.by_client), most("Kept refusals by issuer", summary.refusals.by_issuer));
  };
  await refresh();
  return { refresh, every: 5000 };
}

// ---- Token doctor

export async function tokens(page, query) {
  const { routes } = await get("routes");
  const names = routes.filter((route) => route.auth !== "none").map((route) => route.name);
  fill(page, head("Token doctor", "What a token says, and what the gateway says to it"), ...doctor(names, query.get("route") ?? names[0]));
}

// ---- Refusals

function whole(decision) {
  const pairs = ["id", "ts", "host", "path", "method", "route", "rule", "listener", "peer", "issuer", "alg", "kid", "sub", "jti", "client_id", "token_fingerprint", "near_miss", "cause", "cache", "verify_us", "total_us", "upstream", "upstream_status", "trace_id", "config"];
  return [el("div", { class: `verdict ${decision.reason === "none" ? "" : "no"}` }, `${decision.status} ${decision.reason === "none" ? "allowed" : decision.reason}`),
    decision.steps?.length > 0 && steps(decision.steps),
    el("h2", {}, "Details"), kv(pairs.map((name) => [name, decision[name]?.toString()]))];
}

export async function openDecision(id) {
  const body = el("div", {}, "…");
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = el("dialog", { "aria-label": "Decision", onclose: () => dialog.remove() }, el("div", { class: "head" }, el("h1", {}, "Decision"), el("div", { class: "tools" }, close)), body);
  document.body.append(dialog);
  dialog.showModal();
  try {
    fill(body, whole(await get(`decisions/${encodeURIComponent(id.replace(/^urn:uuid:/, ""))}`)));
  } catch (error) {
    fill(body, note(error.message, "bad"));
  }
}

const LISTED_MAX = 300;

export async function refusals(page, query) {
  const [{ routes }, { issuers }, summary] = await Promise.all([get("routes"), get("issuers"), get("decisions/summary")]);
  let stop = new AbortController();
  const any = (label) => ["", label];
  const known = new Set([...Object.keys(summary.reasons), query.get("reason")].filter(Boolean));
  const reason = choice([any("any reason"), ...[...known].sort().map((name) => [name])], query.get("reason") ?? "", { onchange: () => begin() });
  const route = choice([any("any route"), ...routes.map((it) => [it.name])], "", { onchange: () => begin() });
  const issuer = choice([any("any issuer"), ...issuers.map((it) => [it.name])], "", { onchange: () => begin() });
  const kind = choice([any("all that is kept"), ["refused", "refused"], ["error", "our fault or the upstream's"], ["allow", "allowed, as sampled"]], query.get("reason") ? "" : "refused", { onchange: () => begin() });
  const live = el("input", { type: "checkbox", checked: true, onchange: () => begin() });
  const id = el("input", { type: "search", placeholder: "urn:uuid:…", autocomplete: "off", spellcheck: "false" });
  const list = el("div");
  let shown = [];
  const row = (decision) => el("tr", {},
    el("td", { class: "tight dim" }, el("button", { class: "link", type: "button", onclick: () => openDecision(decision.id), "aria-label": `Open the decision of ${clock(decision.ts)}, ${decision.reason}` }, clock(decision.ts))),
    el("td", { class: "tight" }, outcome(decision), " ", el("span", { class: "dim" }, decision.status), decision.near_miss && el("div", { class: "dim" }, decision.near_miss.replaceAll("_", " "))),
    el("td", {}, decision.route ?? el("span", { class: "dim" }, "none")),
    el("td", { class: "mono" }, `${decision.method} ${decision.path}`),
    el("td", {}, decision.client_id ?? decision.sub ?? decision.peer));
  const draw = () => fill(list, table("Decisions", ["Time", "Outcome", "Route", "Request", "Client"], shown.map(row)));
  // A new row comes on top and takes the focus from none of the others.
  const add = (decision) => {
    if (shown.some((known) => known.id === decision.id)) return;
    shown = [decision, ...shown].slice(0, LISTED_MAX);
    const rows = list.querySelector("tbody");
    if (rows === null) return draw();
    rows.prepend(row(decision));
    while (rows.rows.length > LISTED_MAX) rows.lastElementChild.remove();
  };
  async function begin() {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    const wanted = new URLSearchParams(Object.entries({ outcome: kind.value, reason: reason.value, route: route.value, issuer: issuer.value }).filter(([, value]) => value));
    try {
      const load = async () => {
        shown = (await get(`decisions?limit=100&${wanted}`)).decisions;
        draw();
      };
      // Followed before it is listed: what comes in between is in both, and shown once.
      if (live.checked) await follow(`decisions?${wanted}`, signal, add, load);
      else await load();
    } catch (error) {
      if (error.name !== "AbortError") fill(list, note(error.message, "bad"), table("Decisions", [], []));
    }
  }
  fill(page, head("Refusals", "The last decisions, each with the way to it"),
    el("form", { class: "card form", onsubmit: (event) => { event.preventDefault(); if (id.value.trim()) openDecision(id.value.trim()); } },
      field("Outcome", kind), field("Reason", reason), field("Route", route), field("Issuer", issuer),
      el("label", { class: "inline" }, live, "Go on with new ones"),
      el("div", { class: "wide form" }, field("Open by the id that a client got", id), el("div", { class: "actions" }, el("button", { type: "submit" }, "Open")))),
    el("section", { class: "card" }, list));
  begin();
  return { leave: () => stop.abort() };
}

// ---- Issuers

export async function issuers(page) {
  const body = el("div", { class: "grid" });
  fill(page, head("Issuers", "Whose tokens are trusted, and with which keys"), body);
  const state = (issuer) => pill(issuer.state, { ok: "good", failing: "warn", waiting: "", unavailable: "bad" }[issuer.state] ?? "");
  const refresh = async () => {
    const found = (await get("issuers")).issuers;
    const open = document.activeElement?.dataset?.issuer;
    fill(body, found.map((issuer) => {
      const said = el("p", { role: "status", class: "dim" });
      const again = issuer.next_fetch_at !== null || issuer.source === "discovery" || issuer.source === "jwks_url";
      const button = el("button", { type: "button", "data-issuer": issuer.name, onclick: async () => {
        fill(said, "Asking…");
        try {
          await post(`issuers/${encodeURIComponent(issuer.name)}/refresh`);
          await refresh();
        } catch (error) {
          fill(said, error.message);
        }
      } }, "Fetch now");
      return el("section", { class: "card" },
        el("div", { class: "head" }, el("h2", {}, issuer.name), state(issuer), again && el("div", { class: "tools" }, button)),
        issuer.last_error && note(`${issuer.last_error.error} (${ago(issuer.last_error.at)})`, "warn"),
        kv([["issuer", issuer.issuer], ["keys from", issuer.from || issuer.source], ["confirmed", issuer.checked_at && ago(issuer.checked_at)], ["next fetch", issuer.source === "jwks_file" ? "when the file changes" : issuer.next_fetch_at && ago(issuer.next_fetch_at)],
          ["given up", issuer.stale_at && ago(issuer.stale_at)], ["saved", issuer.saved_at && ago(issuer.saved_at)], ["not saved", issuer.save_error], ["tokens with an unknown kid", issuer.unknown_kids || null], ["exposed keys", issuer.distrusted || null],
          ["its clock", issuer.clock_offset_seconds ? `${issuer.clock_offset_seconds} s ahead of ours` : null]]),
        table(`Keys of ${issuer.name}`, ["kid", "Kind", "Algorithms"], [
          ...issuer.keys.map((key) => el("tr", {}, el("td", { class: "mono" }, key.kid ?? "—"), el("td", {}, key.kind ? `${key.kind} ${key.bits}` : "secret"), el("td", {}, key.algorithms.join(" ")))),
          ...issuer.skipped.map((key) => el("tr", {}, el("td", { class: "mono" }, key.kid ?? `number ${key.index}`), el("td", { class: "warn" }, "not used"), el("td", {}, key.why)))]),
        said);
    }));
    if (open) body.querySelector(`[data-issuer="${CSS.escape(open)}"]`)?.focus();
  };
  await refresh();
  return { refresh, every: 10000 };
}

// ---- Revocations

const KINDS = [["jti", "token id (jti)"], ["subject", "subject"], ["session", "session (sid)"], ["client", "client"], ["kid", "key (kid)"], ["token", "token fingerprint"], ["issuer", "the whole issuer"]];

export async function revocations(page) {
  const { issuers: known } = await get("issuers");
  const issuer = choice(known.map((it) => [it.name]), known[0]?.name);
  const kind = choice(KINDS, "subject", { onchange: () => { value.disabled = kind.value === "issuer"; } });
  const value = el("input", { required: true, autocomplete: "off", spellcheck: "false" });
  const reason = el("input", { maxlength: "200", autocomplete: "off" });
  const before = el("input", { type: "checkbox" });
  const said = el("p", { class: "wide dim", role: "status" });
  const search = el("input", { type: "search", placeholder: "value, reason or author", oninput: () => draw() });
  const list = el("div");
  let all = [];
  const named = (revocation) => {
    const [[name, text]] = Object.entries(revocation.selector).filter(([name]) => name !== "issuer");
    return [name, text];
  };
  const draw = () => {
    const wanted = search.value.toLowerCase();
    const fits = (revocation) => JSON.stringify([revocation.selector, revocation.reason, revocation.author]).toLowerCase().includes(wanted);
    const rows = all.filter(fits).slice(0, 500).map((revocation) => {
      const [name, text] = named(revocation);
      return el("tr", {},
        el("td", {}, pill(name), " ", el("span", { class: "mono" }, text)), el("td", {}, revocation.selector.issuer),
        el("td", {}, revocation.issued_before ? `issued before ${revocation.issued_before}` : "all"),
        el("td", {}, revocation.reason ?? el("span", { class: "dim" }, "—")), el("td", {}, `${revocation.author}, ${ago(revocation.at)}`),
        el("td", {}, revocation.until ? ago(revocation.until) : "never"),
        el("td", { class: "tight" }, el("button", { class: "danger", type: "button", "aria-label": `Take back the revocation of ${name} ${text}`, onclick: async () => {
          if (!confirm(`Take back the revocation of ${name} ${text}? Its tokens are accepted again.`)) return;
          try {
            await remove(`revocations/${revocation.id}`);
            fill(said, "Taken back.");
          } catch (error) {
            fill(said, note(error.message, "bad"));
          }
          await refresh();
        } }, "Take back")));
    });
    fill(list, table("Revocations", ["Revoked", "Issuer", "Which tokens", "Reason", "By", "Until", "Change"], rows));
  };
  const refresh = async () => {
    all = (await get("revocations?limit=1000")).revocations;
    draw();
  };
  const add = async (event) => {
    event.preventDefault();
    const selector = { issuer: issuer.value };
    if (kind.value === "issuer") selector.whole = "issuer";
    else selector[kind.value] = value.value.trim();
    const body = { selector };
    if (reason.value.trim()) body.reason = reason.value.trim();
    if (before.checked) body.issued_before = new Date().toISOString();
    try {
      const added = await post("revocations", body);
      fill(said, added.durable ? "Revoked, and on disk." : "Revoked, but not durable: it ends with the process.");
      value.value = "";
      await refresh();
    } catch (error) {
      fill(said, note(error.message, "bad"));
    }
  };
  const file = el("input", { type: "file", id: "import", accept: ".jsonl,.ndjson,.txt,application/x-ndjson", onchange: async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    try {
      const told = JSON.parse(await raw("POST", "revocations/import", await chosen.text()));
      fill(said, `Imported: ${JSON.stringify(told)}`);
    } catch (error) {
      fill(said, note(error.message, "bad"));
    }
    file.value = "";
    await refresh();
  } });
  fill(page, head("Revocations", "What is refused whatever its signature says", el("button", { type: "button", onclick: async () => {
    try {
      download("revocations.jsonl", await raw("GET", "revocations/export"));
    } catch (error) {
      fill(said, note(error.message, "bad"));
    }
  } }, "Export")),
  el("form", { class: "card form", onsubmit: add }, field("Issuer", issuer), field("What", kind), field("Value", value), field("Reason", reason),
    el("label", { class: "inline" }, before, "Only tokens issued before now"), el("div", { class: "actions" }, el("button", { class: "main", type: "submit" }, "Revoke")), said),
  el("section", { class: "card" }, el("div", { class: "form" }, field("Search", search), field("Import a file", file)), list));
  await refresh();
  return { refresh, every: 10000 };
}

// ---- Routes

const demands = (rule) => [
  rule.scopes_all.length > 0 && `all of ${rule.scopes_all.join(" ")}`, rule.scopes_any.length > 0 && `one of ${rule.scopes_any.join(" ")}`,
  rule.claims.length > 0 && `claims ${rule.claims.join(", ")}`, rule.client_certificate && "a client certificate",
].filter(Boolean).join("; ") || "any valid token";

export async function routes(page) {
  const [{ routes: all }, { upstreams }] = await Promise.all([get("routes"), get("upstreams")]);
  const method = choice(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].map((name) => [name]), "GET");
  const url = el("input", { type: "text", required: true, inputmode: "url", placeholder: "https://api.example.com/orders/1", autocomplete: "off", spellcheck: "false" });
  const said = el("div", { class: "wide", role: "status" });
  const auth = (route) => pill(route.auth, { required: "good", report: "warn", none: "bad" }[route.auth]);
  const tryIt = async (event) => {
    event.preventDefault();
    try {
      const told = await get(`routes/test?${new URLSearchParams({ method: method.value, url: url.value.trim() })}`);
      const { route } = told;
      fill(said, told.refused && note(told.refused, "bad"), route && kv([["route", route.name], ["listener", told.listener], ["rule", told.rule?.toString()],
        ["demands", told.rule === null ? null : demands(route.rules[told.rule])], ["issuers", route.issuers.map((it) => it.issuer).join(", ")], ["upstream", route.upstream]]),
      route && route.auth !== "none" && el("p", {}, el("a", { href: `#/tokens?route=${encodeURIComponent(route.name)}` }, "Try a token on this route")));
    } catch (error) {
      fill(said, note(error.message, "bad"));
    }
  };
  fill(page, head("Routes", "What each matches and demands"),
    el("form", { class: "card form", onsubmit: tryIt }, el("h2", { class: "wide" }, "Try a request"), field("Method", method), field("URL", url), el("div", { class: "actions" }, el("button", { class: "main", type: "submit" }, "Try")), said),
    el("section", { class: "card" }, table("Routes", ["Route", "Matches", "Access", "Issuers", "Demands by method", "Upstream"], all.map((route) => el("tr", {},
      el("td", {}, el("b", {}, route.name)), el("td", { class: "mono" }, route.hosts.map((host) => el("div", {}, host)), route.path), el("td", {}, auth(route)),
      el("td", {}, route.issuers.map((it) => it.name).join(", ")),
      el("td", {}, route.rules.map((rule) => el("div", {}, el("span", { class: "dim" }, `${rule.methods.join(" ") || "any method"}: `), route.auth === "none" ? "anybody" : demands(rule)))), el("td", {}, route.upstream))))),
    el("section", { class: "card" }, el("h2", {}, "Upstreams"), table("Upstreams", ["Upstream", "Server", "State", ">Connections"], upstreams.flatMap((upstream) => upstream.servers.map((server) => el("tr", {},
      el("td", {}, upstream.name), el("td", { class: "mono" }, server.server), el("td", {}, server.healthy ? pill("well", "good") : pill("set aside", "bad")), el("td", { class: "right" }, server.connections ?? 0)))))));
}

// ---- Configuration

export async function configuration(page) {
  const told = await get("config");
  const search = el("input", { type: "search", placeholder: "key or value", oninput: () => draw() });
  const own = el("input", { type: "checkbox", onchange: () => draw() });
  const list = el("div");
  const draw = () => {
    const wanted = search.value.toLowerCase();
    const rows = told.values.filter((value) => (!own.checked || value.line !== null) && `${value.key} ${value.value}`.toLowerCase().includes(wanted)).slice(0, 2000);
    fill(list, table("Configuration", ["Key", "Value", "From", "What it does"], rows.map((value) => el("tr", {},
      el("td", { class: "mono" }, value.key), el("td", { class: "mono" }, value.value), el("td", { class: "tight dim" }, value.line === null ? "default" : `${value.file}:${value.line}`), el("td", { class: "dim" }, value.help)))));
  };
  fill(page, head("Configuration", `${told.config}, since ${told.since}, Bearward ${told.version}`),
    told.last_reload_failed && note(`The last reload failed ${distance(Date.parse(told.last_reload_failed.at) / 1000)}: ${told.last_reload_failed.why}`, "bad"),
    el("section", { class: "card" }, kv([["file", told.file]]), el("div", { class: "form" }, field("Search", search), el("label", { class: "inline" }, own, "Only what the file says")), list));
  draw();
}
