// Calls an API with a token of its own, and reads the token by jose to renew it at four fifths of its life, ahead of a
// refusal. A client does not verify its access token: that is the gateway's work.
//
//   API_URL=… TOKEN_ENDPOINT=… CLIENT_ID=… CLIENT_SECRET=… node with_jose.mjs
//
// Exit codes: 0 the answer is on standard output, 3 the token may not do this, 4 it is refused, 5 given up.
import { decodeJwt } from "jose";

const { API_URL, TOKEN_ENDPOINT, CLIENT_ID, CLIENT_SECRET } = process.env;
const TRIES = 4;
let token = null;
let renewAt = 0;

async function newToken() {
  const answer = await fetch(TOKEN_ENDPOINT, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`${encodeURIComponent(CLIENT_ID)}:${encodeURIComponent(CLIENT_SECRET)}`)}` },
    body: new URLSearchParams({ grant_type: "client_credentials" }),
  });
  if (!answer.ok) throw new Error(`the issuer answers ${answer.status}`);
  token = (await answer.json()).access_token;
  const { iat, exp } = decodeJwt(token);
  renewAt = iat + (exp - iat) * 0.8;
}

let renewed = false;
await newToken();
for (let tries = 0; tries < TRIES; tries += 1) {
  if (Date.now() / 1000 > renewAt && !renewed) {
    await newToken();
    renewed = true;
  }
  const answer = await fetch(API_URL, { headers: { authorization: `Bearer ${token}` } });
  if (answer.ok) {
    console.log(await answer.text());
    process.exit(0);
  }
  const isProblem = answer.headers.get("content-type")?.includes("problem+json");
  const told = isProblem ? await answer.json() : {};
  if (answer.status === 401 && told.code === "token_expired" && !renewed) {
    await newToken();
    renewed = true;
  } else if (answer.status === 429 || answer.status === 503) {
    // A date, or nothing, is five seconds; nobody waits for longer than a minute.
    const seconds = Math.min(Number(answer.headers.get("retry-after")) || 5, 60);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  } else {
    console.error(told.code ?? answer.status, told.detail ?? "", told.hint ?? "", told.instance ?? "");
    process.exit(answer.status === 403 ? 3 : 4);
  }
}
console.error("given up");
process.exit(5);
