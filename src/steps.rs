//! The steps of a verdict one by one, over a world made for them: what `benches/steps` measures.
//!
//! Only there with the feature `bench`. Nothing here is on a request's way.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Uri};
use serde_json::json;

use crate::authenticate::{self, Ask, Caller, Credential, Notes, Principal, TokenCache, steps};
use crate::authorize::{ClientCertificate, authorize};
use crate::clock::{Clock, SystemClock, UnixTime};
use crate::config;
use crate::control::{self, SavedKeys};
use crate::keys::Lookup;
use crate::oauth::Algorithm;
use crate::policy::{IssuerId, ListenerId, Policy, Route};
use crate::revocation::Revocations;
use crate::signing::SigningKey;

/// How much there is beside what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Issuers, each with a key of its own name.
    pub issuers: usize,
    /// Routes.
    pub routes: usize,
    /// Tokens in the cache.
    pub tokens: usize,
}

impl World {
    /// One of each.
    pub const SMALL: Self = Self {
        issuers: 1,
        routes: 1,
        tokens: 1,
    };
    /// As much as anybody will have.
    pub const LARGE: Self = Self {
        issuers: 2_000,
        routes: 10_000,
        tokens: 100_000,
    };
}

/// A good token with everything that it is judged by.
#[derive(Debug)]
pub struct Steps {
    policy: Policy,
    route: Arc<Route>,
    path: String,
    cache: TokenCache,
    revocations: Revocations,
    headers: HeaderMap,
    uri: Uri,
    token: String,
    digest: [u8; 32],
    alg: Algorithm,
    signed: Vec<u8>,
    signature: Vec<u8>,
    principal: Principal,
    now: UnixTime,
}

const ISSUER: &str = "https://login.test/";
const AUDIENCE: &str = "https://api.test";

/// The configuration of a world.
fn configuration(world: World, alg: &str) -> String {
    let mut text = format!(
        "version = 1\n[listeners.public]\naddress = \"127.0.0.1:0\"\nclear_text = true\n\
         [cache]\nentries = {}\nbytes = \"512MiB\"\n\
         [upstreams.api]\nservers = [\"http://127.0.0.1:1\"]\n",
        world.tokens + 10
    );
    for index in 0..world.issuers {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "[issuers.i{index}]\nissuer = \"{ISSUER}{index}\"\naudiences = [\"{AUDIENCE}\"]\n\
             algorithms = [\"{alg}\"]\njwks_file = \"keys.json\"\n"
        );
    }
    for index in 0..world.routes {
        let _ = write!(
            text,
            "[routes.r{index}]\npath = \"/r{index}/{{*rest}}\"\nupstream = \"api\"\n\
             issuers = [\"i0\"]\n[[routes.r{index}.rules]]\nmethods = [\"GET\"]\nscopes_all = [\"orders:read\"]\n"
        );
    }
    text
}

impl Steps {
    /// A world, and a token of `alg` (as in JWA) in it.
    ///
    /// # Errors
    /// There is no such algorithm, or no room for the world.
    pub fn new(alg: &str, world: World) -> anyhow::Result<Self> {
        let key = SigningKey::generate(alg, Some("main-1"))?;
        let folder = tempfile::tempdir()?;
        let keys = json!({ "keys": [key.jwk()] });
        std::fs::write(folder.path().join("keys.json"), keys.to_string())?;
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, configuration(world, alg))?;
        let (policy, limits) = read(&file)?;
        let now = SystemClock.now();
        let path = format!("/r{}/orders/1", world.routes - 1);
        let route = policy.routes().find(ListenerId(0), "api.test", &path);
        let route = Arc::clone(route.ok_or_else(|| anyhow::anyhow!("no route"))?);
        let sign = |number: usize| {
            let claims = json!({
                "iss": format!("{ISSUER}0"), "aud": AUDIENCE, "sub": format!("user-{number}"),
                "jti": format!("token-{number}"), "client_id": "app",
                "scope": "orders:read orders:write profile email",
                "iat": now.secs(), "exp": now.secs() + 36_000,
            });
            key.sign(Some("at+jwt"), &claims)
        };
        let cache = TokenCache::new(limits);
        let revocations = Revocations::in_memory()?;
        let token = sign(0)?;
        let mut principal = None;
        for number in 0..world.tokens {
            let token = sign(number)?;
            let ask = Ask {
                policy: &policy,
                route: &route,
                revocations: &revocations,
                now,
                token: token.as_bytes(),
                token_bytes_max: usize::MAX,
            };
            let judged = authenticate::judge(&ask, Some(&cache), &mut Notes::default());
            principal = judged.ok().or(principal);
        }
        let (signed, signature) =
            steps::parse(token.as_bytes()).ok_or_else(|| anyhow::anyhow!("no token"))?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
        let mut made = Self {
            signed: signed.to_vec(),
            signature,
            digest: steps::digest(token.as_bytes()),
            alg: Algorithm::parse(alg).ok_or_else(|| anyhow::anyhow!("no algorithm"))?,
            policy,
            route,
            path: path.clone(),
            cache,
            revocations,
            headers,
            uri: path.parse()?,
            token,
            principal: principal.ok_or_else(|| anyhow::anyhow!("no good token"))?,
            now,
        };
        // Those of elliptic curves differ each time.
        if !made.hot() {
            return Err(anyhow::anyhow!("the token is not good"));
        }
        made.principal = made
            .judged(true)
            .ok_or_else(|| anyhow::anyhow!("no caller"))?;
        Ok(made)
    }

    /// Finds the one credential in a request's fields.
    #[must_use]
    pub fn extract(&self) -> bool {
        authenticate::found(self.credential(), &self.route).is_ok()
    }

    /// The token's digest, which is its key in the cache.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        steps::digest(self.token.as_bytes())
    }

    /// Asks the cache.
    #[must_use]
    pub fn look_up(&self) -> bool {
        steps::look_up(&self.cache, self.digest)
    }

    /// Takes the token apart.
    #[must_use]
    pub fn parse(&self) -> bool {
        steps::parse(self.token.as_bytes()).is_some()
    }

    /// Checks the signature.
    #[must_use]
    pub fn verify(&self) -> bool {
        let keys = self.policy.issuer(IssuerId(0)).map(|issuer| issuer.keys());
        let set = keys.as_ref().and_then(|keys| keys.set.as_ref());
        set.is_some_and(|set| match set.find(Some("main-1"), self.alg) {
            Lookup::Found(verifier) => verifier.verify(&self.signed, &self.signature),
            _ => false,
        })
    }

    /// Checks the claims.
    #[must_use]
    pub fn claims(&self) -> bool {
        steps::claims(&self.principal, &self.policy, &self.route, self.now)
    }

    /// Compares scopes with what the route demands.
    #[must_use]
    pub fn authorize(&self) -> bool {
        self.permits(self.principal.clone())
    }

    /// Finds the route.
    #[must_use]
    pub fn route(&self) -> bool {
        let routes = self.policy.routes();
        routes.find(ListenerId(0), "api.test", &self.path).is_some()
    }

    /// All of it for a token that was seen before.
    #[must_use]
    pub fn hot(&self) -> bool {
        self.route() && self.judged(true).is_some_and(|it| self.permits(it))
    }

    /// All of it for a token that was not.
    #[must_use]
    pub fn cold(&self) -> bool {
        self.route() && self.judged(false).is_some_and(|it| self.permits(it))
    }

    const fn credential(&self) -> Credential<'_> {
        Credential::Of {
            uri: &self.uri,
            headers: &self.headers,
        }
    }

    fn judged(&self, cached: bool) -> Option<Principal> {
        let token = authenticate::found(self.credential(), &self.route).ok()?;
        let ask = Ask {
            policy: &self.policy,
            route: &self.route,
            revocations: &self.revocations,
            now: self.now,
            token: &token,
            token_bytes_max: usize::MAX,
        };
        let cache = cached.then_some(&self.cache);
        authenticate::judge(&ask, cache, &mut Notes::default()).ok()
    }

    fn permits(&self, principal: Principal) -> bool {
        let rule = self.route.rule(&Method::GET);
        let rule = rule.and_then(|rule| self.route.rules.get(rule));
        let caller = Caller::Authenticated(principal);
        rule.is_some_and(|rule| {
            authorize(
                caller,
                &rule.requirement,
                &self.policy,
                ClientCertificate::Unknown,
            )
            .is_ok()
        })
    }
}

/// The policy of a configuration, and the limits of its cache.
fn read(file: &Path) -> anyhow::Result<(Policy, authenticate::CacheLimits)> {
    let (config, report) = config::load(file);
    let mut config = config.ok_or_else(|| anyhow::anyhow!(report.pretty()))?;
    let saved = SavedKeys::of(&config.fixed.state_dir);
    let issuers = std::mem::take(&mut config.issuers);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (issuers, _) = control::issuers(issuers, &saved, &clock, &[])?;
    let policy = control::policy(&config, config.listeners.len(), &issuers);
    Ok((policy, config.fixed.cache))
}
