//! Asking an issuer about an opaque token (RFC 7662), within bounds.
//!
//! One question at a time for one token, however many requests wait for it, and none that nobody
//! waits for any more; a bounded number at once, with a share for tokens that the issuer honoured a
//! moment ago, and a bound for each peer, since anybody can make tokens up; and whatever is not a clear answer is no answer: the request is refused with
//! 503 and the token is neither good nor bad.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
use crate::clock::{Clock, UnixTime};
use crate::config::{ClientAuth, IntrospectionSettings};
use crate::http::form;
use crate::http::host::peer_network;
use crate::oauth::Json;
use crate::observe::metrics::Durations;
use crate::secret::Secret;

/// Questions at once to one issuer, about tokens that it has not honoured of late.
const QUESTIONS_MAX: usize = 48;
/// And about those that it has: made-up tokens do not stand in their way.
const QUESTIONS_KNOWN_MAX: usize = 16;
/// Tokens that may wait for their turn, the running ones among them.
const TOKENS_MAX: usize = 1024;
/// And of them from one peer (an IPv6 /64), of tokens that the issuer has not honoured of late.
const TOKENS_PER_PEER_MAX: usize = 128;
/// Requests that wait for the answer about one token.
const WAITING_MAX: usize = 16_384;

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
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// When a question was last answered.
    answered: Option<UnixTime>,
    /// When and why the last question had no answer; `None` when it had one.
    failed: Option<(UnixTime, IntrospectionError)>,
    /// When the log was last told.
    told: Option<Instant>,
}

/// Whoever sends tokens may make answers and failures take turns; the log is told at most this often.
const TELL_AGAIN: Duration = Duration::from_secs(10);

impl IntrospectionStatus {
    /// When and why the last question had no answer; `None` when it had one.
    pub(crate) fn failure(&self) -> Option<(UnixTime, IntrospectionError)> {
        self.lock().failed.clone()
    }

    /// When a question was last answered.
    pub(crate) fn answered(&self) -> Option<UnixTime> {
        self.lock().answered
    }

    /// Whether this is news for the log.
    fn note(&self, now: UnixTime, failed: Option<&IntrospectionError>) -> bool {
        let mut last = self.lock();
        let changed = last.failed.as_ref().map(|(_, error)| error) != failed;
        match failed {
            Some(error) => last.failed = Some((now, error.clone())),
            None => {
                last.failed = None;
                last.answered = Some(now);
            }
        }
        let news = changed && last.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN);
        if news {
            last.told = Some(Instant::now());
        }
        news
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who waits for the answers.
#[derive(Debug, Default)]
struct Waiting {
    tokens: HashMap<TokenDigest, Vec<oneshot::Sender<Introspection>>>,
    by_peer: HashMap<IpAddr, usize>,
}

/// The place of one question; given back however the question ends.
struct Place {
    introspector: Arc<Introspector>,
    digest: TokenDigest,
    /// Who holds it, of a token that is not known.
    peer: Option<IpAddr>,
}

impl Place {
    /// Whether anybody still wants to know.
    fn is_wanted(&self) -> bool {
        let waiting = self.introspector.lock();
        let askers = waiting.tokens.get(&self.digest);
        askers.is_some_and(|askers| askers.iter().any(|asker| !asker.is_closed()))
    }

    fn askers(&self) -> Vec<oneshot::Sender<Introspection>> {
        let mut waiting = self.introspector.lock();
        waiting.tokens.remove(&self.digest).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.introspector.lock();
        waiting.tokens.remove(&self.digest);
        if let Some(peer) = self.peer
            && let Some(count) = waiting.by_peer.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                waiting.by_peer.remove(&peer);
            }
        }
    }
}

/// Asks one issuer.
pub(crate) struct Introspector {
    name: Arc<str>,
    endpoint: String,
    client: Client,
    fetcher: Fetcher,
    status: Arc<IntrospectionStatus>,
    clock: Arc<dyn Clock>,
    waiting: Mutex<Waiting>,
    turns: Semaphore,
    turns_known: Semaphore,
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
        (status, clock): (Arc<IntrospectionStatus>, Arc<dyn Clock>),
    ) -> Result<Self, FetchError> {
        Ok(Self {
            name: Arc::clone(name),
            endpoint: settings.endpoint.clone(),
            client: client(settings)?,
            fetcher: Fetcher::by(&settings.fetch, trust)?,
            status,
            clock,
            waiting: Mutex::default(),
            turns: Semaphore::new(QUESTIONS_MAX),
            turns_known: Semaphore::new(QUESTIONS_KNOWN_MAX),
        })
    }

    /// Answers a question in its turn; drops it where too many wait, which says that there is no
    /// answer.
    pub(super) fn ask(self: &Arc<Self>, request: IntrospectionRequest) {
        let mut waiting = self.lock();
        if let Some(others) = waiting.tokens.get_mut(&request.digest) {
            if others.len() < WAITING_MAX {
                others.push(request.answer);
            }
            return;
        }
        let peer = (!request.known).then(|| peer_network(request.peer));
        if let Some(peer) = peer {
            let held = waiting.by_peer.get(&peer).copied().unwrap_or_default();
            if waiting.tokens.len() >= TOKENS_MAX || held >= TOKENS_PER_PEER_MAX {
                return;
            }
            waiting.by_peer.insert(peer, held + 1);
        }
        waiting.tokens.insert(request.digest, vec![request.answer]);
        drop(waiting);
        let place = Place {
            introspector: Arc::clone(self),
            digest: request.digest,
            peer,
        };
        let (token, known) = (request.token, request.known);
        tokio::spawn(async move {
            let this = Arc::clone(&place.introspector);
            let turns = if known {
                &this.turns_known
            } else {
                &this.turns
            };
            // Never closed.
            let Ok(_turn) = turns.acquire().await else {
                return;
            };
            if !place.is_wanted() {
                return;
            }
            let Some(answer) = this.answer(&token).await else {
                return;
            };
            for asker in place.askers() {
                // It may have given up waiting.
                let _ = asker.send(answer.clone());
            }
        });
    }

    async fn answer(&self, token: &Secret) -> Option<Introspection> {
        let started = Instant::now();
        let asked = self.question(token).await;
        let durations = match &asked {
            Ok(Introspection::Active(_)) => &self.status.active,
            Ok(Introspection::Inactive) => &self.status.inactive,
            Err(_) => &self.status.failed,
        };
        durations.observe(started.elapsed());
        if self.status.note(self.clock.now(), asked.as_ref().err()) {
            match &asked {
                Ok(_) => {
                    tracing::info!(issuer = %self.name, endpoint = self.endpoint, "introspection answers");
                }
                Err(error) => {
                    tracing::error!(issuer = %self.name, endpoint = self.endpoint, %error, "introspection does not answer");
                }
            }
        }
        asked.ok()
    }

    /// Asks about a token that nobody has made.
    ///
    /// # Errors
    /// There is no answer, or it says that the token is good.
    pub(super) async fn try_out(&self) -> Result<(), IntrospectionError> {
        match self
            .question(&Secret::new(b"bearward-doctor".to_vec()))
            .await?
        {
            Introspection::Inactive => Ok(()),
            // Whoever says this of any token lets anybody in.
            Introspection::Active(_) => Err(IntrospectionError::Form),
        }
    }

    async fn question(&self, token: &Secret) -> Result<Introspection, IntrospectionError> {
        let mut form = Zeroizing::new(b"token_type_hint=access_token&token=".to_vec());
        form::escape(token.expose(), &mut form);
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
            // Our questions are all of one form: what the endpoint does not like is the token.
            StatusCode::BAD_REQUEST if !names_client(response.body()) => {
                return Ok(Introspection::Inactive);
            }
            StatusCode::BAD_REQUEST => return Err(IntrospectionError::Client(400)),
            status => return Err(FetchError::Status(status.as_u16()).into()),
        }
        let members = Json::object(response.body()).ok_or(IntrospectionError::Form)?;
        match members.get("active") {
            Some(Json::Bool(true)) => Ok(Introspection::Active(Arc::new(members))),
            Some(Json::Bool(false)) => Ok(Introspection::Inactive),
            _ => Err(IntrospectionError::Form),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error of the endpoint is about the gateway and not about the token (RFC 6749 section
/// 5.2).
fn names_client(body: &[u8]) -> bool {
    let members = Json::object(body);
    let error = members.as_ref().and_then(|it| it.get("error")?.as_text());
    matches!(
        error,
        Some("invalid_client" | "unauthorized_client" | "invalid_client_metadata")
    )
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
            form::escape(id, &mut pair);
            pair.push(b':');
            form::escape(secret, &mut pair);
            let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
            let mut value = HeaderValue::from_str(&value).map_err(|_| FetchError::Url)?;
            value.set_sensitive(true);
            Client::Header(value)
        }
        ClientAuth::Post => {
            let mut end = b"&client_id=".to_vec();
            form::escape(id, &mut end);
            end.extend_from_slice(b"&client_secret=");
            form::escape(secret, &mut end);
            Client::Form(Secret::new(end))
        }
    })
}
