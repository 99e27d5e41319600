// A real OpenID provider for the tests: `node provider.mjs MODULES PORT KEYS`.
//
// It issues JWT access tokens over the client-credentials grant, signed with RS256 or ES256 by the
// resource that is asked for, with the keys in the file KEYS; a file that is not there is made.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, port, keys] = process.argv.slice(2);
const require = createRequire(resolve(modules) + '/');
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

if (!existsSync(keys)) {
  const jwk = (type, options, alg) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
    kid: randomUUID(), alg, use: 'sig',
  });
  writeFileSync(keys, JSON.stringify({ keys: [
    jwk('rsa', { modulusLength: 2048 }, 'RS256'),
    jwk('ec', { namedCurve: 'P-256' }, 'ES256'),
  ] }));
}

const client = (client_id, scope) => ({
  client_id, client_secret: 'test-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope,
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: JSON.parse(readFileSync(keys)),
  scopes: ['orders:read', 'orders:write'],
  clients: [client('reader', 'orders:read'), client('stranger', 'orders:write')],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://api.test/rs',
      getResourceServerInfo: (_context, resource) => ({
        audience: 'https://api.test',
        scope: 'orders:read orders:write',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        jwt: { sign: { alg: resource.endsWith('/es') ? 'ES256' : 'RS256' } },
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
