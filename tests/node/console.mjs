// Uses the console as a person does, in a real browser: console.mjs MODULES ADMIN PUBLIC TOKEN_FILE SCREENSHOTS
// The tokens to use come as one line of JSON on standard input. Says what it did, and ends with 1 where something
// is not as it should be.

import { readFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import https from "node:https";
import assert from "node:assert/strict";

const [modules, admin, api, tokenFile, screenshots, browserPath] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const adminToken = readFileSync(tokenFile, "utf8").trim();
const { good, late } = JSON.parse(readFileSync(0, "utf8"));
mkdirSync(screenshots, { recursive: true });

const ask = (token) => new Promise((answered, failed) => {
  https.get(`${api}/orders/1`, { rejectUnauthorized: false, headers: { host: "api.test", authorization: `Bearer ${token}` } }, (answer) => {
    let body = "";
    answer.on("data", (part) => (body += part)).on("end", () => answered({ status: answer.statusCode, body }));
  }).on("error", failed);
});

const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
const PAGES = ["Overview", "Token doctor", "Refusals", "Issuers", "Revocations", "Routes", "Configuration"];

async function opened(more = {}) {
  const context = await browser.newContext({ acceptDownloads: true, ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const seen = [];
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "blob:") assert.equal(url.origin, admin, `a foreign request: ${request.url()}`);
    seen.push({ url: request.url(), sent: request.postData() ?? "" });
  });
  page.on("pageerror", (error) => { throw error; });
  page.on("console", (message) => {
    // A refused question is told as such by the browser.
    if (message.type() === "error" && !/401|404|422|400/.test(message.text())) throw new Error(message.text());
  });
  return { page, context, seen };
}

async function signIn(page) {
  await page.goto(`${admin}/console/`);
  await page.getByLabel("Admin token").fill(adminToken);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
}

// By keyboard alone.
async function goTo(page, name) {
  const link = page.getByRole("navigation").getByRole("link", { name });
  for (let n = 0; n < 80; n += 1) {
    if (await link.evaluate((node) => node === document.activeElement)) break;
    await page.keyboard.press("Tab");
  }
  assert.ok(await link.evaluate((node) => node === document.activeElement), `${name} is reached by the keyboard`);
  await page.keyboard.press("Enter");
  // The page has the focus, so that a reader begins there.
  await page.waitForFunction((name) => document.activeElement?.matches("h1") && document.activeElement.textContent === name, name);
}

async function accessible(page, name) {
  const { violations } = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
  const told = violations.map((it) => `${it.id}: ${it.help}: ${it.nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(told, [], `${name} is accessible`);
}

// ---- Signing in, every page by keyboard, light and dark, large and small
await ask(good);
for (const token of [late, late, "nonsense"]) await ask(token);
for (const [name, more] of [
  ["light", { colorScheme: "light", viewport: { width: 1360, height: 900 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1360, height: 900 } }],
  ["small", { colorScheme: "light", viewport: { width: 390, height: 800 } }],
]) {
  const { page, context } = await opened(more);
  await page.goto(`${admin}/console/`);
  await accessible(page, `sign in, ${name}`);
  await page.screenshot({ path: `${screenshots}/${name}-sign-in.png` });
  await page.getByLabel("Admin token").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("That is not the admin token.").waitFor();
  await signIn(page);
  for (const title of PAGES) {
    await goTo(page, title);
    if (title === "Token doctor") {
      await page.getByLabel(/^Token/).fill(late);
      await page.getByRole("button", { name: "Ask the gateway" }).click();
      await page.getByText("401 token_expired").waitFor();
    }
    if (title === "Routes") {
      await page.getByLabel("URL").fill("https://api.test/orders/1");
      await page.keyboard.press("Enter");
      await page.getByText("Try a token on this route").waitFor();
    }
    await accessible(page, `${title}, ${name}`);
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= room, `${title}, ${name}, fits: ${wide} in ${room}`);
    await page.screenshot({ path: `${screenshots}/${name}-${title.toLowerCase().replace(" ", "-")}.png`, fullPage: true });
  }
  await context.close();
}

// ---- A pasted token stays here until the gateway is asked
{
  const { page, context, seen } = await opened();
  await signIn(page);
  await goTo(page, "Token doctor");
  const holds = () => seen.filter((request) => `${request.url} ${request.sent}`.includes(good.split(".")[1]));
  await page.getByLabel(/^Token/).fill(`Authorization: Bearer ${good}`);
  await page.getByText("alice").first().waitFor();
  await page.getByRole("img", { name: /issued .* expires in/ }).waitFor();
  await page.waitForTimeout(300);
  assert.equal(holds().length, 0, "the token has left the browser");
  await page.getByRole("button", { name: "Ask the gateway" }).click();
  await page.getByText("This token passes").waitFor();
  assert.deepEqual(holds().map((request) => new URL(request.url).pathname), ["/api/v1/tokens/explain"]);
  assert.equal(await page.getByRole("list", { name: "Checks" }).getByRole("listitem").count(), 9);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: /Copy a report/ }).click();
  await page.getByText("Copied.").waitFor();
  const report = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(report, /^route orders, GET, .*\nallowed\npassed      credentials/);
  for (const part of good.split(".")) assert.ok(!report.includes(part));
  await page.getByLabel(/^Token/).fill("a.b");
  await page.getByText("It has 2 parts").waitFor();
  await context.close();
}

// ---- Refusals as they come, and their way
{
  const { page, context } = await opened();
  await signIn(page);
  await goTo(page, "Refusals");
  const rows = page.getByRole("region", { name: "Decisions" }).getByRole("row");
  await page.getByRole("button", { name: /token_malformed/ }).first().waitFor();
  const before = await rows.count();
  const id = JSON.parse((await ask(late)).body).instance;
  await page.waitForFunction((count) => document.querySelectorAll("tbody tr").length > count - 1, before);
  await page.getByRole("button", { name: /Open the decision of .*token_expired/ }).first().focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Decision" });
  await dialog.getByText(id.replace("urn:uuid:", "")).waitFor();
  await dialog.getByText(/Get a new token/).waitFor();
  await accessible(page, "decision");
  await page.screenshot({ path: `${screenshots}/decision.png` });
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await page.getByLabel("Open by the id").fill(id);
  await page.keyboard.press("Enter");
  await dialog.getByText("token_expired").first().waitFor();
  await page.keyboard.press("Escape");
  await page.getByLabel("Reason").selectOption("token_malformed");
  await page.getByText("token_malformed").last().waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll("tbody tr")].every((row) => row.textContent.includes("token_malformed")));
  await context.close();
}

// ---- Revoking, and taking back
{
  const { page, context } = await opened();
  await signIn(page);
  await goTo(page, "Revocations");
  await page.getByLabel("Value").fill("alice");
  await page.getByLabel("Reason").fill("lost laptop");
  await page.getByRole("button", { name: "Revoke", exact: true }).click();
  await page.getByText("Revoked, and on disk.").waitFor();
  assert.equal((await ask(good)).status, 401);
  await page.getByLabel("Search").fill("laptop");
  const row = page.getByRole("row").filter({ hasText: "alice" });
  await row.waitFor();
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export" }).click()]);
  const exported = readFileSync(await file.path(), "utf8");
  assert.match(exported, /alice/);
  page.once("dialog", (dialog) => dialog.accept());
  await row.getByRole("button", { name: /Take back/ }).click();
  await page.getByText("Taken back.").waitFor();
  assert.equal((await ask(good)).status, 200);
  await page.getByLabel("Import a file").setInputFiles({ name: "r.jsonl", mimeType: "application/x-ndjson", buffer: Buffer.from(exported) });
  await page.getByText(/Imported/).waitFor();
  await row.waitFor();
  page.once("dialog", (dialog) => dialog.accept());
  await row.getByRole("button", { name: /Take back/ }).click();
  await page.getByText("Taken back.").waitFor();

  // ---- What counts, without a secret
  await goTo(page, "Configuration");
  await page.getByLabel("Search").fill("orders.path");
  await page.getByText('"/orders/{*rest}"').waitFor();
  assert.ok(!(await page.content()).includes(adminToken));
  await goTo(page, "Issuers");
  await page.getByText("main-1").waitFor();

  // ---- Signing out leaves nothing
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin token").waitFor();
  assert.equal(await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie])), '[{},{},""]');
  await context.close();
}
await browser.close();
console.log("done");
