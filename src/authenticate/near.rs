//! What a refused token was probably meant to be. Asked only once it was refused: a good one does not pay for
//! it.
//!
//! The token is compared with what is configured; its own text goes nowhere.

use super::Ask;
use super::extract::SCHEME;
use crate::keys::KeySet;
use crate::oauth::Json;
use crate::oauth::json::Members;
use crate::policy::{Issuer, IssuerKeys, Trust};
use crate::verdict::NearMiss;

/// Issuers that are asked whether a `kid` is theirs: whoever makes tokens up must not be able to make each
/// cost a walk over thousands of issuers.
const OWNERS_ASKED_MAX: usize = 64;
/// Audiences of a token that are looked at.
const AUDIENCES_MAX: usize = 64;
/// Words that tell an environment from another in a host's name.
const ENVIRONMENTS: [&str; 20] = [
    "acc",
    "beta",
    "ci",
    "demo",
    "dev",
    "development",
    "int",
    "integration",
    "local",
    "preprod",
    "preview",
    "prod",
    "production",
    "qa",
    "sandbox",
    "sit",
    "stage",
    "staging",
    "test",
    "uat",
];

/// What was meant by another scheme.
pub(super) fn scheme(scheme: &[u8], rest: &[u8]) -> Option<NearMiss> {
    let is_token = |text: &[u8]| text.starts_with(b"eyJ");
    let behind = rest.trim_ascii_start();
    let is = |word: &[u8]| scheme.eq_ignore_ascii_case(word);
    if is_token(scheme) && scheme.contains(&b'.') {
        Some(NearMiss::BareToken)
    } else if is(b"bearer:") {
        Some(NearMiss::BearerColon)
    } else if matches!(scheme.first(), Some(b'"' | b'\'' | b'`')) {
        Some(NearMiss::HeaderQuoted)
    } else if is_token(behind) && !is(b"basic") && !is(b"dpop") {
        Some(NearMiss::OtherWord)
    } else {
        None
    }
}

/// What a text that is no token looks like. Asked only once it was found to be none: a good token
/// does not pay for it.
pub(super) fn form(token: &[u8]) -> Option<NearMiss> {
    let has = |needle: &[u8]| {
        token
            .windows(needle.len())
            .any(|window| window.eq_ignore_ascii_case(needle))
    };
    if token.eq_ignore_ascii_case(SCHEME) {
        return Some(NearMiss::Empty);
    }
    if token
        .get(..SCHEME.len())
        .is_some_and(|word| word.eq_ignore_ascii_case(SCHEME))
        && token
            .get(SCHEME.len())
            .is_some_and(|byte| matches!(byte, b' ' | b':'))
    {
        return Some(NearMiss::BearerTwice);
    }
    let word = |word: &[u8]| token.eq_ignore_ascii_case(word);
    if [
        b"null".as_slice(),
        b"undefined",
        b"none",
        b"nil",
        b"token",
        b"nan",
        b"[object Object]",
    ]
    .into_iter()
    .any(word)
        || matches!(token.first(), Some(b'$' | b'%'))
        || matches!(token.first(), Some(b'<' | b'{')) && !has(b"eyJ")
    {
        return Some(NearMiss::Placeholder);
    }
    if token.first() == Some(&b'{') {
        return Some(NearMiss::Json);
    }
    let quote = |byte: Option<&u8>| {
        byte.is_some_and(|byte| {
            matches!(
                byte,
                b'"' | b'\'' | b'`' | b'<' | b'>' | b'[' | b']' | b'(' | b')'
            )
        })
    };
    if quote(token.first()) || quote(token.last()) {
        return Some(NearMiss::Quoted);
    }
    if has(b"%0a") || has(b"%0d") || has(b"\\n") || has(b"\\r") {
        return Some(NearMiss::LineBreak);
    }
    let escape = |window: &[u8]| matches!(window, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    if token.windows(3).any(escape) {
        return Some(NearMiss::UrlEscaped);
    }
    let blank = |byte: &u8| !byte.is_ascii_graphic() || *byte == b',';
    token.iter().any(blank).then_some(NearMiss::Trailing)
}

/// How two texts that should be equal differ: by one thing alone, or by several.
fn difference(one: &str, other: &str, kinds: [NearMiss; 4]) -> Option<NearMiss> {
    let [slash, scheme, case, several] = kinds;
    fn slashless(text: &str) -> &str {
        text.strip_suffix('/').unwrap_or(text)
    }
    fn schemeless(text: &str) -> &str {
        let rest = text.strip_prefix("https://");
        rest.or_else(|| text.strip_prefix("http://"))
            .unwrap_or(text)
    }
    let plain = |text: &str| schemeless(slashless(&text.to_ascii_lowercase())).to_owned();
    if slashless(one) == slashless(other) {
        Some(slash)
    } else if schemeless(one) == schemeless(other) {
        Some(scheme)
    } else if one.eq_ignore_ascii_case(other) {
        Some(case)
    } else {
        (plain(one) == plain(other)).then_some(several)
    }
}

/// A token of an issuer that is not configured.
pub(super) fn issuer(ask: &Ask<'_>, iss: &str) -> Option<NearMiss> {
    let trusted = |trust: &Trust| Some(&*ask.policy.issuer(trust.issuer)?.rules.issuer);
    let trusts = || ask.route.trusts().iter().filter_map(trusted);
    let kinds = [
        NearMiss::IssuerSlash,
        NearMiss::IssuerScheme,
        NearMiss::IssuerCase,
        NearMiss::IssuerSpelling,
    ];
    let near = trusts().find_map(|configured| difference(configured, iss, kinds));
    near.or_else(|| trusts().find_map(|configured| neighbour(configured, iss)))
}

/// The same server with another path, or a server that differs by the name of an environment.
fn neighbour(configured: &str, iss: &str) -> Option<NearMiss> {
    let (host, path) = host_and_path(configured)?;
    let (other_host, other_path) = host_and_path(iss)?;
    if host == other_host {
        return (path != other_path).then_some(NearMiss::IssuerTenant);
    }
    let is_environment = |part: &&str| ENVIRONMENTS.contains(part);
    let without = |host: &str| {
        let parts = host.split(['.', '-']).filter(|part| !is_environment(part));
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    (without(&host) == without(&other_host)).then_some(NearMiss::IssuerEnvironment)
}

fn host_and_path(url: &str) -> Option<(String, &str)> {
    let rest = url.strip_prefix("https://");
    let rest = rest.or_else(|| url.strip_prefix("http://"))?;
    let (host, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
    Some((host.to_ascii_lowercase(), path.trim_matches('/')))
}

/// A key that the issuer does not publish.
pub(super) fn key(
    ask: &crate::policy::Policy,
    not: crate::policy::IssuerId,
    keys: &IssuerKeys,
    kid: Option<&str>,
) -> Option<NearMiss> {
    let Some(kid) = kid else {
        return Some(NearMiss::NoKid);
    };
    if keys.gone.iter().any(|gone| **gone == *kid) {
        return Some(NearMiss::KeyRotated);
    }
    let mut issuers = ask.issuers().iter().enumerate().take(OWNERS_ASKED_MAX);
    let owns = |set: &KeySet| set.has_kid(kid);
    let other = issuers
        .any(|(index, issuer)| index != not.0 && issuer.keys().set.as_deref().is_some_and(owns));
    other.then_some(NearMiss::KeyOfOtherIssuer)
}

/// What some providers write into a token that is not for an API.
fn says_refresh(claims: &Members) -> bool {
    let is = |claim: &str, words: &[&str]| {
        let text = claims.get(claim).and_then(Json::as_text);
        text.is_some_and(|text| words.iter().any(|word| text.eq_ignore_ascii_case(word)))
    };
    is("typ", &["Refresh", "Offline"]) || is("token_use", &["refresh"])
}

/// An algorithm that is not accepted.
pub(super) fn algorithm(claims: &Members, unsigned: bool) -> Option<NearMiss> {
    match unsigned {
        true => Some(NearMiss::Unsigned),
        false => says_refresh(claims).then_some(NearMiss::RefreshTokenAlg),
    }
}

/// What no access token holds (OpenID Connect Core section 3.3.2.11), or what says so itself.
fn says_id(claims: &Members) -> bool {
    let token_use = claims.get("token_use").and_then(Json::as_text);
    let hashes = ["at_hash", "c_hash"].iter();
    token_use == Some("id") || hashes.clone().any(|name| claims.get(name).is_some())
}

/// A token that says of itself that it is for something else than an API, whatever type its header has: where
/// plain JWTs are accepted, nothing else tells them apart.
pub(super) fn says_other(claims: &Members) -> Option<NearMiss> {
    if says_refresh(claims) {
        Some(NearMiss::RefreshToken)
    } else {
        says_id(claims).then_some(NearMiss::IdToken)
    }
}

/// A type that is not accepted.
pub(super) fn kind(claims: &Members, typ: Option<&str>) -> Option<NearMiss> {
    if let Some(other) = says_other(claims) {
        Some(other)
    } else if claims.get("nonce").is_some() {
        // Some providers write it into access tokens too; where the type fails, it explains.
        Some(NearMiss::IdToken)
    } else {
        let plain = typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"));
        plain.then_some(NearMiss::PlainJwt)
    }
}

/// An audience that none of the expected ones is.
pub(super) fn audience(claims: &Members, issuer: &Issuer, trust: &Trust) -> Option<NearMiss> {
    let found: Vec<&str> = match claims.get("aud")? {
        Json::Text(audience) => vec![audience],
        Json::Array(items) => items.iter().filter_map(Json::as_text).collect(),
        _ => Vec::new(),
    };
    let found = found.get(..AUDIENCES_MAX).unwrap_or(&found);
    let kinds = [
        NearMiss::AudienceSlash,
        NearMiss::AudienceScheme,
        NearMiss::AudienceCase,
        NearMiss::AudienceSpelling,
    ];
    let mut pairs = found.iter().flat_map(|found| {
        trust
            .audiences
            .iter()
            .map(move |expected| (expected, found))
    });
    if let Some(near) = pairs.find_map(|(expected, found)| difference(expected, found, kinds)) {
        return Some(near);
    }
    let joined = |text: &&str| {
        let mut parts = text.split([' ', ',']).filter(|part| !part.is_empty());
        parts.any(|part| trust.audiences.iter().any(|expected| **expected == *part))
    };
    if found.iter().any(joined) {
        return Some(NearMiss::AudienceJoined);
    }
    if found
        .iter()
        .any(|found| issuer.audiences.iter().any(|it| **it == **found))
    {
        return Some(NearMiss::AudienceOtherRoute);
    }
    let client = claims.get("client_id").or_else(|| claims.get("azp"));
    let client = client.and_then(Json::as_text);
    let is_client = client.is_some_and(|client| found == [client]);
    (is_client || says_id(claims)).then_some(NearMiss::AudienceIsClient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        let cases: &[(&[u8], Option<NearMiss>)] = &[
            (b"a.b.c", None),
            (b"Bearer", Some(NearMiss::Empty)),
            (b"undefined", Some(NearMiss::Placeholder)),
            (b"$TOKEN", Some(NearMiss::Placeholder)),
            (b"<your token>", Some(NearMiss::Placeholder)),
            (b"a.b.c d", Some(NearMiss::Trailing)),
            (b"a.b.c\xff", Some(NearMiss::Trailing)),
            (b"Bearer a.b.c", Some(NearMiss::BearerTwice)),
            (b"bearer: a.b.c", Some(NearMiss::BearerTwice)),
            (b"\"a.b.c\"", Some(NearMiss::Quoted)),
            (b"<eyJ.b.c>", Some(NearMiss::Quoted)),
            (b"{\"access_token\":\"eyJ\"}", Some(NearMiss::Json)),
            (b"a.b.c,", Some(NearMiss::Trailing)),
            (b"'a.b.c'", Some(NearMiss::Quoted)),
            (b"a.b.c\\n", Some(NearMiss::LineBreak)),
            (b"a%2Eb%2Ec", Some(NearMiss::UrlEscaped)),
            (b"a.b.c%0A", Some(NearMiss::LineBreak)),
        ];
        for (token, expected) in cases {
            let shown = String::from_utf8_lossy(token);
            assert_eq!(form(token), *expected, "{shown}");
        }
    }

    #[test]
    fn issuers_nearby() {
        let near = |iss| neighbour("https://login.example.com/realms/prod", iss);
        let environment = Some(NearMiss::IssuerEnvironment);
        let tenant = Some(NearMiss::IssuerTenant);
        assert_eq!(near("https://login.example.com/realms/dev"), tenant);
        assert_eq!(
            near("https://staging.login.example.com/realms/prod"),
            environment
        );
        assert_eq!(
            near("https://login-uat.example.com/realms/prod"),
            environment
        );
        assert_eq!(near("http://login.dev.example.com"), environment);
        assert_eq!(near("https://login.evil.example"), None);
        assert_eq!(near("staging"), None);
        assert_eq!(near("https://login.example.org/realms/prod"), None);
    }
}
