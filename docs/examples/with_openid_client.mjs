// Calls an API with a token of its own, by openid-client: renews it once when it has expired, stops where another token
// would not help, and waits where the gateway asks it to.
//
//   API_URL=… ISSUER=… CLIENT_ID=… CLIENT_SECRET=… node with_openid_client.mjs
//
// Exit codes: 0 the answer is on standard output, 3 the token may not do this, 4 it is refused, 5 given up.
import * as client from "openid-client";

const { API_URL, ISSUER, CLIENT_ID, CLIENT_SECRET } = process.env;
const TRIES = 4;
// A development issuer on this machine may have no TLS.
const execute = new URL(ISSUER).hostname === "127.0.0.1" ? [client.allowInsecureRequests] : [];
const issuer = await client.discovery(new URL(ISSUER), CLIENT_ID, CLIENT_SECRET, undefined, { execute });
const newToken = async () => (await client.clientCredentialsGrant(issuer)).access_token;

let token = await newToken();
let renewed = false;
for (let tries = 0; tries < TRIES; tries += 1) {
  const answer = await fetch(API_URL, { headers: { authorization: `Bearer ${token}` } });
  if (answer.ok) {
    console.log(await answer.text());
    process.exit(0);
  }
  const isProblem = answer.headers.get("content-type")?.includes("problem+json");
  const told = isProblem ? await answer.json() : {};
  if (answer.status === 401 && told.code === "token_expired" && !renewed) {
    token = await newToken();
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
