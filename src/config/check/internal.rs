//! `[internal_token]`.

use super::{Checker, with_defaults};
use crate::config::node::{Node, Value};
use crate::forward::InternalTokenSettings;
use crate::signing::SigningKey;

/// Algorithms that a key can be for, by what it is.
const ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "ES384", "RS256"];

/// The tokens of our own, if the file has them. `None` is a fault.
#[expect(clippy::option_option, reason = "none is a good answer")]
pub(super) fn check(
    root: &Node,
    public_url: Option<&str>,
    checker: &mut Checker<'_>,
) -> Option<Option<InternalTokenSettings>> {
    routes(root, checker);
    if root.table("internal_token").is_none() {
        return Some(None);
    }
    let table = with_defaults(root, "internal_token");
    let issuer = table.text("issuer");
    let issuer = issuer.as_deref().or(public_url);
    if issuer.is_none() {
        checker.error_help(
            "BW0105",
            "`internal_token` has no `issuer`".to_owned(),
            &table.span,
            "write it, or `server.public_url`",
        );
    }
    let issuer = issuer.map(Into::into);
    if table.value("key").is_none() {
        checker.error_help(
            "BW0105",
            "`internal_token` has no `key`".to_owned(),
            &table.span,
            "bearward keys generate --alg ES256 makes one",
        );
    }
    let key = key(&table, "key", checker);
    let previous = key_if_said(&table, checker);
    let claims = table.texts("claims").unwrap_or_default();
    Some(Some(InternalTokenSettings {
        issuer: issuer?,
        key: key?,
        previous: previous?,
        lifetime: table.duration("lifetime")?,
        claims: claims
            .iter()
            .map(|(name, _)| name.as_str().into())
            .collect(),
    }))
}

/// `None` is a fault.
#[expect(clippy::option_option, reason = "none is a good answer")]
fn key_if_said(table: &Node, checker: &mut Checker<'_>) -> Option<Option<SigningKey>> {
    match table.value("previous").is_some() {
        true => key(table, "previous", checker).map(Some),
        false => Some(None),
    }
}

fn key(table: &Node, name: &str, checker: &mut Checker<'_>) -> Option<SigningKey> {
    let (pem, span) = checker.secret(table, name)?;
    let read = |alg: &str| SigningKey::read(alg, None, pem.expose()).ok();
    let key = ALGORITHMS.into_iter().find_map(read);
    let key = key.and_then(SigningKey::named_by_thumbprint);
    if key.is_none() {
        checker.error_help(
            "BW0108",
            format!("`{name}` of `internal_token` is no private key in PKCS #8 PEM"),
            &span,
            "EC P-256 or P-384, Ed25519, or RSA; bearward keys generate --alg ES256 makes one",
        );
    }
    key
}

/// Routes that want such a token.
fn routes(root: &Node, checker: &mut Checker<'_>) {
    for (name, route) in root.tables("routes") {
        let Some((value, span)) = route.value("internal_token") else {
            continue;
        };
        let (message, help) = if matches!(value, Value::Text(audience) if audience.is_empty()) {
            (
                format!("`internal_token` of route `{name}` is empty"),
                "write the audience of its token, or leave it out",
            )
        } else if root.table("internal_token").is_none() {
            (
                format!(
                    "route `{name}` wants a token of ours, and the file has no [internal_token]"
                ),
                "write [internal_token] with a key",
            )
        } else if route.text("auth").as_deref() == Some("none") {
            (
                format!("route `{name}` has `auth = \"none\"` and wants a token of ours"),
                "it says who the caller is, and here nobody knows",
            )
        } else {
            continue;
        };
        checker.error_help("BW0106", message, span, help);
    }
}
