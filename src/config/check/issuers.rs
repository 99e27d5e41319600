//! `[issuers.*]`: an issuer without audience, algorithm or keys is refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::Checker;
use super::inbound;
use super::sources::source;
use crate::config::node::{Node, Span, Value};
use crate::config::settings::{IssuerSettings, KeySourceSettings};
use crate::config::suggest::nearest;
use crate::oauth::{Algorithm, AlgorithmSet};
use crate::policy::{IntrospectionRules, Issuer, Renewal, strip_application};

/// From this much leeway on there is a warning.
const LEEWAY_WARNED: Duration = Duration::from_secs(120);

/// All issuers by name, in the order of their places; `None` where one cannot be built.
pub(super) fn check(
    root: &Node,
    checker: &mut Checker<'_>,
) -> Vec<(String, Option<IssuerSettings>)> {
    // One issuer may sign JWTs and also give opaque tokens: those are told apart by their form.
    let mut seen: HashMap<(String, bool), String> = HashMap::new();
    root.tables("issuers")
        .map(|(name, node)| {
            let opaque = node.table("introspection").is_some();
            if let Some((Value::Text(issuer), span)) = node.value("issuer")
                && let Some(first) = seen.insert((issuer.clone(), opaque), name.to_owned())
            {
                checker.error("BW0106", format!("issuers `{first}` and `{name}` have the same `issuer`; a token could not be told to whose rules it belongs"), span);
            }
            (name.to_owned(), issuer(root, name, node, checker))
        })
        .collect()
}

fn issuer(
    root: &Node,
    name: &str,
    node: &Node,
    checker: &mut Checker<'_>,
) -> Option<IssuerSettings> {
    let what = format!("issuer `{name}`");
    let identifier = checker.required(node, &what, "issuer");
    let audiences = checker.required_texts(node, &what, "audiences");
    for (_, span) in audiences.iter().filter(|(text, _)| text.is_empty()) {
        checker.error("BW0104", format!("an audience of {what} is empty"), span);
    }
    let opaque = node.table("introspection").is_some() || node.is_faulty("introspection");
    let algorithms = if opaque {
        AlgorithmSet::default()
    } else {
        algorithms(node, &what, checker)
    };
    if let Some((text, span)) = &identifier
        && let Some((issuer, _)) = text.split_once("/.well-known/")
    {
        checker.error_help(
            "BW0104",
            format!("`issuer` of {what} is the URL of its metadata, not its name"),
            span,
            &format!("write what stands in `iss` of its tokens, probably \"{issuer}\""),
        );
    }
    let source = source(node, &what, algorithms, identifier.as_ref(), checker);
    let leeway = node.duration("leeway")?;
    if leeway >= LEEWAY_WARNED {
        let span = span_of(node, "leeway");
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
        let span = span_of(node, "token_types");
        let message = format!("`token_types` of {what} is empty; no token could pass");
        checker.error("BW0105", message, &span);
    }
    for name in ["token_types", "require", "scope_claims"] {
        for (_, span) in texts_of(node, name).filter(|(text, _)| text.is_empty()) {
            let message = format!("`{name}` of {what} has an empty name");
            checker.error("BW0104", message, span);
        }
    }
    // A claim of a JWT was signed with it; an issuer that is asked each time says how long itself.
    let bound = |name: &str| match node.value(name) {
        None if opaque => None,
        _ => node.duration(name),
    };
    let own = identifier.as_ref().map_or("", |(text, _)| text);
    let (logout, events) = inbound::check(root, node, &what, own, opaque, checker);
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
        lifetime_max: bound("lifetime_max"),
        age_max: bound("age_max"),
        require: list("require", &["sub"]),
        scope_claims: list("scope_claims", &["scope", "scp"]),
        renewal: renewal(node, &what, checker),
        introspection: match &source {
            Some(KeySourceSettings::Introspection(settings)) => Some(IntrospectionRules {
                asked_at: format!("{name} {} {}", settings.endpoint, settings.client_id).into(),
                cache_max: settings.cache_max,
            }),
            _ => None,
        },
        logout,
        events,
    };
    Some(IssuerSettings {
        rules: Arc::new(rules),
        source: source?,
    })
}

pub(super) fn span_of(node: &Node, name: &str) -> Span {
    node.value(name)
        .map_or_else(|| node.span.clone(), |(_, span)| span.clone())
}

fn texts_of<'a>(node: &'a Node, name: &str) -> impl Iterator<Item = &'a (String, Span)> {
    node.texts(name).unwrap_or_default().iter()
}

/// What refusals say; a URL that nobody can open would send every developer astray.
fn renewal(node: &Node, what: &str, checker: &mut Checker<'_>) -> Option<Renewal> {
    let renewal = node.table("renewal")?;
    if let Some((Value::Text(url), span)) = renewal.value("token_endpoint") {
        let uri = url.parse::<Uri>().ok();
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        if !matches!(scheme, Some("http" | "https")) {
            let message = format!("`renewal.token_endpoint` of {what} is no URL: `{url}`");
            checker.error("BW0104", message, span);
        }
    }
    Some(Renewal {
        token_endpoint: renewal.text("token_endpoint").map(Into::into),
        hint: renewal.text("hint").map(Into::into),
    })
}

fn algorithms(node: &Node, what: &str, checker: &mut Checker<'_>) -> AlgorithmSet {
    let mut set = AlgorithmSet::default();
    for (text, span) in checker.required_texts(node, what, "algorithms") {
        match Algorithm::parse(&text) {
            Some(alg) => set.insert(alg),
            None => {
                // A shared secret's algorithms are never what somebody meant with public keys.
                let hmac = node.value("secret").is_some();
                let known: Vec<_> = Algorithm::ALL
                    .into_iter()
                    .filter(|alg| alg.is_hmac() == hmac)
                    .map(Algorithm::name)
                    .collect();
                let same = known.iter().find(|name| name.eq_ignore_ascii_case(&text));
                let near = same.copied();
                let near = near.or_else(|| nearest(&text, known.iter().copied()));
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
