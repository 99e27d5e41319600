//! What a refused token was probably meant to be. Asked only once it was refused: a good one does not pay for
//! it.
//!
//! The token is compared with what is configured; its own text goes nowhere.

use super::Ask;
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

/// How two texts that should be equal differ.
fn difference(one: &str, other: &str, [slash, scheme, case]: [NearMiss; 3]) -> Option<NearMiss> {
    let slashless = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
    let schemeless = |text: &str| {
        let rest = text.strip_prefix("https://");
        rest.or_else(|| text.strip_prefix("http://")).map(slashless)
    };
    if slashless(one) == slashless(other) {
        Some(slash)
    } else if schemeless(one).is_some() && schemeless(one) == schemeless(other) {
        Some(scheme)
    } else if slashless(one).eq_ignore_ascii_case(&slashless(other)) {
        Some(case)
    } else {
        None
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

/// A type that is not accepted.
pub(super) fn kind(claims: &Members, typ: Option<&str>) -> Option<NearMiss> {
    // `nonce` and the hashes appear in ID tokens only (OpenID Connect Core sections 2 and 3.3.2.11).
    let id_token = ["nonce", "at_hash", "c_hash"];
    let token_use = claims.get("token_use").and_then(Json::as_text);
    if says_refresh(claims) {
        Some(NearMiss::RefreshToken)
    } else if id_token.iter().any(|name| claims.get(name).is_some()) || token_use == Some("id") {
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
    let client = client.and_then(Json::as_text)?;
    (found == [client]).then_some(NearMiss::AudienceIsClient)
}

#[cfg(test)]
mod tests {
    use super::*;

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
