//! The admin listener and the probe address: health, metrics, and the admin API.
//!
//! Health and metrics are free; all of `/api/v1` needs the admin token. A page in an operator's
//! browser must not reach it by DNS rebinding or across origins: the `Host` is compared with a
//! list, a foreign `Origin` is refused, and changes are JSON only. It runs on control's runtime.

mod api;
mod console;
mod events;
mod health;
mod readings;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, Semaphore, watch};

use crate::control::{Active, ReloadStatus, Reloads, SavedKeys};
use crate::gateway::Gateway;
use crate::listen::admission::Admission;
use crate::listen::{Acceptor, Stream};
use crate::observe::Metrics;
use crate::policy::Policy;
use crate::published::Published;
use crate::revocation::Revocations;
use events::Events;
pub(crate) use events::FOLLOWERS_MAX;

/// Connections at once, on each address.
const CONNECTIONS_MAX: usize = 256;
/// And from one peer, which must not be able to keep the others out.
const CONNECTIONS_PER_PEER_MAX: usize = 64;
/// A connection has one request and this long for all of it: whoever can reach the address must
/// not be able to keep a probe or an operator out.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// The largest body of a request.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What the admin side can see and change.
pub(crate) struct Admin {
    pub(crate) gateway: Arc<Gateway>,
    /// What serves now.
    pub(crate) active: Arc<Published<Active>>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reloads: Reloads,
    pub(crate) reloaded: Arc<ReloadStatus>,
    /// Told when the gateway is to end.
    pub(crate) drains: Arc<Notify>,
    /// This run of the process, for names that must not repeat.
    pub(crate) run: uuid::Uuid,
    pub(crate) ending: watch::Receiver<bool>,
    /// The configuration's file; `None`: it came from elsewhere.
    pub(crate) file: Option<PathBuf>,
    /// Keys of earlier runs.
    pub(crate) saved: SavedKeys,
    /// One configuration is read at a time.
    pub(crate) making: Semaphore,
    /// Places for those who follow what happens.
    pub(crate) followers: Arc<Semaphore>,
}

/// What one address serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everything,
    /// Health and metrics alone.
    Probes,
}

/// Whole, or one that goes on.
type Answer = Response<Either<Full<Bytes>, Events>>;

/// Serves an address until the gateway has ended, or another takes over.
pub(crate) async fn serve(
    admin: Arc<Admin>,
    acceptor: Acceptor,
    scope: Scope,
    mut over: watch::Receiver<bool>,
) {
    let admission = Arc::new(Admission::new(CONNECTIONS_MAX, CONNECTIONS_PER_PEER_MAX));
    loop {
        let next = tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => return,
            next = acceptor.next() => next,
        };
        let Ok((stream, peer)) = next else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(mut admitted) = admission.admit() else {
            continue;
        };
        if admitted.of_peer(peer).is_err() {
            continue;
        }
        let admin = Arc::clone(&admin);
        let by_network = matches!(stream, Stream::Left(_));
        tokio::spawn(async move {
            // Whether the answer is one that goes on.
            let follows = AtomicBool::new(false);
            let service = service_fn(|request| {
                let (admin, follows) = (Arc::clone(&admin), &follows);
                async move {
                    // A change that has begun comes to its end and into the audit, also if whoever
                    // asked has gone.
                    let answering =
                        tokio::spawn(
                            async move { answer(&admin, scope, by_network, request).await },
                        );
                    let failed =
                        |_| problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed");
                    let answer = answering.await.unwrap_or_else(failed);
                    follows.store(matches!(answer.body(), Either::Right(_)), Ordering::Relaxed);
                    Ok::<_, Infallible>(answer)
                }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            // Whoever asked has gone, or took too long; there is nobody to tell.
            let over = tokio::time::timeout(CONNECTION_LIMIT, connection.as_mut()).await;
            if over.is_err() && follows.load(Ordering::Relaxed) {
                let _ = connection.await;
            }
            drop(admitted);
        });
    }
}

async fn answer(
    admin: &Arc<Admin>,
    scope: Scope,
    by_network: bool,
    request: Request<Incoming>,
) -> Answer {
    let (parts, body) = request.into_parts();
    // No page of a browser reaches a socket in the file system.
    if scope == Scope::Everything
        && by_network
        && let Err(refusal) = admin.guard_origin(&parts.headers)
    {
        return *refusal;
    }
    match parts.uri.path() {
        "/livez" => text(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            "ok\n".to_owned(),
        ),
        "/readyz" => health::ready(admin, parts.uri.query() == Some("verbose")),
        "/metrics" => {
            let page = admin.metrics.text(readings::read(admin));
            text(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                page,
            )
        }
        path if scope == Scope::Everything && path.starts_with("/api/v1/") => {
            if !admin.holds_token(&parts.headers) {
                let mut refusal = problem(
                    StatusCode::UNAUTHORIZED,
                    "the admin token is missing or wrong",
                );
                let challenge = HeaderValue::from_static("Bearer realm=\"bearward admin\"");
                refusal.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                return refusal;
            }
            match Limited::new(body, BODY_BYTES_MAX).collect().await {
                Ok(body) => api::answer(admin, &parts, &body.to_bytes()).await,
                Err(_) => problem(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the body is larger than 1 MiB or broke off",
                ),
            }
        }
        _ if scope == Scope::Everything && admin.active.look().console => {
            let nothing = || problem(StatusCode::NOT_FOUND, "there is nothing here");
            console::answer(&parts).unwrap_or_else(nothing)
        }
        _ => problem(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}

impl Admin {
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.active.look().setup.policy)
    }

    /// Refuses what a foreign page could send through an operator's browser.
    fn guard_origin(&self, headers: &http::HeaderMap) -> Result<(), Box<Answer>> {
        let host = headers
            .get(HOST)
            .and_then(|host| Authority::try_from(host.as_bytes()).ok())
            .map(|authority| authority.host().to_ascii_lowercase());
        let active = self.active.load();
        let allowed = |host: &str| active.allowed_hosts.iter().any(|allowed| allowed == host);
        if !host.is_some_and(|host| allowed(&host)) {
            return Err(Box::new(problem(
                StatusCode::MISDIRECTED_REQUEST,
                "this host is not in admin.allowed_hosts",
            )));
        }
        // The very origin that was asked: another port is another page.
        let foreign = headers.get(ORIGIN).is_some_and(|origin| {
            let origin = origin
                .to_str()
                .ok()
                .and_then(|it| it.parse::<http::Uri>().ok());
            let authority = origin.and_then(|origin| origin.into_parts().authority);
            let asked = headers.get(HOST).and_then(|host| host.to_str().ok());
            !authority
                .zip(asked)
                .is_some_and(|(origin, asked)| origin.as_str().eq_ignore_ascii_case(asked))
        });
        if foreign {
            return Err(Box::new(problem(
                StatusCode::FORBIDDEN,
                "a page of another origin may not ask this",
            )));
        }
        Ok(())
    }

    fn holds_token(&self, headers: &http::HeaderMap) -> bool {
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .is_some_and(|token| self.active.look().admin_token.matches(token))
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    let body = serde_json::to_string(value).unwrap_or_default();
    text(status, "application/json", body)
}

/// A fault of an admin request (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Answer {
    let body = problem_body(status, detail);
    text(status, "application/problem+json", body.to_string())
}

/// The faults of a configuration, for people and for programs.
fn faults(detail: &str, report: &str, findings: &str) -> Answer {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let mut body = problem_body(status, detail);
    if let Some(members) = body.as_object_mut() {
        let findings = serde_json::from_str(findings).unwrap_or_default();
        members.insert("report".to_owned(), report.into());
        members.insert("findings".to_owned(), findings);
    }
    text(status, "application/problem+json", body.to_string())
}

fn problem_body(status: StatusCode, detail: &str) -> serde_json::Value {
    serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    })
}
