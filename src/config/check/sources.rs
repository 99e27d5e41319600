//! How an issuer's tokens are verified: exactly one source of keys, or introspection.

use std::sync::Arc;
use std::time::Duration;

use super::fetching::{check_url, fetch, size};
use super::issuers::span_of;
use super::{Checker, with_defaults};
use crate::config::node::{Node, Span, Value};
use crate::config::settings::{
    ClientAuth, FreshnessSettings, IntrospectionSettings, JwksSettings, KeyFileSettings,
    KeySourceSettings,
};
use crate::keys::{KeySet, VerificationKey, jwks, pem};
use crate::oauth::AlgorithmSet;

const SOURCES: [&str; 6] = [
    "discovery",
    "jwks_url",
    "jwks_file",
    "keys",
    "secret",
    "introspection",
];
/// Keys of an issuer that say something about JWTs alone.
const OF_JWTS: [&str; 2] = ["algorithms", "token_types"];
/// Keys of `jwks` that say something about a file too.
const OF_FILES: [&str; 3] = ["refresh", "unknown_kid_gap", "bytes_max"];

/// Exactly one source of keys, or introspection.
pub(super) fn source(
    node: &Node,
    what: &str,
    algorithms: AlgorithmSet,
    identifier: Option<&(String, Span)>,
    checker: &mut Checker<'_>,
) -> Option<KeySourceSettings> {
    let given: Vec<_> = SOURCES
        .into_iter()
        .filter(|name| match node.value(name) {
            Some((Value::Bool(on), _)) => *on,
            other => other.is_some() || node.table(name).is_some(),
        })
        .collect();
    if SOURCES.iter().any(|name| node.is_faulty(name)) {
        return None;
    }
    let [source] = *given else {
        let found = if given.is_empty() {
            "none".to_owned()
        } else {
            given.join(", ")
        };
        let (span, help) = match given.last() {
            Some(last) => (span_of(node, last), "keep one of them"),
            None => (
                node.span.clone(),
                "`bearward issuer probe URL` shows what a provider offers",
            ),
        };
        checker.error_help(
            "BW0106",
            format!(
                "{what} needs exactly one source of keys ({}), found: {found}",
                SOURCES.join(", ")
            ),
            &span,
            help,
        );
        // What is wrong with each is told all the same.
        for source in given {
            let _ = built(source, node, what, algorithms, identifier, checker);
        }
        return None;
    };
    without_effect(node, what, source, checker);
    built(source, node, what, algorithms, identifier, checker)
}

fn built(
    source: &str,
    node: &Node,
    what: &str,
    algorithms: AlgorithmSet,
    identifier: Option<&(String, Span)>,
    checker: &mut Checker<'_>,
) -> Option<KeySourceSettings> {
    if source == "introspection" {
        return introspection(node, what, checker).map(KeySourceSettings::Introspection);
    }
    let span = span_of(node, source);
    let mixed = algorithms
        .iter()
        .any(|alg| alg.is_hmac() != (source == "secret"));
    if mixed {
        checker.error_help(
            "BW0106",
            format!("{what}: HS algorithms go with `secret` and with nothing else (RFC 8725 section 3.1)"),
            &span,
            "a public key must never be taken for a shared secret",
        );
        return None;
    }
    if algorithms.is_empty() {
        return None;
    }
    match source {
        "secret" => {
            let (secret, span) = checker.secret(node, "secret")?;
            match VerificationKey::shared(algorithms, &secret) {
                Ok(key) => Some(fixed(vec![key])),
                Err(weak) => {
                    let message = format!("{what}: {weak} (RFC 7518 section 3.2)");
                    checker.error("BW0108", message, &span);
                    None
                }
            }
        }
        "jwks_file" => key_file(node, what, algorithms, checker).map(KeySourceSettings::File),
        "keys" => pem_keys(node, what, algorithms, checker),
        "jwks_url" => {
            let settings = jwks_settings(node, what, checker)?;
            let url = node.text("jwks_url")?;
            check_url(
                &url,
                &settings.fetch,
                "jwks",
                what,
                "jwks_url",
                &span,
                checker,
            );
            Some(KeySourceSettings::Url(url, settings))
        }
        _ => {
            let settings = jwks_settings(node, what, checker)?;
            let (url, span) = identifier?;
            check_url(url, &settings.fetch, "jwks", what, "issuer", span, checker);
            Some(KeySourceSettings::Discovery(settings))
        }
    }
}

/// A key that says nothing about this source was written by somebody who believes that it does.
fn without_effect(node: &Node, what: &str, source: &str, checker: &mut Checker<'_>) {
    let mut idle = |name: String, span: &Span| {
        let message = format!("`{name}` of {what} has no effect beside `{source}`");
        checker.error_help("BW0106", message, span, "take it out");
    };
    if source == "introspection" {
        for name in OF_JWTS {
            if let Some((_, span)) = node.value(name) {
                idle(name.to_owned(), span);
            }
        }
    }
    let Some(jwks) = node.table("jwks") else {
        return;
    };
    match source {
        "discovery" | "jwks_url" => {}
        "jwks_file" => {
            for (name, _, span) in jwks.values().filter(|(name, ..)| !OF_FILES.contains(name)) {
                idle(format!("jwks.{name}"), span);
            }
        }
        _ => idle("jwks".to_owned(), &jwks.span),
    }
}

fn fixed(keys: Vec<VerificationKey>) -> KeySourceSettings {
    KeySourceSettings::Fixed(Arc::new(KeySet::new(keys)))
}

fn key_file(
    node: &Node,
    what: &str,
    algorithms: AlgorithmSet,
    checker: &mut Checker<'_>,
) -> Option<KeyFileSettings> {
    let (path, span) = (node.text("jwks_file")?, span_of(node, "jwks_file"));
    let bytes = checker.file(&path, &span, "`jwks_file`")?;
    let jwks = with_defaults(node, "jwks");
    let bytes_max = size(&jwks)?;
    if bytes.len() > bytes_max {
        let message =
            format!("{what}: `{path}` is larger than `jwks.bytes_max`, {bytes_max} bytes");
        checker.error("BW0108", message, &span);
        return None;
    }
    let published = jwks::read(&bytes, algorithms, &Default::default());
    match published.and_then(jwks::Published::into_set) {
        Ok((_, skipped)) => {
            for key in skipped {
                let message = format!(
                    "{what}: key {} of `{path}` ({}) is not used: {}",
                    key.index,
                    key.shown_kid(),
                    key.why
                );
                checker.warn(
                    "BW0203",
                    message,
                    &span,
                    "take it out of the file, or mend it",
                );
            }
            Some(KeyFileSettings {
                path: checker.path(&path),
                document: bytes.into(),
                bytes_max,
                freshness: FreshnessSettings {
                    refresh: jwks.duration("refresh")?,
                    stale_max: None,
                    unknown_kid_gap: jwks.duration("unknown_kid_gap")?,
                },
            })
        }
        Err(error) => {
            checker.error("BW0108", format!("{what}: `{path}`: {error}"), &span);
            None
        }
    }
}

fn pem_keys(
    node: &Node,
    what: &str,
    algorithms: AlgorithmSet,
    checker: &mut Checker<'_>,
) -> Option<KeySourceSettings> {
    let paths = checker.required_texts(node, what, "keys");
    let mut keys = Vec::new();
    for (path, span) in &paths {
        let bytes = checker.file(path, span, "`keys`")?;
        match pem::read(&bytes, algorithms) {
            Ok(read) => keys.extend(read),
            Err(error) => {
                checker.error("BW0108", format!("{what}: `{path}`: {error}"), span);
                return None;
            }
        }
    }
    for alg in algorithms.iter() {
        if keys
            .iter()
            .filter(|key| key.verifier(alg).is_some())
            .count()
            > 1
        {
            checker.error_help(
                "BW0106",
                format!("{what}: two of its PEM keys serve {alg}, and nothing tells them apart"),
                &span_of(node, "keys"),
                "PEM has no key id; write a JWK set with a `kid` for each, and name it by `jwks_file`",
            );
            return None;
        }
    }
    (!keys.is_empty()).then(|| fixed(keys))
}

fn jwks_settings(node: &Node, what: &str, checker: &mut Checker<'_>) -> Option<JwksSettings> {
    let jwks = with_defaults(node, "jwks");
    let fetch = fetch(&jwks, what, checker)?;
    let refresh = jwks.duration("refresh")?;
    let stale_max = jwks.duration("stale_max")?;
    if stale_max < refresh {
        checker.error(
            "BW0110",
            "`stale_max` is shorter than `refresh`: keys would run out between two fetches"
                .to_owned(),
            &span_of(&jwks, "stale_max"),
        );
    }
    Some(JwksSettings {
        freshness: FreshnessSettings {
            refresh,
            stale_max: Some(stale_max),
            unknown_kid_gap: jwks.duration("unknown_kid_gap")?,
        },
        fetch,
        on_demand: jwks.text("load").as_deref() == Some("on_demand"),
    })
}

fn introspection(
    node: &Node,
    what: &str,
    checker: &mut Checker<'_>,
) -> Option<IntrospectionSettings> {
    let table = node.table("introspection")?;
    let what_table = format!("`introspection` of {what}");
    let endpoint = checker.required(table, &what_table, "endpoint");
    let client_id = checker.required(table, &what_table, "client_id");
    let secret = checker.secret(table, "client_secret");
    if secret.is_none()
        && table.value("client_secret").is_none()
        && !table.is_faulty("client_secret")
    {
        let message = format!("{what_table} has no `client_secret`");
        checker.error("BW0105", message, &table.span);
    }
    let fetch = fetch(table, what, checker)?;
    let (endpoint, span) = endpoint?;
    check_url(
        &endpoint,
        &fetch,
        "introspection",
        what,
        "endpoint",
        &span,
        checker,
    );
    let cache_max = table.duration("cache_max")?;
    if cache_max > CACHE_WARNED {
        checker.warn(
            "BW0218",
            format!("{what}: a token that its issuer has revoked stays good for up to `cache_max`"),
            &span_of(table, "cache_max"),
            "five minutes or less; \"30s\" is the default",
        );
    }
    Some(IntrospectionSettings {
        endpoint,
        client_id: client_id?.0,
        client_secret: secret?.0,
        client_auth: match table.text("client_auth").as_deref() {
            Some("client_secret_post") => ClientAuth::Post,
            _ => ClientAuth::Basic,
        },
        cache_max,
        fetch,
    })
}

/// From more than this on there is a warning.
const CACHE_WARNED: Duration = Duration::from_secs(300);
