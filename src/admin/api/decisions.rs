//! `/api/v1/decisions`: the last ones, each with the way to it, a summary, and new ones as they come
//! (server-sent events).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Either;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Admin, Answer, candidate, json, problem};
use crate::admin::events::{Events, Following};
use crate::decisions::{Decision, Filter, Place, Ring, summary};
use crate::http::form;

/// Decisions that one answer lists, by default and at the most.
const LISTED: usize = 100;
const LISTED_MAX: usize = 1000;
/// How often those who follow look for new ones: nobody who is judged wakes them.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A line that says that somebody is still there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Events that wait for a slow reader; beyond, it is waited for, and misses what the rings lose.
const WAITING_MAX: usize = 64;

pub(super) async fn answer(
    admin: &Arc<Admin>,
    parts: &Parts,
    rest: Option<&str>,
    body: &[u8],
) -> Answer {
    if let (Some(id), &Method::POST) = (
        rest.and_then(|it| it.strip_suffix("/replay")),
        &parts.method,
    ) {
        return match found(admin, id) {
            Ok(decision) => candidate::replay(admin, &decision, body).await,
            Err(refusal) => *refusal,
        };
    }
    if parts.method != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use GET");
    }
    match rest {
        None => match filter(parts) {
            Err(detail) => problem(StatusCode::BAD_REQUEST, detail),
            Ok((filter, _)) if wants_events(parts) => follow(admin, filter),
            Ok((filter, limit)) => list(admin, &filter, limit),
        },
        Some("summary") => {
            let minutes = admin.metrics.minutes(admin.gateway.clock.now());
            let value = summary(&minutes, &all(&rings(admin)), admin.metrics.names());
            json(StatusCode::OK, &value)
        }
        Some(id) => match found(admin, id) {
            Ok(decision) => json(StatusCode::OK, &decision.whole()),
            Err(refusal) => *refusal,
        },
    }
}

fn found(admin: &Admin, id: &str) -> Result<Arc<Decision>, Box<Answer>> {
    let refused = |status, detail| Box::new(problem(status, detail));
    let id = id.strip_prefix("urn:uuid:").unwrap_or(id).parse::<Uuid>();
    let id = id.map_err(|_| refused(StatusCode::BAD_REQUEST, "the id is no UUID"))?;
    let found = rings(admin).iter().find_map(|ring| ring.find(id));
    found.ok_or_else(|| {
        let detail = "no decision of this id is kept; the audit line may still be there";
        refused(StatusCode::NOT_FOUND, detail)
    })
}

fn rings(admin: &Admin) -> Vec<Arc<Ring>> {
    let active = admin.active.look();
    active
        .lanes
        .iter()
        .map(|lane| Arc::clone(&lane.kept))
        .collect()
}

/// Those of all workers, the oldest first.
fn all(rings: &[Arc<Ring>]) -> Vec<Arc<Decision>> {
    let mut all: Vec<_> = rings.iter().flat_map(|ring| ring.all()).collect();
    all.sort_by_key(|decision| decision.at);
    all
}

fn filter(parts: &Parts) -> Result<(Filter, usize), &'static str> {
    let fields = form::fields(parts.uri.query().unwrap_or_default());
    let fields = fields.ok_or("the query is badly escaped")?;
    let (mut filter, mut limit) = (Filter::default(), LISTED);
    for (name, value) in fields {
        match &*name {
            "outcome" => filter.outcome = Some(value),
            "reason" => filter.reason = Some(value),
            "route" => filter.route = Some(value),
            "issuer" => filter.issuer = Some(value),
            "limit" => {
                let number = value
                    .parse()
                    .ok()
                    .filter(|it| (1..=LISTED_MAX).contains(it));
                limit = number.ok_or("`limit` is a number from 1 to 1000")?;
            }
            _ => return Err("there are outcome, reason, route, issuer and limit"),
        }
    }
    Ok((filter, limit))
}

fn wants_events(parts: &Parts) -> bool {
    let accept = parts.headers.get(ACCEPT);
    accept.is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
}

/// The newest first.
fn list(admin: &Admin, filter: &Filter, limit: usize) -> Answer {
    let names = admin.metrics.names();
    let all = all(&rings(admin));
    let wanted = all.iter().rev().filter(|it| filter.wants(it, names));
    let shown: Vec<Map<String, Value>> = wanted.take(limit).map(|it| it.line()).collect();
    json(
        StatusCode::OK,
        &json!({ "decisions": shown, "kept": all.len() }),
    )
}

/// New ones, as they come.
fn follow(admin: &Arc<Admin>, filter: Filter) -> Answer {
    let Some(following) = Following::begin(&admin.followers) else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many follow already");
    };
    let (events, receiver) = mpsc::channel(WAITING_MAX);
    // From now on, and not from when the task gets its turn: whoever has the answer misses nothing.
    let rings = rings(admin);
    let places = rings.iter().map(|ring| ring.end()).collect();
    tokio::spawn(tell(Arc::clone(admin), filter, (rings, places), events));
    let mut response = Response::new(Either::Right(Events::new(receiver, following)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn tell(
    admin: Arc<Admin>,
    filter: Filter,
    // A reload keeps the rings.
    (rings, mut places): (Vec<Arc<Ring>>, Vec<Place>),
    events: mpsc::Sender<Bytes>,
) {
    let mut ending = admin.ending.clone();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut alive = tokio::time::interval(ALIVE_EVERY);
    loop {
        tokio::select! {
            () = async { _ = ending.wait_for(|ending| *ending).await.is_ok() } => return,
            () = events.closed() => return,
            _ = alive.tick() => {
                if events.send(Bytes::from_static(b": here\n\n")).await.is_err() {
                    return;
                }
            }
            _ = look.tick() => {
                let news = rings.iter().zip(&mut places).flat_map(|(ring, place)| ring.since(place));
                let mut news: Vec<_> = news.filter(|it| filter.wants(it, admin.metrics.names())).collect();
                news.sort_by_key(|decision| decision.at);
                for decision in news {
                    let line = serde_json::to_string(&decision.line()).unwrap_or_default();
                    let event = format!("id: {}\ndata: {line}\n\n", decision.id);
                    if events.send(event.into()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
