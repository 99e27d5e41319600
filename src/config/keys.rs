//! The one table of the file's keys: place, type, default, and what each does.
//!
//! The reader, did-you-mean, and the docs' key page come from here. In a place, `*` stands for a
//! name that the operator chooses, and `[]` for the elements of a list of tables. A key with
//! `served: false` belongs to a later version and is refused rather than ignored.

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    /// A table whose keys are names.
    Named,
    /// A list of tables.
    Tables,
    Bool,
    Text,
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
    Count {
        least: u64,
        most: u64,
    },
    /// A count, or `"auto"`.
    CountOrAuto {
        least: u64,
        most: u64,
    },
    Duration {
        least_ms: u64,
        most_ms: u64,
    },
    /// A duration, or this word for none.
    DurationOr(&'static str),
    Size {
        least: u64,
        most: u64,
    },
    /// A size, or this word for none.
    SizeOr(&'static str),
    Percent,
    Rate,
    /// A file; relative to the configuration's folder.
    Path,
    Paths,
    /// `{ file = … }`, `{ env = … }` or `{ credential = … }`.
    Secret,
    /// Strings, numbers and truth values.
    Scalars,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) place: &'static str,
    pub(super) kind: Kind,
    /// As it would be written; `None` where leaving the key out means something of its own.
    pub(super) default: Option<&'static str>,
    pub(super) served: bool,
    pub(super) help: &'static str,
}

impl Key {
    /// Its name in its table.
    pub(super) fn name(&self) -> &'static str {
        self.place.rsplit('.').next().unwrap_or_default()
    }
}

const fn key(place: &'static str, kind: Kind, help: &'static str) -> Key {
    Key {
        place,
        kind,
        default: None,
        served: true,
        help,
    }
}

const fn with(place: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key {
        place,
        kind,
        default: Some(default),
        served: true,
        help,
    }
}

const fn later(place: &'static str) -> Key {
    Key {
        place,
        kind: Kind::Table,
        default: None,
        served: false,
        help: "",
    }
}

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

const fn wait(least_ms: u64, most_ms: u64) -> Kind {
    Kind::Duration { least_ms, most_ms }
}

const fn count(least: u64, most: u64) -> Kind {
    Kind::Count { least, most }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const fn bytes(least: u64, most: u64) -> Kind {
    Kind::Size { least, most }
}

/// All keys, in the order of the example file; one a line, however long.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("version", count(1, 1), "The version of this file's form; required."),
    key("include", Kind::Paths, "Files that add listeners, issuers, upstreams and routes; `*` may stand in a file's name."),
    key("server", Kind::Table, "The gateway as a whole."),
    key("server.public_url", Kind::Text, "The origin that clients use; refusals build their URLs from it. Required unless every listener is loopback."),
    key("server.realm", Kind::Text, "The realm of challenges; by default the host of `public_url`."),
    with("server.workers", Kind::CountOrAuto { least: 1, most: 1024, }, "auto", "Threads that serve requests; `auto` is one a core."),
    with("server.drain_delay", wait(0, HOUR), "0s", "From `/readyz` saying no, when a shutdown begins, to not accepting any more: time for a balancer to notice."),
    with("server.drain_timeout", wait(0, HOUR), "20s", "How long a shutdown waits for what runs."),
    with("server.state_dir", Kind::Path, "state", "A writable folder for the admin token and what must survive a restart."),
    key("listeners", Kind::Named, "Where clients connect; at least one."),
    key("listeners.*", Kind::Table, "One listener."),
    key("listeners.*.address", Kind::Text, "IP address and port, `unix:PATH`, or `systemd:NAME`; required."),
    key("listeners.*.protocols", Kind::Texts, "`h2` and `http/1.1`, chosen by ALPN; a clear-text listener takes one, by default http/1.1."),
    with("listeners.*.clear_text", Kind::Bool, "false", "Must be true where there is no `tls`."),
    key("listeners.*.tls", Kind::Table, "TLS of the listener."),
    key("listeners.*.tls.certificates", Kind::Tables, "At least one; chosen by server name, then by expiry."),
    key("listeners.*.tls.certificates[].chain", Kind::Path, "The chain in PEM, the server's own certificate first."),
    key("listeners.*.tls.certificates[].key", Kind::Secret, "The private key in PEM."),
    with("listeners.*.tls.min_version", Kind::Word(&["1.2", "1.3"]), "1.2", "The oldest TLS version."),
    with("listeners.*.tls.client_auth", Kind::Word(&["none", "optional", "required"]), "none", "Whether clients must show a certificate."),
    key("listeners.*.tls.client_ca", Kind::Path, "The roots of clients' certificates, in PEM."),
    key("listeners.*.limits", Kind::Table, "Limits of the listener."),
    with("listeners.*.limits.connections", count(1, 10_000_000), "20000", "Connections at once."),
    with("listeners.*.limits.connections_per_peer", count(1, 10_000_000), "512", "Connections at once from one address (an IPv6 /64)."),
    with("listeners.*.limits.failures_per_peer", Kind::Text, "off", "Refused credentials from one address, as `50/m`; beyond, they get 429. `off`: any number."),
    with("listeners.*.limits.handshake_timeout", wait(100, 60 * SECOND), "5s", "For the TLS handshake."),
    with("listeners.*.limits.header_timeout", wait(100, 10 * 60 * SECOND), "10s", "From a request's first byte to the end of its header."),
    with("listeners.*.limits.idle_timeout", wait(100, DAY), "75s", "Between requests."),
    with("listeners.*.limits.send_timeout", wait(100, DAY), "5m", "While a client takes nothing of an answer."),
    with("listeners.*.limits.body_timeout", wait(100, HOUR), "30s", "Between bytes of a request's body."),
    with("listeners.*.limits.header_bytes", bytes(KIB, MIB), "32KiB", "Of a header section, which may have 100 fields."),
    with("listeners.*.limits.target_bytes", bytes(64, 63 * KIB), "8KiB", "Of a request target."),
    with("listeners.*.limits.token_bytes", bytes(64, MIB), "8KiB", "Of a token."),
    with("listeners.*.limits.body_bytes", Kind::SizeOr("unlimited"), "10MiB", "Of a request's body."),
    with("listeners.*.limits.streams", count(1, 10_000), "200", "HTTP/2 streams at once on a connection."),
    key("listeners.*.trusted_proxies", Kind::Texts, "Networks whose `X-Forwarded-*` and `Forwarded` are believed and continued; they are exempt from `connections_per_peer`."),
    with("listeners.*.proxy_protocol", Kind::Word(&["off", "required"]), "off", "Whether each connection begins with a PROXY protocol header, version 1 or 2."),
    with("listeners.*.redirect_to_https", Kind::Bool, "false", "A listener in clear text that only leads to https, with 308; no route is served there."),
    key("issuers", Kind::Named, "Who signs tokens; at least one unless every route is open."),
    key("issuers.*", Kind::Table, "One issuer."),
    key("issuers.*.issuer", Kind::Text, "Equals `iss` byte for byte; required."),
    key("issuers.*.audiences", Kind::Texts, "`aud` must hold one of them; required."),
    key("issuers.*.algorithms", Kind::Texts, "Accepted signature algorithms; required where tokens are JWTs."),
    with("issuers.*.discovery", Kind::Bool, "false", "Find the JWK set by OpenID discovery or RFC 8414."),
    key("issuers.*.jwks_url", Kind::Text, "The URL of the JWK set."),
    key("issuers.*.jwks_file", Kind::Path, "A file with the JWK set; it is watched."),
    key("issuers.*.keys", Kind::Paths, "Files with public keys in PEM."),
    key("issuers.*.secret", Kind::Secret, "A shared secret for HS256, HS384 or HS512."),
    key("issuers.*.token_types", Kind::Texts, "Accepted `typ`, by default `at+jwt`; `JWT` stands for tokens without one too."),
    with("issuers.*.leeway", wait(0, 5 * 60 * SECOND), "30s", "For the clocks of others."),
    with("issuers.*.lifetime_max", Kind::DurationOr("unlimited"), "24h", "The longest `exp` less `iat`; with `introspection` by default unlimited."),
    with("issuers.*.age_max", Kind::DurationOr("unlimited"), "24h", "The longest time since `iat`; with `introspection` by default unlimited."),
    key("issuers.*.require", Kind::Texts, "Claims that must be there beyond `exp`, by default `sub`."),
    key("issuers.*.scope_claims", Kind::Texts, "Claims that hold scopes; the first that is present counts. By default `scope`, `scp`."),
    key("issuers.*.renewal", Kind::Table, "What refusals say of getting a new token."),
    key("issuers.*.renewal.token_endpoint", Kind::Text, "The issuer's token endpoint."),
    key("issuers.*.renewal.hint", Kind::Text, "A sentence for developers."),
    key("issuers.*.jwks", Kind::Table, "Fetching of the JWK set."),
    with("issuers.*.jwks.load", Kind::Word(&["at_start", "on_demand"]), "at_start", "When the first set is fetched: `on_demand` waits for the first token of the issuer."),
    with("issuers.*.jwks.refresh", wait(SECOND, DAY), "10m", "Fetched again in the background before this; the provider's Cache-Control may ask for sooner."),
    with("issuers.*.jwks.stale_max", wait(SECOND, 30 * DAY), "24h", "The last good set serves this long after the provider last confirmed it, over restarts too."),
    with("issuers.*.jwks.unknown_kid_gap", wait(SECOND, HOUR), "30s", "One fetch for unknown key ids in this time, two in hand; and the soonest that Cache-Control may ask for."),
    with("issuers.*.jwks.timeout", wait(100, 30 * SECOND), "3s", "For one fetch."),
    with("issuers.*.jwks.bytes_max", bytes(KIB, 16 * MIB), "256KiB", "Of one document."),
    key("issuers.*.jwks.ca", Kind::Path, "Roots in PEM, in place of the system's."),
    with("issuers.*.jwks.allow_http_loopback", Kind::Bool, "false", "Allow http to loopback addresses, for development."),
    key("issuers.*.jwks.proxy", Kind::Text, "An HTTP proxy, as `http://host:port`, that takes CONNECT; the environment's is never asked."),
    key("issuers.*.introspection", Kind::Table, "The issuer's tokens are opaque: it is asked about each (RFC 7662)."),
    key("issuers.*.introspection.endpoint", Kind::Text, "The URL of the introspection endpoint; required."),
    key("issuers.*.introspection.client_id", Kind::Text, "Who the gateway is to the issuer; required."),
    key("issuers.*.introspection.client_secret", Kind::Secret, "Its secret there; required."),
    with("issuers.*.introspection.client_auth", Kind::Word(&["client_secret_basic", "client_secret_post"]), "client_secret_basic", "How the secret is shown: in the Authorization header, or in the form."),
    with("issuers.*.introspection.cache_max", wait(0, HOUR), "30s", "An answer counts this long, never past the token's `exp`; a revocation at the issuer may take as long to be seen."),
    with("issuers.*.introspection.timeout", wait(100, 30 * SECOND), "3s", "For one question."),
    with("issuers.*.introspection.bytes_max", bytes(KIB, 16 * MIB), "64KiB", "Of one answer."),
    key("issuers.*.introspection.ca", Kind::Path, "Roots in PEM, in place of the system's."),
    with("issuers.*.introspection.allow_http_loopback", Kind::Bool, "false", "Allow http to loopback addresses, for development."),
    key("issuers.*.introspection.proxy", Kind::Text, "An HTTP proxy, as `http://host:port`, that takes CONNECT; the environment's is never asked."),
    key("issuers.*.backchannel_logout", Kind::Table, "Logout tokens of the issuer are taken, at /.well-known/bearward/backchannel-logout (OpenID Connect Back-Channel Logout)."),
    key("issuers.*.backchannel_logout.client_ids", Kind::Texts, "The clients for which they are made: `aud` must hold one of them; required."),
    with("issuers.*.backchannel_logout.ends", Kind::Word(&["session", "subject"]), "session", "What one ends: the session that it names, where it names one; or all tokens of its subject up to then."),
    key("issuers.*.security_events", Kind::Table, "Security events of the issuer are taken, at /.well-known/bearward/security-events (OpenID Shared Signals, RFC 8935)."),
    key("issuers.*.security_events.audiences", Kind::Texts, "`aud` must hold one of them; required."),
    key("issuers.*.security_events.speaks_for", Kind::Texts, "Names of the issuers whose tokens its events may end, by default itself."),
    key("upstreams", Kind::Named, "The services behind the gateway; at least one."),
    key("upstreams.*", Kind::Table, "One upstream."),
    key("upstreams.*.servers", Kind::Texts, "Its servers, as `http://host:port` or, all of them, `https://host:port`; required."),
    with("upstreams.*.protocol", Kind::Word(&["http/1.1", "h2", "auto"]), "http/1.1", "What the servers speak; `auto` is settled by TLS. gRPC needs `h2`."),
    with("upstreams.*.host", Kind::Word(&["client", "upstream"]), "client", "Which `Host` the server sees: what the client asked for, or its own."),
    with("upstreams.*.balance", Kind::Word(&["round_robin", "least_requests", "hash"]), "least_requests", "How one of several is chosen: in turn; of two at random the one with fewer requests; or the same for the same value of `hash_on`."),
    key("upstreams.*.hash_on", Kind::Text, "What `hash` is of: `claim:NAME` or `header:NAME`."),
    with("upstreams.*.connect_timeout", wait(10, 60 * SECOND), "2s", "For a connection, or for one to come free."),
    with("upstreams.*.response_timeout", wait(10, HOUR), "30s", "From the end of the request to the response's header."),
    with("upstreams.*.body_timeout", wait(10, DAY), "60s", "Between bytes of a response's body; event streams, gRPC and upgrades may be quiet for longer."),
    with("upstreams.*.idle_timeout", wait(100, HOUR), "55s", "Of a kept connection; below the server's own."),
    with("upstreams.*.connection_age_max", wait(SECOND, DAY), "5m", "Of a connection."),
    with("upstreams.*.connections", count(1, 1_000_000), "256", "To each server, over all workers."),
    with("upstreams.*.retries", count(0, 3), "1", "On another server where nothing was sent, or where a request with a safe method and without a body got no answer; within a budget of one in five requests."),
    key("upstreams.*.health", Kind::Table, "Servers are asked whether they are well; beside that, five failures in a row put one aside for 10 s, and longer each time."),
    key("upstreams.*.health.path", Kind::Text, "A GET of it must be answered with a status below 400; required."),
    with("upstreams.*.health.interval", wait(100, HOUR), "5s", "Between two questions."),
    with("upstreams.*.health.timeout", wait(10, 60 * SECOND), "2s", "For one answer."),
    with("upstreams.*.health.unhealthy_after", count(1, 100), "3", "Bad answers in a row."),
    with("upstreams.*.health.healthy_after", count(1, 100), "2", "Good answers in a row."),
    key("upstreams.*.tls", Kind::Table, "TLS to servers with `https`."),
    key("upstreams.*.tls.ca", Kind::Path, "Roots in PEM, in place of the system's."),
    key("upstreams.*.tls.server_name", Kind::Text, "Whom the certificates must name, by default the host of each server."),
    key("upstreams.*.tls.client_certificate", Kind::Table, "Who the gateway is to the servers."),
    key("upstreams.*.tls.client_certificate.chain", Kind::Path, "The chain in PEM, its own certificate first; required."),
    key("upstreams.*.tls.client_certificate.key", Kind::Secret, "The private key in PEM; required."),
    key("routes", Kind::Named, "What is protected; at least one."),
    key("routes.*", Kind::Table, "One route."),
    key("routes.*.listeners", Kind::Texts, "The listeners that serve it, by default all."),
    key("routes.*.hosts", Kind::Texts, "Its hosts, by default all that the certificates cover."),
    key("routes.*.path", Kind::Text, "A literal path; a last segment `{*rest}` stands for any rest. Required."),
    key("routes.*.upstream", Kind::Text, "The name of its upstream; required."),
    with("routes.*.auth", Kind::Word(&["required", "none", "report"]), "required", "`none` lets anybody in; `report` lets everything pass, and counts and lists what it would have refused."),
    key("routes.*.issuers", Kind::Texts, "Names of the issuers that it trusts; required unless `auth` is `none`."),
    key("routes.*.audiences", Kind::Texts, "Narrows the audiences of its issuers."),
    key("routes.*.token_from", Kind::Texts, "Where the token is: `header` (the default), `query:NAME`, `cookie:NAME`, `websocket_protocol` (`bearer`, then the token); exactly one of them."),
    with("routes.*.authorization", Kind::Word(&["forward", "strip"]), "forward", "What happens to the Authorization header."),
    with("routes.*.disclosure", Kind::Word(&["full", "reason", "minimal"]), "full", "How much a refusal tells."),
    key("routes.*.upgrades", Kind::Texts, "Protocols that a connection may be upgraded to, by default `websocket` alone."),
    with("routes.*.end_streams", Kind::Bool, "true", "What stays open ends with its token: all when it is revoked, event streams, gRPC calls and upgraded connections also when it expires."),
    with("routes.*.token_expires_in", Kind::Bool, "false", "Whether responses say how many seconds the token still lives, as `Bearward-Token-Expires-In`."),
    with("routes.*.revocations_required", Kind::Bool, "false", "Refuse with 503 while the list of revocations may lack some."),
    with("routes.*.encoded_slashes", Kind::Word(&["refuse", "allow"]), "refuse", "Whether `%2F` may stand in the path."),
    key("routes.*.strip_prefix", Kind::Text, "Whole segments that are taken off the front of the path before it is sent on."),
    key("routes.*.cors", Kind::Table, "Cross-origin rules; preflights are answered by Bearward."),
    key("routes.*.cors.origins", Kind::Texts, "Allowed origins, or `*`; required."),
    key("routes.*.cors.methods", Kind::Texts, "Allowed methods, by default GET, HEAD and POST."),
    key("routes.*.cors.headers", Kind::Texts, "Allowed request headers, by default `authorization`."),
    key("routes.*.cors.expose", Kind::Texts, "Response headers that a page may read, beside those of refusals."),
    with("routes.*.cors.credentials", Kind::Bool, "false", "Whether cookies may be sent."),
    with("routes.*.cors.max_age", wait(0, DAY), "10m", "How long a browser may keep the answer."),
    key("routes.*.limit", Kind::Table, "How often the route may be used; beyond, 429."),
    key("routes.*.limit.per", Kind::Word(&["subject", "client", "peer", "route"]), "By whom it is counted; required. A token without the claim counts by its address."),
    key("routes.*.limit.rate", Kind::Text, "So many, as `100/s`, `50/m` or `10/h`; required."),
    key("routes.*.limit.burst", count(1, 1_000_000), "So many at once; by default as many as the rate has."),
    key("routes.*.response_headers", Kind::Table, "What responses get and lose."),
    key("routes.*.response_headers.set", Kind::Named, "Fields that responses get; refusals too, where they do not say them."),
    key("routes.*.response_headers.set.*", Kind::Text, "The value of the field."),
    key("routes.*.response_headers.remove", Kind::Texts, "Fields that the upstream's responses lose."),
    key("routes.*.rules", Kind::Tables, "Demands by method; the first that matches decides, none is 405."),
    key("routes.*.internal_token", Kind::Text, "The audience of a token of Bearward's own that the upstream gets in place of the caller's."),
    key("routes.*.rules[].methods", Kind::Texts, "Methods of the rule; GET covers HEAD. By default any."),
    key("routes.*.rules[].scopes_all", Kind::Texts, "Scopes that the token must all have."),
    key("routes.*.rules[].scopes_any", Kind::Texts, "Scopes of which the token must have one."),
    key("routes.*.rules[].client_certificates", Kind::Texts, "SHA-256 fingerprints of client certificates, of which the connection must have shown one."),
    with("routes.*.rules[].certificate_bound", Kind::Bool, "false", "Whether the token must be bound to the client certificate of the connection (RFC 8705)."),
    key("routes.*.rules[].claims", Kind::Named, "Claims by name or RFC 6901 pointer, each with its allowed values."),
    key("routes.*.rules[].claims.*", Kind::Scalars, "Allowed values of the claim."),
    key("routes.*.identity", Kind::Named, "Headers that tell the upstream who calls."),
    key("routes.*.identity.*", Kind::Text, "The claim that the header carries."),
    key("internal_token", Kind::Table, "Tokens of Bearward's own for upstreams, whose keys are published under /.well-known/bearward/jwks.json."),
    key("internal_token.issuer", Kind::Text, "Their `iss`; by default `server.public_url`."),
    key("internal_token.key", Kind::Secret, "The private key that signs them, in PKCS #8 PEM; required."),
    key("internal_token.previous", Kind::Secret, "The key that signed before: published still, while such tokens are about."),
    with("internal_token.lifetime", wait(10_000, HOUR), "60s", "How long they are good, and never longer than the caller's token."),
    key("internal_token.claims", Kind::Texts, "Claims of the caller's token that are copied."),
    key("cache", Kind::Table, "The cache of verified signatures."),
    with("cache.entries", count(1, 100_000_000), "100000", "Tokens that are remembered."),
    with("cache.bytes", bytes(64 * KIB, 64 * GIB), "64MiB", "Bytes that they may take."),
    with("cache.bad_entries", count(1, 10_000_000), "10000", "Tokens with bad signatures that are remembered."),
    with("cache.bad_lifetime", Kind::DurationOr("off"), "5s", "And how long."),
    key("revocation", Kind::Table, "The list of revocations."),
    with("revocation.store", Kind::Word(&["state", "memory"]), "state", "`state` keeps it in `state_dir`, synced before an answer; `memory` loses it with the process."),
    with("revocation.staleness_max", wait(3 * SECOND, DAY), "30s", "How long the feed may be silent before routes with `revocations_required` refuse with 503."),
    key("revocation.feed", Kind::Table, "The list is shared with other replicas, by a stream of a Redis or Valkey server."),
    key("revocation.feed.url", Kind::Secret, "`rediss://USER:PASSWORD@HOST:PORT/DATABASE`, or `redis://` in clear text; required."),
    with("revocation.feed.stream", Kind::Text, "bearward:revocations", "The key of the stream: the replicas of one list have the same."),
    key("revocation.feed.ca", Kind::Path, "Roots in PEM, in place of the system's."),
    key("revocation.watch", Kind::Path, "A file with revocations as JSON lines, looked at once a second; it may come later."),
    key("endpoints", Kind::Table, "What Bearward answers on the public listeners."),
    with("endpoints.check", Kind::Bool, "false", "Whoever holds a token may ask what it is good for, at /.well-known/bearward/check?route=NAME."),
    with("endpoints.revoke", Kind::Bool, "false", "Whoever holds a token may revoke it, at /.well-known/bearward/revoke (RFC 7009)."),
    with("endpoints.problems", Kind::Bool, "true", "The help pages of the reasons."),
    with("endpoints.resource_metadata", Kind::Bool, "true", "What a client needs to get a token for a route, at /.well-known/oauth-protected-resource (RFC 9728)."),
    key("admin", Kind::Table, "The admin listener."),
    with("admin.address", Kind::Text, "127.0.0.1:9180", "A loopback address and port, or `unix:PATH`."),
    key("admin.token", Kind::Secret, "The admin token; by default made in `state_dir`."),
    with("admin.console", Kind::Bool, "true", "The console, at /console/ of the admin listener."),
    later("admin.tls"),
    key("admin.allowed_hosts", Kind::Texts, "Hosts by which it may be asked, by default localhost, 127.0.0.1 and [::1]."),
    key("probes", Kind::Table, "A listener with health and metrics alone."),
    key("probes.address", Kind::Text, "Any address and port, or `unix:PATH`; clear text, no token."),
    key("metrics", Kind::Table, "Metrics."),
    with("metrics.routes", Kind::Word(&["names", "other"]), "names", "Whether routes are labels by name."),
    key("log", Kind::Table, "The operator's log, on standard error."),
    with("log.format", Kind::Word(&["auto", "readable", "json"]), "auto", "`auto` is readable on a terminal, JSON otherwise."),
    with("log.level", Kind::Word(&["error", "warn", "info", "debug", "trace"]), "info", "The least important lines that are written."),
    key("audit", Kind::Table, "The audit line, which is also the access line."),
    with("audit.output", Kind::Word(&["stdout", "file", "off"]), "stdout", "Where it goes."),
    key("audit.file", Kind::Path, "The file, with `output = \"file\"`; opened anew at SIGHUP and SIGUSR1."),
    with("audit.chain", Kind::Bool, "false", "Whether each line of the file carries the hash of the one before."),
    with("audit.allow", Kind::Percent, "1%", "The share of allowed requests that are written."),
    with("audit.deny_rate", Kind::Rate, "1000/s", "Refusals that are written, at most."),
    with("audit.subject", Kind::Word(&["hash", "plain", "off"]), "hash", "How subjects and token ids are written."),
    key("tracing", Kind::Table, "Traces, by OpenTelemetry."),
    with("tracing.otlp", Kind::Text, "off", "A collector's URL (OTLP over HTTP, in JSON), such as `http://127.0.0.1:4318`; or `off`."),
    with("tracing.sample", Kind::Percent, "1%", "The share of traces that are sampled, where no trusted proxy has decided."),
    key("tracing.ca", Kind::Path, "Roots in PEM for the collector, in place of the system's."),
];

/// The key at a place.
pub(super) fn find(place: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.place == place)
}

/// The keys directly below a place that are served, by their last name.
pub(super) fn below(place: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(|key| key.served).filter_map(move |key| {
        let name = if place.is_empty() {
            key.place
        } else {
            key.place.strip_prefix(place)?.strip_prefix('.')?
        };
        (!name.contains(['.', '*', '['])).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example file explains every key that is served, with its default where it has one.
    #[test]
    fn the_example_has_every_key() {
        let example = include_str!("../../config/bearward.toml");
        let words = |text: &str| -> Vec<String> {
            text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .map(str::to_owned)
                .collect()
        };
        let example = words(example);
        for key in KEYS.iter().filter(|key| key.served) {
            let name = key.name();
            assert!(!key.help.is_empty(), "{}", key.place);
            if name != "*" {
                assert!(example.iter().any(|word| word == name), "{}", key.place);
            }
        }
    }

    #[test]
    fn places_are_there_once_and_below_a_table() {
        for (index, key) in KEYS.iter().enumerate() {
            let again = KEYS
                .iter()
                .skip(index + 1)
                .any(|other| other.place == key.place);
            assert!(!again, "{}", key.place);
            if let Some((above, _)) = key.place.rsplit_once('.') {
                assert!(
                    find(above.trim_end_matches("[]")).is_some(),
                    "{}",
                    key.place
                );
            }
        }
    }
}
