//! The audit line, which is also the access line: one JSON object a decision or change.
//!
//! Refusals are always written, up to a rate; allowed requests are sampled.

mod file;
mod lines;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::Serialize;

use super::lines::{Lines, To};
use super::{Exchange, Names, Outcome, hex, shown};
use crate::clock::{Clock, UnixTime};
use crate::published::Published;

use super::names::Places;
use file::AuditFile;
use lines::{ChangeLine, DecisionLine, KID_CHARS_MAX};

pub(crate) use file::{FileSettings, Reopen, hash};
pub(crate) use lines::{AdminEvent, KeyEvent, SelectorNotes};

/// What is kept of a path. Queries, where secrets hide, are not written at all.
const PATH_CHARS_MAX: usize = 256;

/// What happens to subjects and token ids in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectPolicy {
    /// A keyed hash: lines of one subject can be matched, the subject cannot be read.
    Hash,
    Plain,
    Off,
}

/// The settings of `[audit]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuditSettings {
    /// One allowed request in so many is written; `None` is none.
    pub(crate) allow_one_in: Option<u64>,
    /// Refusals a second.
    pub(crate) deny_per_second: u64,
    pub(crate) subject: SubjectPolicy,
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Off,
    Stdout,
    File(FileSettings),
}

/// Writes audit lines, or counts what it leaves out.
pub(crate) struct Audit {
    settings: Published<AuditSettings>,
    lines: Option<Lines>,
    reopen: Reopen,
    key: aws_lc_rs::hmac::Key,
    names: Arc<Names>,
    allowed: AtomicU64,
    deny_rate: Rate,
    sampled_out: AtomicU64,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Audit {
    /// Starts the writer, if there is to be one. `names` are those of places.
    ///
    /// # Errors
    /// The system gives no random bytes for the key of the hashes, no thread, or no file.
    pub(crate) fn start(
        output: Output,
        settings: AuditSettings,
        names: Arc<Names>,
        clock: &Arc<dyn Clock>,
        out: impl Write + Send + 'static,
    ) -> std::io::Result<Self> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| std::io::Error::other("no random bytes"))?;
        let reopen = Reopen::default();
        let lines = match output {
            Output::Off => None,
            Output::Stdout => Some(Lines::start("audit", To(out))?),
            Output::File(settings) => {
                let path = settings.path.display().to_string();
                let file = AuditFile::open(settings, Arc::clone(clock), reopen.clone());
                let file = file.map_err(|error| {
                    std::io::Error::new(error.kind(), format!("the audit file {path}: {error}"))
                })?;
                Some(Lines::start("audit", file)?)
            }
        };
        Ok(Self {
            settings: Published::new(settings),
            lines,
            reopen,
            key: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key),
            names,
            allowed: AtomicU64::new(0),
            deny_rate: Rate::default(),
            sampled_out: AtomicU64::new(0),
        })
    }

    /// The names that places have.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Has the file opened anew with the next line: somebody has moved it.
    pub(crate) fn reopen(&self) {
        self.reopen.ask();
    }

    /// From here on these count; whether anything is written at all stays as it is.
    pub(crate) fn set(&self, settings: AuditSettings) {
        self.settings.publish(settings);
    }

    /// Whether the line of an exchange with this outcome is to be written. Asked once for each.
    pub(crate) fn wants(&self, outcome: Outcome, at: UnixTime) -> bool {
        if self.lines.is_none() {
            return false;
        }
        let settings = self.settings.look();
        let wanted = match outcome {
            Outcome::Allow => settings.allow_one_in.is_some_and(|n| {
                self.allowed
                    .fetch_add(1, Ordering::Relaxed)
                    .is_multiple_of(n)
            }),
            Outcome::Deny | Outcome::Error => self.deny_rate.admits(settings.deny_per_second, at),
        };
        if !wanted {
            self.sampled_out.fetch_add(1, Ordering::Relaxed);
        }
        wanted
    }

    /// The line of a decision.
    pub(crate) fn line(&self, exchange: &mut Exchange, config: &str) -> Vec<u8> {
        let micros =
            |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let id = exchange.id().hyphenated().to_string();
        let token = &exchange.token;
        let upstream = exchange.upstream;
        let names = &self.names;
        let listener = name_of(&names.listeners, Some(exchange.listener));
        let route = name_of(&names.routes, exchange.route);
        let issuer = name_of(&names.issuers, exchange.issuer);
        let to = name_of(&names.upstreams, upstream.map(|upstream| upstream.index));
        let line = DecisionLine {
            ts: exchange.at.rfc3339_millis(),
            event: "decision",
            id,
            outcome: exchange.outcome().name(),
            reason: exchange.reason.map_or("none", crate::verdict::Reason::code),
            near_miss: exchange.near_miss,
            would_deny: exchange.would_deny.map(crate::verdict::Reason::code),
            status: exchange.status,
            listener: listener.as_deref().unwrap_or_default(),
            route: route.as_deref(),
            rule: exchange.rule,
            method: exchange.method.0,
            path: shown(exchange.uri.path(), PATH_CHARS_MAX),
            peer: exchange.peer,
            trace_id: exchange.trace.map(|id| hex(&id)),
            issuer: issuer.as_deref(),
            alg: token.alg,
            kid: token.kid.as_deref().map(|kid| shown(kid, KID_CHARS_MAX)),
            token_fingerprint: token.fingerprint.map(|digest| self.hash(&digest)),
            jti: token.jti.as_deref().and_then(|jti| self.by_policy(jti)),
            sub: token
                .subject
                .as_deref()
                .and_then(|subject| self.by_policy(subject)),
            client_id: token.client_id.as_deref(),
            scopes_missing: &token.scopes_missing,
            cache: exchange.cache.map(super::exchange::CacheLabel::name),
            verify_us: exchange.verified_in.map(|(_, took)| micros(took)),
            total_us: micros(exchange.started.elapsed()),
            config,
            upstream: to.as_deref(),
            upstream_status: upstream.and_then(|upstream| upstream.status),
            cause: exchange.cause.as_deref(),
        };
        // Strings and numbers only: there is nothing that could fail to be written.
        serde_json::to_vec(&line).unwrap_or_default()
    }

    /// Writes the line of a decision.
    pub(crate) fn decision(&self, mut line: Vec<u8>) {
        if let Some(lines) = &self.lines {
            line.push(b'\n');
            lines.send(line);
        }
    }

    /// Writes the line of a change; never sampled.
    pub(crate) fn admin(&self, at: UnixTime, change: &AdminEvent<'_>) {
        self.send(&ChangeLine {
            ts: at.rfc3339_millis(),
            event: "admin",
            change,
        });
    }

    /// Writes the line of a change of keys; never sampled.
    pub(crate) fn keys(&self, at: UnixTime, change: &KeyEvent<'_>) {
        self.send(&ChangeLine {
            ts: at.rfc3339_millis(),
            event: "key",
            change,
        });
    }

    fn send(&self, line: &impl Serialize) {
        let (Some(lines), Ok(mut line)) = (&self.lines, serde_json::to_vec(line)) else {
            return;
        };
        line.push(b'\n');
        lines.send(line);
    }

    /// Waits until what was sent is written, for a bounded time.
    pub(crate) fn flush(&self) {
        if let Some(lines) = &self.lines {
            lines.flush();
        }
    }

    /// What became of the lines: written, sampled out, dropped.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        let lines = self.lines.as_ref();
        [
            ("written", lines.map_or(0, Lines::kept)),
            ("sampled_out", self.sampled_out.load(Ordering::Relaxed)),
            ("dropped", lines.map_or(0, Lines::dropped)),
        ]
    }

    /// A subject or token id as the policy lets it be written.
    pub(crate) fn by_policy(&self, value: &str) -> Option<String> {
        match self.settings.look().subject {
            SubjectPolicy::Hash => Some(self.hash(value.as_bytes())),
            SubjectPolicy::Plain => Some(value.to_owned()),
            SubjectPolicy::Off => None,
        }
    }

    /// A token's fingerprint as lines have it.
    pub(crate) fn fingerprint(&self, digest: &[u8; 32]) -> String {
        self.hash(digest)
    }

    /// For matching lines of one run with each other, and for nothing else.
    fn hash(&self, bytes: &[u8]) -> String {
        let tag = aws_lc_rs::hmac::sign(&self.key, bytes);
        hex(tag.as_ref().get(..12).unwrap_or_default())
    }
}

/// The name at a place, if there is a place.
fn name_of(places: &Places, place: Option<usize>) -> Option<Arc<str>> {
    let name = places.name(place?);
    Some(name.unwrap_or_else(|| "other".into()))
}

/// A bucket that holds one second's worth and fills by the clock.
#[derive(Debug, Default)]
struct Rate {
    /// The time, in microseconds, until which the bucket is spent.
    spent_until: AtomicI64,
}

impl Rate {
    fn admits(&self, per_second: u64, at: UnixTime) -> bool {
        const SECOND: i64 = 1_000_000;
        let Some(cost) = SECOND.checked_div(i64::try_from(per_second).unwrap_or(i64::MAX)) else {
            return false;
        };
        let now = i64::try_from(at.millis())
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        self.spent_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |spent| {
                let spent = spent.max(now);
                (spent - now < SECOND).then_some(spent + cost)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_fills_by_the_clock() {
        let rate = Rate::default();
        let at = UnixTime::from_secs(100);
        let admitted = (0..50).filter(|_| rate.admits(10, at)).count();
        assert_eq!(admitted, 10);
        let later = at.plus(std::time::Duration::from_millis(500));
        let admitted = (0..50).filter(|_| rate.admits(10, later)).count();
        assert_eq!(admitted, 5);
        assert!(!rate.admits(0, later));
    }
}
