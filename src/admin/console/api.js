// Asking the admin API. The admin token lives in this tab alone, until it is closed or the person signs out.

const KEY = "bearward-admin-token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function send(method, path, body, more) {
  const headers = { authorization: `Bearer ${token.get() ?? ""}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`/api/v1/${path}`, { method, headers: { ...headers, ...more?.headers }, body, signal: more?.signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The gateway does not answer.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, problem.report ?? problem.detail ?? `The gateway answers ${answer.status}.`);
}

export const get = async (path) => (await send("GET", path)).json();
export const post = async (path, value) => (await send("POST", path, value === undefined ? "" : JSON.stringify(value))).json();
export const remove = async (path) => (await send("DELETE", path)).text();
export const raw = async (method, path, body) => (await send(method, path, body)).text();

export async function readiness() {
  const answer = await fetch("/readyz?verbose", { cache: "no-store" });
  return { ready: answer.ok, lines: (await answer.text()).trim().split("\n") };
}

// Server-sent events by fetch: EventSource cannot show the token.
// `begun`: from then on nothing is missed.
export async function follow(path, signal, told, begun) {
  const answer = await send("GET", path, undefined, { signal, headers: { accept: "text/event-stream" } });
  await begun();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const data = text.slice(0, end).split("\n").filter((line) => line.startsWith("data: "));
      if (data.length > 0) told(JSON.parse(data.map((line) => line.slice(6)).join("\n")));
    }
  }
}
