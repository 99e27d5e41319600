// A real OpenID provider for the tests: `node provider.mjs MODULES PORT KEYS ISSUER [LOGOUT]`.
//
// It issues access tokens over the client-credentials grant: by the resource that is asked for they
// are JWTs signed with RS256 or ES256 with the keys in the file KEYS, or opaque. A file that is not
// there is made. ISSUER may be another address than its own: that of a double in front of it. With
// LOGOUT, the back-channel logout URI of the client `web`, everybody is signed in as alice.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, port, keys, issuer, logout] = process.argv.slice(2);
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
const web = logout && {
  ...client('web', 'openid orders:read'),
  grant_types: ['authorization_code'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
  backchannel_logout_uri: logout,
  backchannel_logout_session_required: true,
};
const signIn = !logout ? {} : {
  interactions: { url: (_context, interaction) => `/sign-in/${interaction.uid}` },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  loadExistingGrant: async (context) => {
    const { client: { clientId }, session: { accountId } } = context.oidc;
    const grant = new provider.Grant({ clientId, accountId });
    grant.addOIDCScope('openid orders:read');
    grant.addResourceScope('https://api.test/rs', 'orders:read');
    await grant.save();
    return grant;
  },
  // The session stands in access tokens too, so that the end of one can be told from another's.
  extraTokenClaims: (context) => ({ sid: context.oidc.entities.AuthorizationCode?.sid }),
  // The gateway of a test is on this machine, with a certificate of its own.
  fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
};
const provider = new Provider(issuer, {
  ...signIn,
  jwks: JSON.parse(readFileSync(keys)),
  scopes: ['orders:read', 'orders:write'],
  clients: [
    client('reader', 'orders:read'),
    client('stranger', 'orders:write'),
    client('gateway: basic', ''),
    client('gateway-post', '', { token_endpoint_auth_method: 'client_secret_post' }),
    ...(web ? [web] : []),
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
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
provider.use(async (context, next) => {
  if (!logout || !context.path.startsWith('/sign-in/')) return next();
  const result = { login: { accountId: 'alice' } };
  await provider.interactionFinished(context.req, context.res, result);
  context.respond = false;
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
