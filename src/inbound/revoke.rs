//! RFC 7009: whoever holds an access token may give it up.
//!
//! The token itself is the proof, so no client authentication is asked for; what a client library sends
//! of it is not looked at. Only a token that could open something here is written down. One that could
//! not is answered with 200 as well (section 2.2): it is as good as revoked.

use http::header::RETRY_AFTER;
use http::{Response, StatusCode};

use super::{Inbound, Received, TooMany, empty, oauth_error, only};
use crate::authenticate::{AuthenticationError, Malformed};
use crate::http::Body;
use crate::http::host::peer_network;
use crate::observe::hex;
use crate::revocation::{Kind, Revocation, Selector};
use crate::verdict::NearMiss;

/// Who revokes.
const AUTHOR: &str = "holder";
/// Seconds after which it may be tried again where it could not be done.
const RETRY_AFTER_SECS: u64 = 5;

impl Inbound {
    pub(super) async fn revoke(&self, received: Received<'_>) -> Result<Response<Body>, TooMany> {
        let taken = self.peers.take(peer_network(received.peer), received.now);
        taken.map_err(TooMany)?;
        let (now, authenticator, policy) = (received.now, received.authenticator, received.policy);
        let bad = |why: &'static str| oauth_error(StatusCode::BAD_REQUEST, "invalid_request", why);
        let fields = match received.form() {
            Ok(fields) => fields,
            Err(why) => return Ok(bad(why)),
        };
        let (token, hint) = match (only(&fields, "token"), only(&fields, "token_type_hint")) {
            (Ok(Some(token)), Ok(hint)) if !token.is_empty() => (token, hint),
            (Err(why), _) | (_, Err(why)) => return Ok(bad(why)),
            _ => return Ok(bad("there is no `token`")),
        };
        let unsupported = |why| oauth_error(StatusCode::BAD_REQUEST, "unsupported_token_type", why);
        let stated = authenticator.statement(token.as_bytes(), policy, now).await;
        let statement = match stated {
            Ok(statement) => statement,
            Err(AuthenticationError::KeysUnavailable) => return Ok(later()),
            Err(error) => {
                let opaque = matches!(
                    error,
                    AuthenticationError::Malformed(Malformed::Near(NearMiss::Opaque))
                );
                let mut issuers = policy.issuers().iter();
                let of_others = opaque && issuers.any(|it| it.rules.introspection.is_some());
                return Ok(if hint == Some("refresh_token") || of_others {
                    unsupported(
                        "only JWT access tokens are revoked here; revoke others at their issuer",
                    )
                } else {
                    empty(StatusCode::OK)
                });
            }
        };
        match authenticator.could_open(&statement, now) {
            Ok(()) => {}
            Err(AuthenticationError::TypeNotAllowed(_)) => {
                return Ok(unsupported("it is no access token"));
            }
            Err(_) => return Ok(empty(StatusCode::OK)),
        }
        let Some(issuer) = statement.issuer() else {
            return Ok(empty(StatusCode::OK));
        };
        let selector = Selector {
            issuer: issuer.issuer.clone(),
            kind: Kind::Token,
            value: hex(statement.fingerprint()).into(),
        };
        let exp = statement.times().ok().and_then(|times| times.exp);
        let until = exp.map(|exp| issuer.over_at(exp));
        let revocation = Revocation::made(selector, None, until, AUTHOR, now);
        Ok(match self.add(revocation, AUTHOR.to_owned(), now).await {
            Ok(()) => empty(StatusCode::OK),
            Err(()) => later(),
        })
    }
}

/// RFC 7009 section 2.2.1: the client must assume that the token still lives.
fn later() -> Response<Body> {
    let mut answer = oauth_error(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "the token could not be revoked now; try again",
    );
    answer
        .headers_mut()
        .insert(RETRY_AFTER, RETRY_AFTER_SECS.into());
    answer
}
