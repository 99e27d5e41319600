//! The closed list of reasons. One word is at once the body's `code`, the metric label, the log
//! word and the name of the help page, so it is defined in this one table.

use http::StatusCode;

/// The steps of the verdict, in the order of reporting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Exactly one bearer credential.
    Credentials,
    /// The token's form.
    Format,
    /// A key of the issuer signed it.
    Signature,
    /// `exp`, `nbf`, `iat`, longest lifetime and age.
    Expiration,
    /// Issuer, audience, required claims.
    Issuer,
    /// Nobody has taken it back.
    Revocation,
    /// Scopes and claim rules of the route.
    Scope,
}

impl Step {
    /// The word for it in bodies and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Format => "format",
            Self::Signature => "signature",
            Self::Expiration => "expiration",
            Self::Issuer => "issuer",
            Self::Revocation => "revocation",
            Self::Scope => "scope",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident $code:literal $status:literal $step:expr, $retryable:literal, $title:literal;)*) => {
        /// Why a request was refused. The list is closed: a test pins it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $title] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the verdict.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word: body, metric label, log, help page.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The title of the problem type (RFC 9457), fixed for each.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// Whether the same request may succeed when it is sent again unchanged.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            /// The step that failed; `None` where the refusal is not about the token.
            #[must_use]
            pub const fn step(self) -> Option<Step> {
                match self { $(Self::$variant => $step,)* }
            }

            const fn status_code(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

use Step::{Credentials, Expiration, Format, Issuer, Revocation, Scope, Signature};

reasons! {
    TokenMissing "token_missing" 401 Some(Credentials), false, "No access token was sent";
    TokenAmbiguous "token_ambiguous" 400 Some(Credentials), false, "More than one credential was sent";
    SchemeUnsupported "scheme_unsupported" 401 Some(Credentials), false, "The authentication scheme is not supported";
    TokenTooLarge "token_too_large" 401 Some(Format), false, "The access token is too large";
    TokenMalformed "token_malformed" 401 Some(Format), false, "The access token is malformed";
    CriticalHeaderUnsupported "critical_header_unsupported" 401 Some(Format), false, "The access token demands an extension that is not supported";
    IssuerUntrusted "issuer_untrusted" 401 Some(Issuer), false, "The access token comes from an issuer that is not trusted here";
    AlgNotAllowed "alg_not_allowed" 401 Some(Signature), false, "The access token is signed with an algorithm that is not allowed";
    KeyUnknown "key_unknown" 401 Some(Signature), false, "The access token names a signing key that its issuer does not publish";
    SignatureInvalid "signature_invalid" 401 Some(Signature), false, "The signature of the access token does not hold";
    KeysUnavailable "keys_unavailable" 503 Some(Signature), true, "The issuer's signing keys are not available";
    TypeNotAllowed "type_not_allowed" 401 Some(Format), false, "The token is not an access token of an accepted type";
    ClaimMissing "claim_missing" 401 Some(Issuer), false, "The access token lacks a required claim";
    TokenExpired "token_expired" 401 Some(Expiration), false, "The access token has expired";
    TokenNotYetValid "token_not_yet_valid" 401 Some(Expiration), true, "The access token is not valid yet";
    TokenIssuedInFuture "token_issued_in_future" 401 Some(Expiration), true, "The access token was issued in the future";
    TokenTooOld "token_too_old" 401 Some(Expiration), false, "The access token is too old";
    LifetimeTooLong "lifetime_too_long" 401 Some(Expiration), false, "The access token lives too long";
    AudienceMismatch "audience_mismatch" 401 Some(Issuer), false, "The access token is meant for another audience";
    ClaimMismatch "claim_mismatch" 401 Some(Issuer), false, "A claim of the access token does not have the required value";
    TokenRevoked "token_revoked" 401 Some(Revocation), false, "The access token has been revoked";
    TokenInactive "token_inactive" 401 Some(Revocation), false, "The access token is not active";
    ScopeMissing "scope_missing" 403 Some(Scope), false, "The access token lacks a scope";
    ClaimNotAllowed "claim_not_allowed" 403 Some(Scope), false, "A claim of the access token does not allow this";
    IntrospectionUnavailable "introspection_unavailable" 503 Some(Signature), true, "The issuer cannot be asked about the access token";
    RevocationsUnavailable "revocations_unavailable" 503 Some(Revocation), true, "The list of revocations may be out of date";
    RequestMalformed "request_malformed" 400 None, false, "The request is malformed";
    RequestTimeout "request_timeout" 408 None, true, "The request did not arrive in time";
    RouteNotFound "route_not_found" 404 None, false, "There is no route for this path";
    MethodNotAllowed "method_not_allowed" 405 None, false, "The method is not allowed here";
    AuthorityUnknown "authority_unknown" 421 None, false, "This server does not answer for that host";
    BodyTooLarge "body_too_large" 413 None, false, "The request body is too large";
    TargetTooLong "target_too_long" 414 None, false, "The request target is too long";
    HeadersTooLarge "headers_too_large" 431 None, false, "The request headers are too large";
    RateLimited "rate_limited" 429 None, true, "Too many requests";
    UpstreamUnreachable "upstream_unreachable" 502 None, true, "The service behind this gateway cannot be reached";
    UpstreamReset "upstream_reset" 502 None, true, "The service behind this gateway broke the connection";
    UpstreamInvalid "upstream_invalid" 502 None, true, "The service behind this gateway gave an invalid response";
    UpstreamTimeout "upstream_timeout" 504 None, true, "The service behind this gateway took too long";
    Overloaded "overloaded" 503 None, true, "The gateway is at its limit";
    Draining "draining" 503 None, true, "The gateway is shutting down";
    InternalError "internal_error" 500 None, true, "The gateway failed";
}

impl Reason {
    /// The HTTP status of the refusal.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Finds a reason by its word.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }

    /// The `error` of the bearer challenge (RFC 6750 section 3.1). `None` where the request
    /// carried no credential to be wrong about, or the fault is not the token's.
    #[must_use]
    pub const fn bearer_error(self) -> Option<&'static str> {
        match self {
            Self::TokenMissing | Self::SchemeUnsupported => None,
            Self::TokenAmbiguous => Some("invalid_request"),
            Self::ScopeMissing | Self::ClaimNotAllowed => Some("insufficient_scope"),
            _ => match (self.step(), self.status_code()) {
                (Some(_), 401) => Some("invalid_token"),
                _ => None,
            },
        }
    }

    /// Whether the refusal carries a bearer challenge.
    #[must_use]
    pub const fn challenges(self) -> bool {
        matches!(self.status_code(), 401 | 403) || matches!(self, Self::TokenAmbiguous)
    }

    /// Whether the gateway or the upstream is at fault rather than the request: the `error`
    /// outcome of the decision metrics.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        self.status_code() >= 500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list is an interface: dashboards, clients and help pages name these words.
    #[test]
    fn the_list_is_closed() {
        let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        let pinned = include_str!("reasons.txt").lines().collect::<Vec<_>>();
        assert_eq!(codes, pinned);
    }

    #[test]
    fn words_find_their_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.code()), Some(*reason));
            assert_eq!(reason.status().as_u16(), reason.status_code());
        }
        assert_eq!(Reason::parse("none"), None);
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        assert_eq!(Reason::TokenMissing.bearer_error(), None);
        assert_eq!(
            Reason::TokenAmbiguous.bearer_error(),
            Some("invalid_request")
        );
        assert_eq!(Reason::TokenRevoked.bearer_error(), Some("invalid_token"));
        assert_eq!(
            Reason::ScopeMissing.bearer_error(),
            Some("insufficient_scope")
        );
        assert_eq!(Reason::KeysUnavailable.bearer_error(), None);
        assert!(!Reason::KeysUnavailable.challenges());
    }
}
