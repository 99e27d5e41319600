// A real OpenID provider for the tests: `node provider.mjs MODULES PORT KEYS ISSUER`.
//
// It issues access tokens over the client-credentials grant: by the resource that is asked for they
// are JWTs signed with RS256 or ES256 with the keys in the file KEYS, or opaque. A file that is not
// there is made. ISSUER may be another address than its own: that of a double in front of it.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, port, keys, issuer] = process.argv.slice(2);
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

const client = (client_id, scope, more = {}) => ({
  client_id, client_secret: 'test-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [], ...(scope && { scope }), ...more,
});
const provider = new Provider(issuer, {
  jwks: JSON.parse(readFileSync(keys)),
  scopes: ['orders:read', 'orders:write'],
  clients: [
    client('reader', 'orders:read'),
    client('stranger', 'orders:write'),
    client('gateway: basic', ''),
    client('gateway-post', '', { token_endpoint_auth_method: 'client_secret_post' }),
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://api.test/rs',
      getResourceServerInfo: (_context, resource) => ({
        audience: 'https://api.test',
        scope: 'orders:read orders:write',
        accessTokenTTL: 600,
        ...(resource.endsWith('/opaque') ? { accessTokenFormat: 'opaque' } : {
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: resource.endsWith('/es') ? 'ES256' : 'RS256' } },
        }),
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
