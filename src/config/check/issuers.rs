//! `[issuers.*]`: an issuer without audience, algorithm or keys is refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::{Checker, with_defaults};
use crate::config::raw::{Node, Span, Value};
use crate::config::settings::{IssuerSettings, JwksSettings, KeySourceSettings};
use crate::config::suggest::nearest;
use crate::http::host::is_loopback;
use crate::keys::{KeySet, VerificationKey, jwks, pem};
use crate::oauth::{Algorithm, AlgorithmSet};
use crate::policy::{Issuer, Renewal, strip_application};

/// From this much leeway on there is a warning.
const LEEWAY_WARNED: Duration = Duration::from_secs(120);

/// All issuers by name, in the order of their places; `None` where one cannot be built.
pub(super) fn check(
    root: &Node,
    checker: &mut Checker<'_>,
) -> Vec<(String, Option<IssuerSettings>)> {
    let mut seen: HashMap<String, String> = HashMap::new();
    root.tables("issuers")
        .map(|(name, node)| {
            if let Some((Value::Text(issuer), span)) = node.value("issuer")
                && let Some(first) = seen.insert(issuer.clone(), name.to_owned())
            {
                checker.error("BW0106", format!("issuers `{first}` and `{name}` have the same `issuer`; a token could not be told to whose rules it belongs"), span);
            }
            (name.to_owned(), issuer(name, node, checker))
        })
        .collect()
}

fn issuer(name: &str, node: &Node, checker: &mut Checker<'_>) -> Option<IssuerSettings> {
    let what = format!("issuer `{name}`");
    let identifier = checker.required(node, &what, "issuer");
    let audiences = checker.required_texts(node, &what, "audiences");
    let algorithms = algorithms(node, &what, checker);
    let source = source(node, &what, algorithms, identifier.as_ref(), checker);
    let leeway = node.duration("leeway")?;
    if leeway >= LEEWAY_WARNED {
        let span = node
            .value("leeway")
            .map_or_else(|| node.span.clone(), |(_, span)| span.clone());
        checker.warn("BW0202", format!("{what}: a leeway of two minutes or more keeps expired tokens alive (RFC 7519 section 4.1.4: \"usually no more than a few minutes\")"), &span, "mend the clocks and write \"30s\"");
    }
    let list = |name: &str, default: &[&str]| -> Vec<Box<str>> {
        match node.texts(name) {
            Some(texts) => texts.iter().map(|(text, _)| text.as_str().into()).collect(),
            None => default.iter().map(|text| (*text).into()).collect(),
        }
    };
    let token_types = list("token_types", &["at+jwt"]);
    if token_types.is_empty() {
        checker.error(
            "BW0105",
            format!("`token_types` of {what} is empty; no token could pass"),
            &node.span,
        );
    }
    let scope_claims = list("scope_claims", &["scope", "scp"]);
    let renewal = node.table("renewal").map(|renewal| Renewal {
        token_endpoint: renewal.text("token_endpoint").map(Into::into),
        hint: renewal.text("hint").map(Into::into),
    });
    let rules = Issuer {
        name: name.into(),
        issuer: identifier?.0.into(),
        audiences: audiences.into_iter().map(|(text, _)| text.into()).collect(),
        algorithms,
        token_types: token_types
            .iter()
            .map(|typ| strip_application(typ).to_ascii_lowercase().into())
            .collect(),
        leeway,
        lifetime_max: node.duration("lifetime_max"),
        age_max: node.duration("age_max"),
        require: list("require", &["sub"]),
        scope_claims,
        renewal,
    };
    Some(IssuerSettings {
        rules: Arc::new(rules),
        source: source?,
    })
}

fn algorithms(node: &Node, what: &str, checker: &mut Checker<'_>) -> AlgorithmSet {
    let mut set = AlgorithmSet::default();
    for (text, span) in checker.required_texts(node, what, "algorithms") {
        match Algorithm::parse(&text) {
            Some(alg) => set.insert(alg),
            None => {
                let known = Algorithm::ALL.map(Algorithm::name);
                let near = nearest(&text, known.into_iter());
                let near = near
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                checker.error_help(
                    "BW0104",
                    format!("`algorithms` of {what}: `{text}` is not accepted{near}"),
                    &span,
                    &format!("accepted: {}", known.join(", ")),
                );
            }
        }
    }
    set
}

/// Exactly one source of keys.
fn source(
    node: &Node,
    what: &str,
    algorithms: AlgorithmSet,
    identifier: Option<&(String, Span)>,
    checker: &mut Checker<'_>,
) -> Option<KeySourceSettings> {
    const SOURCES: [&str; 5] = ["discovery", "jwks_url", "jwks_file", "keys", "secret"];
    let given: Vec<_> = SOURCES
        .into_iter()
        .filter(|name| match node.value(name) {
            Some((Value::Bool(on), _)) => *on,
            other => other.is_some(),
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
        checker.error(
            "BW0106",
            format!(
                "{what} needs exactly one source of keys ({}), found: {found}",
                SOURCES.join(", ")
            ),
            &node.span,
        );
        return None;
    };
    let span = node
        .value(source)
        .map_or_else(|| node.span.clone(), |(_, span)| span.clone());
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
                    checker.error(
                        "BW0108",
                        format!("{what}: {weak} (RFC 7518 section 3.2)"),
                        &span,
                    );
                    None
                }
            }
        }
        "jwks_file" => {
            let path = node.text("jwks_file")?;
            let bytes = checker.file(&path, &span, "`jwks_file`")?;
            match jwks::read(&bytes, algorithms) {
                Ok((keys, skipped)) => {
                    for key in skipped {
                        let kid = key
                            .kid
                            .as_deref()
                            .unwrap_or("without kid")
                            .escape_default()
                            .to_string();
                        checker.warn(
                            "BW0203",
                            format!(
                                "{what}: key {} of `{path}` ({kid}) is not used: {}",
                                key.index, key.why
                            ),
                            &span,
                            "take it out of the file, or mend it",
                        );
                    }
                    Some(KeySourceSettings::Fixed(Arc::new(keys)))
                }
                Err(error) => {
                    checker.error("BW0108", format!("{what}: `{path}`: {error}"), &span);
                    None
                }
            }
        }
        "keys" => pem_keys(node, what, algorithms, &span, checker),
        "jwks_url" => {
            let settings = jwks_settings(node, checker)?;
            let url = node.text("jwks_url")?;
            check_url(&url, &settings, what, "jwks_url", &span, checker);
            Some(KeySourceSettings::Url(url, settings))
        }
        _ => {
            let settings = jwks_settings(node, checker)?;
            let (url, span) = identifier?;
            check_url(url, &settings, what, "issuer", span, checker);
            Some(KeySourceSettings::Discovery(settings))
        }
    }
}

fn fixed(keys: Vec<VerificationKey>) -> KeySourceSettings {
    KeySourceSettings::Fixed(Arc::new(KeySet::new(keys)))
}

fn pem_keys(
    node: &Node,
    what: &str,
    algorithms: AlgorithmSet,
    span: &Span,
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
                span,
                "PEM has no key id; write a JWK set with a `kid` for each, and name it by `jwks_file`",
            );
            return None;
        }
    }
    (!keys.is_empty()).then(|| fixed(keys))
}

fn jwks_settings(node: &Node, checker: &mut Checker<'_>) -> Option<JwksSettings> {
    let jwks = with_defaults(node, "jwks");
    let ca = match jwks.value("ca") {
        Some((Value::Text(path), span)) => Some(checker.file(path, span, "`ca`")?),
        _ => None,
    };
    let refresh = jwks.duration("refresh")?;
    let stale_max = jwks.duration("stale_max")?;
    if stale_max < refresh {
        checker.error(
            "BW0110",
            "`stale_max` is shorter than `refresh`: keys would run out between two fetches"
                .to_owned(),
            &jwks.span,
        );
    }
    Some(JwksSettings {
        refresh,
        stale_max,
        unknown_kid_gap: jwks.duration("unknown_kid_gap")?,
        timeout: jwks.duration("timeout")?,
        bytes_max: usize::try_from(jwks.size("bytes_max")?).unwrap_or(usize::MAX),
        ca,
        allow_http_loopback: jwks.flag("allow_http_loopback"),
    })
}

/// Only https; http to a loopback address where that was allowed.
fn check_url(
    url: &str,
    settings: &JwksSettings,
    what: &str,
    key: &str,
    span: &Span,
    checker: &mut Checker<'_>,
) {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host);
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    let fault = match (scheme, host) {
        (Some("https"), Some(_)) => return,
        (Some("http"), Some(host)) if is_loopback(host) && settings.allow_http_loopback => return,
        (Some("http"), Some(host)) if is_loopback(host) => {
            "http to a loopback address needs `jwks.allow_http_loopback = true`"
        }
        (Some("http"), Some(_)) => {
            "keys are fetched by https only: who changes them on their way signs every token"
        }
        _ => "it is no https URL",
    };
    checker.error("BW0110", format!("`{key}` of {what}: {fault}"), span);
}
