//! Asking an issuer about an opaque token (RFC 7662), within bounds.
//!
//! One question at a time for one token, however many requests wait for it; a bounded number of
//! questions at once; and whatever is not a clear answer is no answer: the request is refused with
//! 503 and the token is neither good nor bad.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::fetch::{FetchError, Fetcher, Trust};
use crate::authenticate::{Introspection, IntrospectionRequest, TokenDigest};
use crate::config::{ClientAuth, IntrospectionSettings};
use crate::oauth::Json;
use crate::observe::metrics::Durations;
use crate::secret::Secret;

/// Questions at once to one issuer.
const QUESTIONS_MAX: usize = 64;
/// Tokens that may wait for their turn, the running ones among them.
const TOKENS_MAX: usize = 1024;
/// Requests that wait for the answer about one token.
const WAITING_MAX: usize = 1024;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IntrospectionError {
    #[error("the endpoint does not accept the gateway's client id and secret (status {0})")]
    Client(u16),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("the answer is no JSON object with `active` in it")]
    Form,
}

/// How the questions to one issuer went.
#[derive(Debug, Default)]
pub(crate) struct IntrospectionStatus {
    pub(crate) active: Durations,
    pub(crate) inactive: Durations,
    pub(crate) failed: Durations,
    /// Why the last question had no answer; `None` when it had one.
    failure: Mutex<Option<IntrospectionError>>,
}

impl IntrospectionStatus {
    pub(crate) fn failure(&self) -> Option<IntrospectionError> {
        let failure = self.failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is news.
    fn note(&self, now: Option<IntrospectionError>) -> bool {
        let failure = self.failure.lock();
        let mut failure = failure.unwrap_or_else(PoisonError::into_inner);
        let news = *failure != now;
        *failure = now;
        news
    }
}

type Waiting = Vec<oneshot::Sender<Introspection>>;

/// Asks one issuer.
pub(crate) struct Introspector {
    name: Arc<str>,
    endpoint: String,
    client: Client,
    fetcher: Fetcher,
    status: Arc<IntrospectionStatus>,
    waiting: Mutex<HashMap<TokenDigest, Waiting>>,
    turns: Semaphore,
}

/// How we show who we are.
enum Client {
    Header(HeaderValue),
    /// The end of the form.
    Form(Secret),
}

impl Introspector {
    /// # Errors
    /// The roots cannot be used.
    pub(super) fn new(
        name: &Arc<str>,
        settings: &IntrospectionSettings,
        trust: &mut Trust,
        status: Arc<IntrospectionStatus>,
    ) -> Result<Self, FetchError> {
        Ok(Self {
            name: Arc::clone(name),
            endpoint: settings.endpoint.clone(),
            client: client(settings)?,
            fetcher: Fetcher::by(&settings.fetch, trust)?,
            status,
            waiting: Mutex::default(),
            turns: Semaphore::new(QUESTIONS_MAX),
        })
    }

    /// Answers a question in its turn; drops it where too many wait, which says that there is no
    /// answer.
    pub(super) fn ask(self: &Arc<Self>, request: IntrospectionRequest) {
        let mut waiting = self.lock();
        if let Some(others) = waiting.get_mut(&request.digest) {
            if others.len() < WAITING_MAX {
                others.push(request.answer);
            }
            return;
        }
        if waiting.len() >= TOKENS_MAX {
            return;
        }
        waiting.insert(request.digest, vec![request.answer]);
        drop(waiting);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let answer = this.answer(&request.token).await;
            let waiting = this.lock().remove(&request.digest).unwrap_or_default();
            let Some(answer) = answer else { return };
            for asker in waiting {
                // It may have given up waiting.
                let _ = asker.send(answer.clone());
            }
        });
    }

    async fn answer(&self, token: &Secret) -> Option<Introspection> {
        // Never closed.
        let _turn = self.turns.acquire().await.ok()?;
        let started = Instant::now();
        let asked = self.question(token).await;
        let durations = match &asked {
            Ok(Introspection::Active(_)) => &self.status.active,
            Ok(Introspection::Inactive) => &self.status.inactive,
            Err(_) => &self.status.failed,
        };
        durations.observe(started.elapsed());
        if self.status.note(asked.as_ref().err().cloned()) {
            match &asked {
                Ok(_) => {
                    tracing::info!(issuer = %self.name, endpoint = self.endpoint, "introspection answers again")
                }
                Err(error) => {
                    tracing::error!(issuer = %self.name, endpoint = self.endpoint, %error, "introspection does not answer")
                }
            }
        }
        asked.ok()
    }

    async fn question(&self, token: &Secret) -> Result<Introspection, IntrospectionError> {
        let mut form = Zeroizing::new(b"token_type_hint=access_token&token=".to_vec());
        encode(token.expose(), &mut form);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match &self.client {
            Client::Header(value) => request = request.header(AUTHORIZATION, value),
            Client::Form(end) => form.extend_from_slice(end.expose()),
        }
        let request = request
            .body(Bytes::copy_from_slice(&form))
            .map_err(|_| FetchError::Url)?;
        let response = self.fetcher.send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            // RFC 7662 section 2.3.
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(IntrospectionError::Client(status.as_u16()));
            }
            status => return Err(FetchError::Status(status.as_u16()).into()),
        }
        let members = Json::object(response.body()).ok_or(IntrospectionError::Form)?;
        match members.get("active") {
            Some(Json::Bool(true)) => Ok(Introspection::Active(Arc::new(members))),
            Some(Json::Bool(false)) => Ok(Introspection::Inactive),
            _ => Err(IntrospectionError::Form),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TokenDigest, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(settings: &IntrospectionSettings) -> Result<Client, FetchError> {
    let (id, secret) = (
        settings.client_id.as_bytes(),
        settings.client_secret.expose(),
    );
    Ok(match settings.client_auth {
        // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
        ClientAuth::Basic => {
            let mut pair = Zeroizing::new(Vec::new());
            encode(id, &mut pair);
            pair.push(b':');
            encode(secret, &mut pair);
            let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
            let mut value = HeaderValue::from_str(&value).map_err(|_| FetchError::Url)?;
            value.set_sensitive(true);
            Client::Header(value)
        }
        ClientAuth::Post => {
            let mut end = b"&client_id=".to_vec();
            encode(id, &mut end);
            end.extend_from_slice(b"&client_secret=");
            encode(secret, &mut end);
            Client::Form(Secret::new(end))
        }
    })
}

/// `application/x-www-form-urlencoded`; what is not surely plain is escaped.
fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._".contains(byte) {
            out.push(*byte);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_escaped() {
        let mut out = Vec::new();
        encode("a-._9~+/= &:é".as_bytes(), &mut out);
        assert_eq!(out, b"a-._9%7E%2B%2F%3D%20%26%3A%C3%A9");
    }
}
