//! What is odd: noticed and told, in metrics, log, admin API and console, and never a reason to refuse.
//!
//! Everything is counted in tables of a fixed size, so that neither a flood nor a long life makes them grow; a
//! table that is too small for what happens misses the small ones and keeps the large. What is found is told
//! once in a while.

mod sketch;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::UnixTime;
use crate::observe::metrics::Minute;
use crate::observe::{Audit, Exchange};
use crate::verdict::Reason;

pub(crate) use sketch::Sketch;

/// Findings that are kept.
const KEPT_MAX: usize = 100;
/// The same is told again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Refusals of one token, or of one subject, in a minute.
const REFUSALS_ODD: u32 = 20;
/// Refusals for one reason in a minute, and how many times the minutes before.
const SPIKE_LEAST: u64 = 50;
const SPIKE_TIMES: u64 = 5;
/// Whole minutes that must have been seen to know what is usual: a gateway that has just begun knows nothing.
const MINUTES_BEFORE_LEAST: usize = 5;
/// An issuer's clock that differs by more.
const CLOCK_SECS_ODD: u64 = 5;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// One token comes from many addresses.
    TokenSpread,
    /// A client goes on with an expired token.
    ExpiredLoop,
    /// A subject is refused again and again.
    SubjectFailing,
    /// One reason is far more frequent than before.
    ReasonSpike,
    /// The clocks of an issuer and of the gateway differ.
    ClockDrift,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::TokenSpread,
        Self::ExpiredLoop,
        Self::SubjectFailing,
        Self::ReasonSpike,
        Self::ClockDrift,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TokenSpread => "token_spread",
            Self::ExpiredLoop => "expired_loop",
            Self::SubjectFailing => "subject_failing",
            Self::ReasonSpike => "reason_spike",
            Self::ClockDrift => "clock_drift",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Oddity {
    pub(crate) kind: Kind,
    #[serde(serialize_with = "as_text")]
    pub(crate) at: UnixTime,
    /// What is so, in a sentence.
    pub(crate) what: String,
    /// Whom it is about: a fingerprint, a subject as the audit writes it, a reason, an issuer.
    pub(crate) about: String,
    /// A decision that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decision: Option<uuid::Uuid>,
}

fn as_text<S: serde::Serializer>(at: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.rfc3339())
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Oddities {
    /// When counting began.
    since: UnixTime,
    found: Mutex<VecDeque<Oddity>>,
    counts: [AtomicU64; Kind::ALL.len()],
}

/// Whose token was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) fingerprint: &'a [u8; 32],
    /// The issuer's name, and the subject.
    pub(crate) issuer: &'a str,
    pub(crate) subject: Option<&'a str>,
}

impl Oddities {
    /// None yet.
    pub(crate) fn new(now: UnixTime) -> Self {
        Self {
            since: now,
            found: Mutex::default(),
            counts: Default::default(),
        }
    }

    /// The last ones, the newest first.
    pub(crate) fn all(&self) -> Vec<Oddity> {
        self.lock().iter().rev().cloned().collect()
    }

    /// How often each kind was found.
    pub(crate) fn counts(&self) -> [(&'static str, u64); Kind::ALL.len()] {
        Kind::ALL.map(|kind| {
            let count = self.counts.get(kind as usize);
            let count = count.map_or(0, |count| count.load(Ordering::Relaxed));
            (kind.name(), count)
        })
    }

    /// Takes a finding in, and tells it unless that was done a short while ago.
    pub(crate) fn find(&self, oddity: Oddity) {
        let mut found = self.lock();
        let is_known = found.iter().any(|known| {
            known.kind == oddity.kind
                && known.about == oddity.about
                && oddity.at.since(known.at) < AGAIN_AFTER
        });
        if is_known {
            return;
        }
        let (kind, about, what) = (oddity.kind, oddity.about.clone(), oddity.what.clone());
        if found.len() >= KEPT_MAX {
            found.pop_front();
        }
        found.push_back(oddity);
        drop(found);
        if let Some(count) = self.counts.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        tracing::warn!(kind = kind.name(), about, what, "something is odd");
    }

    /// A token that is good comes from yet another address, about so many by now.
    pub(crate) fn spread(&self, about: String, addresses: u32, exchange: &mut Exchange) {
        self.find(Oddity {
            kind: Kind::TokenSpread,
            at: exchange.at,
            what: format!("one token came from about {addresses} addresses in ten minutes"),
            about,
            decision: Some(exchange.id()),
        });
    }

    /// A token whose signature holds was refused. `shown`: how it may be written.
    pub(crate) fn refused(
        &self,
        sketch: &Sketch,
        whose: Whose<'_>,
        shown: &Audit,
        exchange: &mut Exchange,
    ) {
        let reason = exchange.reason.or(exchange.would_deny);
        if reason == Some(Reason::TokenExpired) {
            let key = (0, "", whose.fingerprint.as_slice());
            if sketch.count(&key, exchange.at) == REFUSALS_ODD {
                self.find(Oddity {
                    kind: Kind::ExpiredLoop,
                    at: exchange.at,
                    what: format!(
                        "a client sent one expired token {REFUSALS_ODD} times in a minute"
                    ),
                    about: shown.fingerprint(whose.fingerprint),
                    decision: Some(exchange.id()),
                });
            }
            return;
        }
        let Some(subject) = whose.subject else {
            return;
        };
        let key = (1, whose.issuer, subject.as_bytes());
        if sketch.count(&key, exchange.at) == REFUSALS_ODD {
            let reason = reason.map_or("none", Reason::code);
            self.find(Oddity {
                kind: Kind::SubjectFailing,
                at: exchange.at,
                what: format!("one subject was refused {REFUSALS_ODD} times in a minute, at last with {reason}"),
                about: shown.by_policy(subject).unwrap_or_else(|| "a subject".to_owned()),
                decision: Some(exchange.id()),
            });
        }
    }

    /// Looks at the minutes, the last of which is not over.
    pub(crate) fn look_at_minutes(&self, minutes: &[Minute]) {
        let unseen = minutes.partition_point(|minute| minute.start() < self.since);
        let [before @ .., last, _] = minutes.get(unseen..).unwrap_or_default() else {
            return;
        };
        if before.len() < MINUTES_BEFORE_LEAST {
            return;
        }
        for reason in Reason::ALL {
            let count = last.of(*reason);
            let sum: u64 = before.iter().map(|minute| minute.of(*reason)).sum();
            let usual = sum / before.len() as u64;
            if count >= SPIKE_LEAST && count >= SPIKE_TIMES * usual.max(1) {
                self.find(Oddity {
                    kind: Kind::ReasonSpike,
                    at: last.start(),
                    what: format!("{count} refusals in a minute, where there were about {usual}"),
                    about: reason.code().to_owned(),
                    decision: None,
                });
            }
        }
    }

    /// Looks at an issuer's clock, as it was when its keys were fetched.
    pub(crate) fn look_at_clock(&self, issuer: &str, offset: i64, now: UnixTime) {
        if offset.unsigned_abs() < CLOCK_SECS_ODD {
            return;
        }
        let how = if offset > 0 { "ahead of" } else { "behind" };
        self.find(Oddity {
            kind: Kind::ClockDrift,
            at: now,
            what: format!("its clock is {} s {how} ours", offset.unsigned_abs()),
            about: issuer.to_owned(),
            decision: None,
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Oddity>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
