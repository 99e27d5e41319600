//! What a refused caller probably meant: each a slip that is made again and again, with the one sentence
//! that says it and the one that mends it.
//!
//! The body of a refusal, the help page of its reason and every explanation read this one table, so that they
//! say the same thing in the same words. A slip is named where the evidence is there, and never by a value
//! that an unverified token holds.

use super::Reason;

macro_rules! near_misses {
    ($($variant:ident $name:literal $reason:ident $says:literal, $mend:literal;)*) => {
        /// A slip that explains a refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NearMiss {
            $(#[doc = $says] $variant,)*
        }

        impl NearMiss {
            /// Every one, in the order of the verdict.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it: the body's `near_miss`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is refused with.
            #[must_use]
            pub const fn reason(self) -> Reason {
                match self { $(Self::$variant => Reason::$reason,)* }
            }

            /// What probably happened.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $(Self::$variant => $says,)* }
            }

            /// How to mend it.
            #[must_use]
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend,)* }
            }
        }
    };
}

near_misses! {
    BareToken "bare_token" SchemeUnsupported "The Authorization header holds a token without a scheme.", "Put the word Bearer and a space before the token.";
    BearerColon "bearer_colon" SchemeUnsupported "There is a colon behind the word Bearer.", "Write the word Bearer, one space, and the token.";
    HeaderQuoted "header_quoted" SchemeUnsupported "The whole value of the Authorization header is in quotes.", "Send it without quotes.";
    OtherWord "other_word" SchemeUnsupported "The token is sent behind another word than Bearer.", "Put the word Bearer and a space before the token: `Authorization: Bearer <token>`.";
    Empty "empty" TokenMalformed "There is no token behind the word Bearer.", "Check that the variable that holds the token is set.";
    Placeholder "placeholder" TokenMalformed "There is a placeholder where the token should be.", "The variable that holds the token was not filled in.";
    BearerTwice "bearer_twice" TokenMalformed "The word Bearer stands twice before the token.", "Send it once; the client library may add it for you.";
    Json "json" TokenMalformed "The issuer's whole answer, or other JSON, stands where the token should be.", "Take the value of `access_token` out of the answer and send that alone.";
    Quoted "quoted" TokenMalformed "The token is in quotes or brackets.", "Send it without them.";
    LineBreak "line_break" TokenMalformed "There is a line break in the token, as it is, escaped, or as a literal \\n.", "Take the line break off, for example with `tr -d '\\n'`.";
    UrlEscaped "url_escaped" TokenMalformed "The token is URL-escaped.", "Send it as the issuer gave it: no character of a token needs an escape in a header.";
    Trailing "trailing" TokenMalformed "There is a space or a tab in the token, or something stands behind it.", "Send the scheme, one space, the token in one piece, and nothing else.";
    Encrypted "encrypted" TokenMalformed "The token has five parts: it is encrypted.", "Ask the issuer for signed access tokens (JWS), not encrypted ones (JWE).";
    Opaque "opaque" TokenMalformed "The token has no parts: it looks opaque, like a refresh token, a session id or an API key.", "Send a JWT access token, the access_token of the issuer's answer; you may have to name an audience when you ask for it.";
    Cut "cut" TokenMalformed "The token was cut: a part of it is missing.", "Copy the whole token; check the length of the field that stored it.";
    CutInSignature "cut_in_signature" TokenMalformed "The token's last part is incomplete: the token was cut, or its end was changed.", "Copy the whole token; check the length of the field that stored it.";
    IssuerSlash "issuer_slash" IssuerUntrusted "The token's `iss` differs from a trusted issuer only by a slash at its end.", "Issuer and gateway must write it in the same way, byte for byte; `trusted` lists how the gateway does.";
    IssuerScheme "issuer_scheme" IssuerUntrusted "The token's `iss` differs from a trusted issuer only by http and https.", "The issuer must call itself by https, byte for byte as `trusted` lists it; behind a proxy it may not know that it is asked by https.";
    IssuerCase "issuer_case" IssuerUntrusted "The token's `iss` differs from a trusted issuer only by upper and lower case.", "Issuer and gateway must write it in the same way, byte for byte; `trusted` lists how the gateway does.";
    IssuerSpelling "issuer_spelling" IssuerUntrusted "The token's `iss` is a trusted issuer's in another spelling: its scheme, its case, or a slash at its end.", "Issuer and gateway must write it in the same way, byte for byte; `trusted` lists how the gateway does.";
    IssuerEnvironment "issuer_environment" IssuerUntrusted "The token looks like one of another environment of a trusted issuer.", "Use the client, and the address of the issuer, that belong to the environment of this API; `trusted` lists its issuer.";
    IssuerTenant "issuer_tenant" IssuerUntrusted "The token is of another tenant or realm on the server of a trusted issuer.", "Get a token from the tenant or realm that `trusted` lists.";
    IssuerOtherRoute "issuer_other_route" IssuerUntrusted "The token's issuer is known to this gateway, but not trusted for this route.", "Get a token from one of the issuers that `trusted` lists.";
    Unsigned "unsigned" AlgNotAllowed "The token is not signed: its `alg` is `none`.", "Send a token that its issuer has signed; test tools make unsigned ones.";
    RefreshTokenAlg "refresh_token_alg" AlgNotAllowed "It looks like a refresh token, which is for its issuer alone.", "Send the access_token of the issuer's answer, not the refresh_token.";
    KeyOfOtherIssuer "key_of_other_issuer" KeyUnknown "The token's `kid` is a key of another issuer of this gateway.", "Two environments are mixed: get a token from the issuer that this API trusts, with the client that is registered there.";
    KeyRotated "key_rotated" KeyUnknown "The token was signed with a key that its issuer has taken back: the keys were rotated.", "Get a new token, which is signed with a new key.";
    NoKid "no_kid" KeyUnknown "The token's header has no `kid`, and several keys could have signed it.", "Have the issuer name the key in the token's header.";
    SignatureCut "signature_cut" SignatureInvalid "The token's signature is too short or too long for its key: the token was cut, or something was added.", "Copy the whole token; check the length of the field that stored it.";
    IdToken "id_token" TypeNotAllowed "An ID token was sent where an access token is wanted.", "Send the access_token of the issuer's answer, not the id_token.";
    RefreshToken "refresh_token" TypeNotAllowed "A refresh token was sent where an access token is wanted.", "Send the access_token of the issuer's answer, not the refresh_token.";
    PlainJwt "plain_jwt" TypeNotAllowed "The token has the plain type of a JWT, or none, where its issuer is expected to mark access tokens.", "Send an access token. If the issuer never marks them, its operator here has to add \"JWT\" to `token_types`.";
    ExpiredJustNow "expired_just_now" TokenExpired "The token expired only moments ago, on its way.", "Renew a little before `exp`, not at it; compare the client's clock with `server_time`.";
    ClientClockBehind "client_clock_behind" TokenExpired "The client's clock, by the Date of its request, is behind: the token is over, and the client does not know.", "Set the client's clock by NTP, and get a new token.";
    ClocksDifferExpired "clocks_differ_expired" TokenExpired "The token expired only moments ago, and the clocks of its issuer and of the gateway differ.", "Get a new token. Operators: set both clocks by NTP; bearward_clock_offset_seconds shows by how much they differ.";
    ClocksDiffer "clocks_differ" TokenIssuedInFuture "The clock of the issuer is ahead of the gateway's.", "Try again in a moment. Operators: set both clocks by NTP; bearward_clock_offset_seconds shows by how much they differ.";
    IssuedInMilliseconds "issued_in_milliseconds" TokenIssuedInFuture "The token's `iat` is written in milliseconds.", "Have the issuer write its times in seconds since 1970 (RFC 7519 section 2, NumericDate).";
    GatewayClock "gateway_clock" TokenIssuedInFuture "The gateway's clock is behind those of several issuers.", "Try again in a moment, and tell the operator of this API: the gateway's clock has to be set by NTP.";
    ClocksDifferEarly "clocks_differ_early" TokenNotYetValid "The token is early, and the clock of its issuer is ahead of the gateway's.", "Try again in a moment. Operators: set both clocks by NTP; bearward_clock_offset_seconds shows by how much they differ.";
    EarlyInMilliseconds "early_in_milliseconds" TokenNotYetValid "The token's `nbf` is written in milliseconds.", "Have the issuer write its times in seconds since 1970 (RFC 7519 section 2, NumericDate).";
    LifetimeInMilliseconds "lifetime_in_milliseconds" LifetimeTooLong "The token's `exp` is written in milliseconds.", "Have the issuer write its times in seconds since 1970 (RFC 7519 section 2, NumericDate).";
    EarlyByMoments "early_by_moments" TokenNotYetValid "The token becomes valid in a moment.", "Try again in a moment; if it stays, compare the clocks of the issuer and of the gateway, `server_time`.";
    AudienceSlash "audience_slash" AudienceMismatch "The token's `aud` differs from an expected audience only by a slash at its end.", "Ask for a token with the audience as `expected` lists it, byte for byte.";
    AudienceScheme "audience_scheme" AudienceMismatch "The token's `aud` differs from an expected audience only by http and https.", "Ask for a token with the audience as `expected` lists it, byte for byte.";
    AudienceCase "audience_case" AudienceMismatch "The token's `aud` differs from an expected audience only by upper and lower case.", "Ask for a token with the audience as `expected` lists it, byte for byte.";
    AudienceSpelling "audience_spelling" AudienceMismatch "The token's `aud` is an expected audience in another spelling: its scheme, its case, or a slash at its end.", "Ask for a token with the audience as `expected` lists it, byte for byte.";
    AudienceJoined "audience_joined" AudienceMismatch "The token's `aud` is a list written as one text.", "Have the issuer write several audiences as a JSON array (RFC 7519 section 4.1.3).";
    AudienceOtherRoute "audience_other_route" AudienceMismatch "The token is for another API behind this gateway.", "Ask for a token with the audience that `expected` lists; one token does not open another API.";
    AudienceIsClient "audience_is_client" AudienceMismatch "The token's only audience is its own client: it looks like an ID token, or was asked for without naming this API.", "Name this API when you ask for the token (`audience` or `resource`), and send the access_token.";
    ScopeSeparator "scope_separator" ScopeMissing "The scope is there, joined to others by something else than a space.", "Have the issuer write scopes with one space between them, or as a JSON array (RFC 9068 section 2.2.3).";
    ScopeShadowed "scope_shadowed" ScopeMissing "The scope stands in a claim that does not count, because another of the issuer's scope claims is there too.", "Have the issuer write all scopes into one claim: of `scope_claims` the first that is present counts.";
    ScopeElsewhere "scope_elsewhere" ScopeMissing "The scope stands in a claim where this gateway does not look for scopes.", "Ask the operator to add that claim to the issuer's `scope_claims`, or have the issuer write scopes as `scope`.";
    ScopeCase "scope_case" ScopeMissing "The scope is there in other upper and lower case.", "Ask for the scope as `required` lists it: scopes are compared byte for byte.";
}

impl NearMiss {
    /// Finds one by its word.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|near| near.name() == name)
    }

    /// Those of one reason.
    pub fn of(reason: Reason) -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(move |near| near.reason() == reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_words_and_sentences_end() {
        let mut names: Vec<_> = NearMiss::ALL.iter().map(|near| near.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NearMiss::ALL.len());
        for near in NearMiss::ALL {
            assert!(
                near.name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            assert!(
                near.says().ends_with('.') && near.mend().ends_with('.'),
                "{near:?}"
            );
        }
    }
}
