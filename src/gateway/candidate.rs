//! A configuration that is tried beside the one that serves: it judges what comes, nobody is refused by it, and
//! what it would do otherwise is counted. And decisions that were kept, decided again by it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version};
use uuid::Uuid;

use super::Gateway;
use crate::authenticate::{Caller, Credential, Principal};
use crate::authorize::{ClientCertificate, authorize};
use crate::clock::UnixTime;
use crate::decisions::Decision;
use crate::explain::{Explanation, Judged, explain};
use crate::http::cors;
use crate::http::target::Target;
use crate::policy::{Access, ListenerId, Policy, Route};
use crate::published::Published;
use crate::reject::{NamedLimits, Rejection, Setting, Site};
use crate::verdict::{Reason, Step};

/// Kinds of differences that are told apart; beyond, they are counted together.
const DIFFERENCES_MAX: usize = 1000;

/// A configuration as far as it judges.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The digest of its text, short.
    pub(crate) digest: Box<str>,
    pub(crate) policy: Policy,
    /// The listeners by name, each with the longest token that it takes.
    pub(crate) listeners: Vec<(Arc<str>, usize)>,
    /// Issuers whose tokens it cannot judge, since it has no keys of theirs.
    pub(crate) without_keys: Vec<Box<str>>,
    pub(crate) since: UnixTime,
    judged: AtomicU64,
    /// Not judged: opaque tokens, whose issuer is not asked twice.
    left_out: AtomicU64,
    differences: Mutex<BTreeMap<Difference, Seen>>,
}

/// What it would do otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// By the configuration that serves.
    pub(crate) route: Option<Arc<str>>,
    /// `None`: it passes.
    pub(crate) now: Option<Reason>,
    pub(crate) then: Option<Reason>,
}

/// How often, and the last decision that showed it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) count: u64,
    pub(crate) example: Uuid,
}

/// Where the candidate is, if there is one. Without one it costs a request one load.
#[derive(Debug)]
pub(crate) struct Trial {
    is_on: AtomicBool,
    candidate: Published<Option<Arc<Candidate>>>,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            is_on: AtomicBool::new(false),
            candidate: Published::new(None),
        }
    }
}

impl Trial {
    /// Begins to try a configuration, or ends it.
    pub(crate) fn set(&self, candidate: Option<Candidate>) {
        let is_on = candidate.is_some();
        self.candidate.publish(candidate.map(Arc::new));
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// The one that is tried.
    pub(crate) fn candidate(&self) -> Option<Arc<Candidate>> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        self.candidate.look().as_ref().clone()
    }
}

/// A request that was judged.
pub(super) struct Live<'a> {
    pub(super) parts: &'a Parts,
    pub(super) listener: &'a str,
    /// The route by the configuration that serves.
    pub(super) route: Option<&'a Route>,
    pub(super) certificate: ClientCertificate<'a>,
    pub(super) now: UnixTime,
    /// Why it was refused.
    pub(super) reason: Option<Reason>,
    pub(super) id: Uuid,
}

/// What a kept decision comes to by a candidate.
#[derive(Debug)]
pub(crate) enum Replayed {
    Judged(Box<Explanation>),
    /// It cannot be said, and why.
    Unknown(&'static str),
}

impl Candidate {
    pub(crate) fn new(
        digest: Box<str>,
        policy: Policy,
        listeners: Vec<(Arc<str>, usize)>,
        since: UnixTime,
    ) -> Self {
        let lacks = |issuer: &&crate::policy::TrustedIssuer| {
            issuer.rules.introspection.is_none() && issuer.keys().set.is_none()
        };
        let without_keys = policy.issuers().iter().filter(lacks);
        Self {
            without_keys: without_keys
                .map(|issuer| (&*issuer.rules.name).into())
                .collect(),
            digest,
            policy,
            listeners,
            since,
            judged: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            differences: Mutex::default(),
        }
    }

    /// How many requests it judged, and how many it left out.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.judged), read(&self.left_out))
    }

    /// What it would have done otherwise.
    pub(crate) fn differences(&self) -> Vec<(Difference, Seen)> {
        let all = self
            .differences
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(difference, seen)| (difference.clone(), *seen))
            .collect()
    }

    /// Judges a request that comes; gives whether it would do otherwise.
    pub(super) fn compare(&self, gateway: &Gateway, live: &Live<'_>) -> bool {
        // What comes before and after the verdict is not what is compared.
        let is_verdict = |reason: Reason| {
            reason.step().is_some()
                || matches!(reason, Reason::RouteNotFound | Reason::MethodNotAllowed)
        };
        let is_upstream = |reason: Reason| matches!(reason.status().as_u16(), 502 | 504);
        let now = match live.reason {
            None => None,
            Some(reason) if is_upstream(reason) => None,
            Some(reason) if is_verdict(reason) => Some(reason),
            Some(_) => return false,
        };
        // What the gateway answers itself is no matter of routes.
        if live.route.is_none() && live.reason.is_none() {
            return false;
        }
        let Some(then) = self.judge(gateway, live) else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        self.judged.fetch_add(1, Ordering::Relaxed);
        if now == then {
            return false;
        }
        let mut difference = Difference {
            route: live.route.map(|route| Arc::clone(&route.name)),
            now,
            then,
        };
        let mut all = self
            .differences
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if all.len() >= DIFFERENCES_MAX && !all.contains_key(&difference) {
            difference.route = None;
        }
        let seen = all.entry(difference).or_default();
        seen.count += 1;
        seen.example = live.id;
        true
    }

    /// Its verdict; `None`: it cannot be had without asking an issuer.
    fn judge(&self, gateway: &Gateway, live: &Live<'_>) -> Option<Option<Reason>> {
        let (uri, headers) = (&live.parts.uri, &live.parts.headers);
        let target = Target::check(&live.parts.method, uri, headers).ok()?;
        let (listener, bytes_max) = self.listener(live.listener)?;
        let Some(route) = self
            .policy
            .routes()
            .find(listener, &target.host, target.path)
        else {
            return Some(Some(Reason::RouteNotFound));
        };
        if route.cors.is_some() && cors::is_preflight(&live.parts.method, headers) {
            return Some(None);
        }
        let rule = route.rule(&live.parts.method);
        let Some(rule) = rule.and_then(|rule| route.rules.get(rule)) else {
            return Some(Some(Reason::MethodNotAllowed));
        };
        if matches!(route.access, Access::Open) || route.report_only {
            return Some(None);
        }
        let credential = Credential::Of { uri, headers };
        let judged = gateway.authenticator.judge_by(
            &self.policy,
            route,
            credential,
            (live.now, bytes_max),
        )?;
        Some(match judged {
            Err(refused) => Some(refused.error.reason()),
            Ok(principal) => {
                let caller = Caller::Authenticated(principal);
                let judged = authorize(caller, &rule.requirement, &self.policy, live.certificate);
                judged.err().map(|error| error.reason())
            }
        })
    }

    fn listener(&self, name: &str) -> Option<(ListenerId, usize)> {
        let mut all = self.listeners.iter().enumerate();
        let (index, (_, bytes_max)) = all.find(|(_, (own, _))| **own == *name)?;
        Some((ListenerId(index), *bytes_max))
    }

    /// Decides a kept decision again, by the clock of then and the revocations of now. `listener`: its name.
    pub(crate) fn again(&self, gateway: &Gateway, decision: &Decision, listener: &str) -> Replayed {
        let asked = &decision.asked;
        let Some(host) = &asked.host else {
            return Replayed::Unknown("the request named no host");
        };
        let Some((listener, _)) = self.listener(listener) else {
            return Replayed::Unknown("the configuration has no listener of that name");
        };
        let route = self.policy.routes().find(listener, host, &asked.path);
        let rule = route.and_then(|route| route.rules.get(route.rule(&asked.method)?));
        let requirement = rule.map(|rule| &rule.requirement);
        let mut principal = None;
        let judged = match (route, requirement) {
            (None, _) => Err(Rejection::RouteNotFound),
            (Some(_), None) => Err(Rejection::MethodNotAllowed),
            (Some(route), Some(_)) if matches!(route.access, Access::Open) => Ok(()),
            (Some(route), Some(requirement)) => match &asked.principal {
                None => return unknown(decision),
                Some(held) => {
                    let judged =
                        gateway
                            .authenticator
                            .judge_held(&self.policy, route, held, decision.at);
                    let refused = |refused| Rejection::Authentication(Box::new(refused));
                    judged.map_err(refused).and_then(|judged| {
                        principal = Some(judged.clone());
                        let caller = Caller::Authenticated(judged);
                        let certificate = ClientCertificate::Unknown;
                        authorize(caller, requirement, &self.policy, certificate)
                            .map(drop)
                            .map_err(Rejection::Authorization)
                    })
                }
            },
        };
        let told = self.tell(
            judged.as_ref().err(),
            principal.as_ref(),
            Again {
                route: route.map(|route| &**route),
                requirement,
                method: &asked.method,
                at: decision.at,
            },
        );
        Replayed::Judged(Box::new(told))
    }

    fn tell(
        &self,
        rejection: Option<&Rejection>,
        principal: Option<&Principal>,
        again: Again<'_>,
    ) -> Explanation {
        let (headers, uri) = (HeaderMap::new(), Uri::default());
        let setting = Setting {
            site: &Site::default(),
            policy: &self.policy,
            route: again.route,
            requirement: again.requirement,
            limits: NamedLimits::default(),
            now: again.at,
            method: again.method,
            version: Version::HTTP_11,
            uri: &uri,
            headers: &headers,
            id: Uuid::nil(),
            for_operator: true,
        };
        let judged = Judged {
            rejection,
            principal,
            revocations_known: true,
        };
        explain(judged, &setting)
    }
}

/// A decision that is made again.
struct Again<'a> {
    route: Option<&'a Route>,
    requirement: Option<&'a crate::policy::Requirement>,
    method: &'a Method,
    at: UnixTime,
}

/// No token is kept, so that what was refused before its signature held cannot be judged again.
fn unknown(decision: &Decision) -> Replayed {
    let step = decision.reason.and_then(Reason::step);
    Replayed::Unknown(match step {
        Some(Step::Credentials | Step::Format) => {
            "it was refused for its form, which no configuration changes but one that asks for no token"
        }
        _ => {
            "its signature had not held, and no token is kept: have it sent again while the configuration is tried"
        }
    })
}
