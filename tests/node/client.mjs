// A web application with a standard client library: `node client.mjs MODULES PROVIDER REVOCATION`.
//
// It signs alice in twice, in two browsers, and writes the two access tokens, one a line. Then it does
// what it is told, a line at a time, and writes `done`: `revoke TOKEN` at the REVOCATION endpoint with
// the library's own call (RFC 7009), `logout N` in one of the browsers.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, provider, revocation] = process.argv.slice(2);
const require = createRequire(resolve(modules) + '/');
const openid = await import(pathToFileURL(require.resolve('openid-client')));
const callback = 'http://127.0.0.1/callback';

const found = await openid.discovery(new URL(provider), 'web', 'test-secret', undefined, {
  execute: [openid.allowInsecureRequests],
});
const config = new openid.Configuration(
  { ...found.serverMetadata(), revocation_endpoint: revocation }, 'web', 'test-secret',
);
openid.allowInsecureRequests(config);

class Browser {
  cookies = new Map();

  async go(url, options = {}) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, {
      ...options, redirect: 'manual', headers: { ...options.headers, cookie },
    });
    for (const line of response.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split(/=(.*)/s);
      this.cookies.set(name, value);
    }
    const location = response.headers.get('location');
    if (!location) return response;
    const next = new URL(location, url);
    return next.href.startsWith(callback) ? next : this.go(next);
  }

  async signIn() {
    const pkceCodeVerifier = openid.randomPKCECodeVerifier();
    const code_challenge = await openid.calculatePKCECodeChallenge(pkceCodeVerifier);
    const back = await this.go(openid.buildAuthorizationUrl(config, {
      redirect_uri: callback, scope: 'openid orders:read', resource: 'https://api.test/rs',
      code_challenge, code_challenge_method: 'S256',
    }));
    const tokens = await openid.authorizationCodeGrant(
      config, back, { pkceCodeVerifier }, { resource: 'https://api.test/rs' },
    );
    return tokens.access_token;
  }

  async signOut() {
    const page = await this.go(`${provider}/session/end`);
    const xsrf = /name="xsrf" value="([^"]*)"/.exec(await page.text())[1];
    const answer = await this.go(`${provider}/session/end/confirm`, {
      method: 'POST', body: new URLSearchParams({ xsrf, logout: 'yes' }),
    });
    if (answer.status >= 400) throw new Error(`signing out: ${answer.status}`);
  }
}

const browsers = [new Browser(), new Browser()];
for (const browser of browsers) console.log(await browser.signIn());
for await (const line of createInterface({ input: process.stdin })) {
  const [what, value] = line.split(' ');
  if (what === 'revoke') await openid.tokenRevocation(config, value);
  if (what === 'logout') await browsers[Number(value)].signOut();
  console.log('done');
}
