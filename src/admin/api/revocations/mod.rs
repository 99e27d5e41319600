//! `/api/v1/revocations`: adding, listing, taking back; import, export, and the end of a loss.
//!
//! The list is synced before an answer is given, on a thread that may wait for the disk.

mod shown;

use std::sync::Arc;
use std::time::Duration;

use http::header::{ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{ACTOR, Admin, Answer, json, problem, text};
use crate::control::revocations;
use crate::http::form::fields;
use crate::http::headers::media_type;
use crate::observe::audit::{AdminEvent, SelectorNotes};
use crate::revocation::{Added, Feed, Kind, Revocation, Revocations, StoreError};
use shown::Shown;

/// Revocations in one answer, unless fewer are asked for.
const LISTED_MAX: usize = 1000;
/// How long an answer waits for the other replicas to be told, and between two looks.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
const TOLD_LOOK: Duration = Duration::from_millis(2);
/// Revocations in one import.
const IMPORTED_MAX: usize = 10_000;

pub(super) async fn answer(
    admin: &Admin,
    parts: &Parts,
    rest: Option<&str>,
    body: &[u8],
) -> Answer {
    let answer = match (rest, &parts.method) {
        (None, &Method::GET) => list(admin, parts).await,
        (None, &Method::POST) => add(admin, &parts.headers, body).await,
        (None, _) => Err(problem(StatusCode::METHOD_NOT_ALLOWED, "use GET or POST")),
        (Some("import"), &Method::POST) => import(admin, body).await,
        (Some("export"), &Method::GET) => export(admin, parts).await,
        (Some("accept-loss"), &Method::POST) => accept_loss(admin).await,
        (Some("import" | "accept-loss"), _) => {
            Err(problem(StatusCode::METHOD_NOT_ALLOWED, "use POST"))
        }
        (Some("export"), _) => Err(problem(StatusCode::METHOD_NOT_ALLOWED, "use GET")),
        (Some(id), &Method::DELETE) => remove(admin, id).await,
        (Some(_), _) => Err(problem(StatusCode::METHOD_NOT_ALLOWED, "use DELETE")),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

/// When to ask again while another gateway takes the list over, in seconds.
const RETRY_AFTER_SECS: u64 = 1;

/// Does something with the list on a thread that may wait.
async fn with_list<T: Send + 'static>(
    admin: &Admin,
    does: impl FnOnce(&Revocations) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Answer> {
    let revocations = Arc::clone(&admin.revocations);
    let done = tokio::task::spawn_blocking(move || does(&revocations)).await;
    let done = done.map_err(|error| StoreError::Store(error.to_string()));
    done.and_then(|done| done).map_err(|error| match error {
        StoreError::LetGo => {
            let mut later = problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
            later
                .headers_mut()
                .insert(RETRY_AFTER, RETRY_AFTER_SECS.into());
            later
        }
        _ => problem(StatusCode::INSUFFICIENT_STORAGE, &error.to_string()),
    })
}

/// What a query asks for.
struct Wanted {
    before: Option<Uuid>,
    limit: usize,
    issuer: Option<String>,
    kind: Option<Kind>,
    value: Option<String>,
}

impl Wanted {
    /// Reads a query, or says what is wrong with it.
    fn read(admin: &Admin, query: &str) -> Result<Self, &'static str> {
        let mut wanted = Self {
            before: None,
            limit: LISTED_MAX,
            issuer: None,
            kind: None,
            value: None,
        };
        for (name, value) in fields(query).ok_or("the query is badly escaped")? {
            match name.as_str() {
                "before" => {
                    let id = Uuid::try_parse(&value);
                    wanted.before = Some(id.map_err(|_| "`before` is no id")?);
                }
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|it| (1..=LISTED_MAX).contains(it));
                    wanted.limit = limit.ok_or("`limit` is no number from 1 to 1000")?;
                }
                "issuer" => wanted.issuer = Some(revocations::identifier(&admin.policy(), &value)),
                "by" => {
                    let kind = Kind::parse(&value);
                    wanted.kind = Some(kind.ok_or("`by` is no kind of selector")?);
                }
                "value" => wanted.value = Some(value),
                _ => return Err("known here: before, limit, issuer, by, value"),
            }
        }
        Ok(wanted)
    }

    fn fits(&self, revocation: &Revocation) -> bool {
        let selector = &revocation.selector;
        self.issuer
            .as_ref()
            .is_none_or(|it| **it == *selector.issuer)
            && self.kind.is_none_or(|it| it == selector.kind)
            && self.value.as_ref().is_none_or(|it| **it == *selector.value)
    }
}

async fn list(admin: &Admin, parts: &Parts) -> Result<Answer, Answer> {
    let wanted = Wanted::read(admin, parts.uri.query().unwrap_or_default())
        .map_err(|detail| problem(StatusCode::BAD_REQUEST, detail))?;
    // Read before the list: one that changes meanwhile has another name the next time.
    let generation = admin.revocations.generation();
    let etag = format!(
        "\"{}-{generation}-{}\"",
        admin.run,
        feed(admin).unwrap_or("alone")
    );
    let etag = HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"0\""));
    if parts.headers.get(IF_NONE_MATCH) == Some(&etag) {
        let mut answer = text(StatusCode::NOT_MODIFIED, "application/json", String::new());
        answer.headers_mut().insert(ETAG, etag);
        return Ok(answer);
    }
    let page = with_list(admin, move |list| {
        list.page(wanted.before, wanted.limit, |it| wanted.fits(it))
    });
    let page = page.await?;
    let lost = with_list(admin, Revocations::lost).await?;
    let shown: Vec<_> = page
        .revocations
        .iter()
        .map(|it| Shown::of(it, admin))
        .collect();
    let next = page.revocations.last().filter(|_| page.more);
    let mut answer = json(
        StatusCode::OK,
        &json!({
            "count": admin.revocations.len(),
            "durable": admin.revocations.is_durable(),
            "feed": feed(admin),
            "feed_error": admin.revocations.feed().and_then(Feed::down_because),
            "lost": lost,
            "next": next.map(|last| last.id),
            "revocations": shown,
        }),
    );
    answer.headers_mut().insert(ETAG, etag);
    Ok(answer)
}

/// JSON lines, the newest first, a part at a time.
async fn export(admin: &Admin, parts: &Parts) -> Result<Answer, Answer> {
    let wanted = Wanted::read(admin, parts.uri.query().unwrap_or_default())
        .map_err(|detail| problem(StatusCode::BAD_REQUEST, detail))?;
    let page = with_list(admin, move |list| {
        list.page(wanted.before, wanted.limit, |it| wanted.fits(it))
    });
    let mut lines = String::new();
    for revocation in page.await?.revocations {
        let line = serde_json::to_string(&Shown::exported(&revocation, admin));
        lines.push_str(&line.unwrap_or_default());
        lines.push('\n');
    }
    Ok(text(StatusCode::OK, "application/jsonl", lines))
}

async fn remove(admin: &Admin, id: &str) -> Result<Answer, Answer> {
    let unknown = || problem(StatusCode::NOT_FOUND, "no revocation has this id");
    let id = Uuid::try_parse(id).map_err(|_| unknown())?;
    let removed = with_list(admin, move |list| list.remove(id)).await?;
    let result = if removed.is_some() {
        "removed"
    } else {
        "unknown"
    };
    audit(
        admin,
        "revocation.remove",
        &id.to_string(),
        result,
        removed.as_ref(),
    );
    match removed {
        Some(_) => Ok(json(
            StatusCode::OK,
            &json!({ "id": id, "removed": true, "feed": told(admin).await }),
        )),
        None => Err(unknown()),
    }
}

async fn add(admin: &Admin, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Answer> {
    if !media_type(headers).eq_ignore_ascii_case(b"application/json") {
        let detail = "send Content-Type: application/json";
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let new = revocations::read(body).map_err(|why| {
        let detail = format!("the body is no revocation: {why}");
        problem(StatusCode::BAD_REQUEST, &detail)
    })?;
    let new = new.own();
    let dry_run = new.dry_run;
    let now = admin.gateway.clock.now();
    let revocation = revocations::checked(new, (&admin.policy(), now), ACTOR)
        .map_err(|detail| problem(StatusCode::BAD_REQUEST, &detail))?;
    if dry_run {
        let hit = admin.gateway.authenticator.cached_that(&revocation);
        return Ok(json(
            StatusCode::OK,
            &json!({ "dry_run": true, "cached_tokens": hit, "would_add": Shown::of(&revocation, admin) }),
        ));
    }
    let added = with_list(admin, move |list| list.add(vec![revocation])).await?;
    let Some(added) = added.into_iter().next() else {
        return Err(problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "nothing was added",
        ));
    };
    let (status, result, revocation) = match &added {
        Added::New(revocation) => (StatusCode::CREATED, "added", revocation),
        Added::Known(revocation) => (StatusCode::OK, "known", revocation),
    };
    let target = revocation.id.to_string();
    audit(admin, "revocation.add", &target, result, Some(revocation));
    let answer = shown::Answered {
        revocation: Shown::of(revocation, admin),
        added: status == StatusCode::CREATED,
        feed: told(admin).await,
    };
    Ok(json(status, &answer))
}

/// Whether the other replicas have been told of all that was changed here; waits a little for that.
async fn told(admin: &Admin) -> Option<&'static str> {
    let feed = admin.revocations.feed()?;
    let deadline = Instant::now() + TOLD_WITHIN;
    while feed.is_connected() && feed.untold() > 0 {
        if Instant::now() >= deadline {
            return Some("disconnected");
        }
        tokio::time::sleep(TOLD_LOOK).await;
    }
    self::feed(admin)
}

/// Whether the link to the other replicas is there; `null` where there are none.
fn feed(admin: &Admin) -> Option<&'static str> {
    let feed = admin.revocations.feed()?;
    Some(match feed.is_connected() {
        true => "connected",
        false => "disconnected",
    })
}

/// JSON lines as they are exported; all of them or none.
async fn import(admin: &Admin, body: &[u8]) -> Result<Answer, Answer> {
    let at = (&*admin.policy(), admin.gateway.clock.now());
    let lines = revocations::read_lines(body, IMPORTED_MAX, at, ACTOR);
    let revocations = lines.map_err(|(line, why)| {
        let detail = format!("line {line}: {why}; nothing was imported");
        problem(StatusCode::BAD_REQUEST, &detail)
    })?;
    let added = with_list(admin, move |list| list.add(revocations)).await?;
    let is_new = |added: &&Added| matches!(added, Added::New(_));
    let new = added.iter().filter(is_new).count();
    let result = format!("{new} added, {} known", added.len() - new);
    audit(admin, "revocation.import", "", &result, None);
    Ok(json(
        StatusCode::OK,
        &json!({ "added": new, "known": added.len() - new, "durable": admin.revocations.is_durable(), "feed": told(admin).await }),
    ))
}

async fn accept_loss(admin: &Admin) -> Result<Answer, Answer> {
    let lost = with_list(admin, |list| {
        let lost = list.lost()?;
        list.accept_loss()?;
        Ok(lost)
    });
    let lost = lost.await?;
    audit(
        admin,
        "revocation.accept-loss",
        &lost.join(", "),
        "accepted",
        None,
    );
    Ok(json(StatusCode::OK, &json!({ "accepted": lost })))
}

fn audit(admin: &Admin, action: &str, target: &str, result: &str, revocation: Option<&Revocation>) {
    let audit = &admin.gateway.audit;
    let name = revocation.map(|it| revocations::name_of(&admin.policy(), &it.selector.issuer));
    let change = AdminEvent {
        actor: ACTOR,
        action,
        target,
        result,
        selector: revocation.map(|revocation| SelectorNotes {
            issuer: name.as_deref().unwrap_or_default(),
            by: revocation.selector.kind.name(),
            value: audit.by_policy(&revocation.selector.value),
        }),
        reason: revocation.and_then(|revocation| revocation.reason.as_deref()),
    };
    audit.admin(admin.gateway.clock.now(), &change);
}
