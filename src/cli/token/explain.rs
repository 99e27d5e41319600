//! `bearward token explain`: the gateway's own verdict over a token, step by step, offline.
//!
//! The checks are the proxy's, with the trace on. Keys are those that the configuration itself
//! holds, those that a gateway has saved in the state folder, or those of a file that is given; an
//! issuer that has to be asked cannot be judged here, and the answer says so.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use http::{HeaderMap, Method, Version};
use serde_json::{Value, json};

use crate::authenticate::{self, Ask, Caller, Notes};
use crate::authorize::{ClientCertificate, authorize};
use crate::cli::output::{Code, Failure, data};
use crate::cli::token::read_token;
use crate::cli::{CONFIG, Outcome};
use crate::clock::{Clock, SystemClock, UnixTime};
use crate::config::{self, Config};
use crate::control::{self, KeptIssuer, NoSet, SavedKeys, SourceKind};
use crate::keys::jwks;
use crate::policy::{Access, IssuerId, Policy, Route};
use crate::reject::{self, NamedLimits, Rejection, Setting, Site};
use crate::revocation::Revocations;
use crate::verdict::{Finding, Reason, Step, Trace};

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArguments {
    /// Where the token is: `-` for standard input, or `@FILE`.
    #[arg(value_name = "SOURCE", default_value = "-")]
    source: String,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The route that the token is for; needed where there are several.
    #[arg(long)]
    route: Option<String>,
    /// The method that the token is for.
    #[arg(long, default_value = "GET")]
    method: String,
    /// A JWK set for the issuers whose keys would have to be fetched.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Judge at this time (RFC 3339) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

/// What was found, and what stopped it.
struct Verdict {
    /// Header and claims, as the token says them.
    says: Option<[Value; 2]>,
    findings: Vec<Finding>,
    refused: Option<(Rejection, String, String)>,
}

pub(super) fn explain(arguments: &ExplainArguments) -> Outcome {
    let usage = |message: String| Failure::new(Code::Usage, message);
    let (config, report) = config::load(&arguments.config);
    let mut config = config.ok_or_else(|| Failure::new(Code::Configuration, report.pretty()))?;
    let route = route(&config, arguments.route.as_deref())?;
    let method = Method::from_bytes(arguments.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| usage(format!("`{}` is no method", arguments.method)))?;
    let now = match &arguments.at {
        None => SystemClock.now(),
        Some(text) => UnixTime::parse_rfc3339(text)
            .ok_or_else(|| usage(format!("`{text}` is no time of RFC 3339")))?,
    };
    let token = read_token(&arguments.source)?;
    let token = &*token;
    let saved = SavedKeys::of(&config.fixed.state_dir);
    let issuers = std::mem::take(&mut config.issuers);
    let clock: Arc<dyn Clock> = Arc::new(StandingClock(now));
    let (issuers, _) = control::issuers(issuers, &saved, &clock, &[])
        .map_err(|error| Failure::new(Code::System, error))?;
    let policy = control::policy(&config, config.listeners.len(), &issuers);
    let keys = keys_from(&issuers, &route, arguments.jwks.as_deref());
    if let Some(file) = &arguments.jwks {
        give_keys(&issuers, file)?;
    }
    if let Some(asked) = authenticate::introspected_by(&route, token) {
        let issuer = policy.issuer(asked).map(|issuer| &issuer.rules.issuer);
        let message = format!(
            "this token is opaque to the gateway: its issuer, {}, is asked about it, which a running gateway alone can do",
            issuer.map_or("", |issuer| issuer)
        );
        return Err(Failure::new(Code::Negative, message));
    }
    let verdict = judge(&config, &policy, &route, &method, now, token);
    if arguments.json {
        data(&as_json(&verdict, &keys));
    } else {
        print(&verdict, &route, &method, &keys);
    }
    Ok(match verdict.refused {
        None => ExitCode::SUCCESS,
        Some(_) => Code::Negative.into(),
    })
}

fn route(config: &Config, name: Option<&str>) -> Result<Arc<Route>, Failure> {
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|placement| &placement.route)
        .collect();
    let names: Vec<_> = routes.iter().map(|route| &*route.name).collect();
    let found = match name {
        Some(name) => routes.iter().find(|route| *route.name == *name),
        None if routes.len() == 1 => routes.first(),
        None => None,
    };
    found.map(|route| (*route).clone()).ok_or_else(|| {
        let message = format!(
            "name the route with --route; there are: {}",
            names.join(", ")
        );
        Failure::new(Code::Usage, message)
    })
}

fn judge(
    config: &Config,
    policy: &Policy,
    route: &Route,
    method: &Method,
    now: UnixTime,
    token: &[u8],
) -> Verdict {
    let mut trace = Trace::on();
    let rule = route.rule(method).and_then(|rule| route.rules.get(rule));
    let requirement = rule.map(|rule| &rule.requirement);
    let judged = requirement
        .ok_or(Rejection::MethodNotAllowed)
        .and_then(|requirement| {
            let caller = match route.access {
                Access::Open => Caller::Anonymous,
                Access::Token(_) => {
                    // Asked of an empty list: the real one is the running gateway's.
                    let nothing = Revocations::in_memory().map_err(|_| Rejection::Internal)?;
                    let ask = Ask {
                        policy,
                        route,
                        revocations: &nothing,
                        now,
                        token,
                        token_bytes_max: config
                            .listeners
                            .iter()
                            .map(|listener| listener.token_bytes)
                            .max()
                            .unwrap_or_default(),
                    };
                    authenticate::judge(&ask, None, &mut Notes::default(), &mut trace)
                        .map(Caller::Authenticated)
                        .map_err(|refused| Rejection::Authentication(Box::new(refused)))?
                }
            };
            authorize(
                caller,
                requirement,
                policy,
                ClientCertificate::Unknown,
                &mut trace,
            )
            .map(drop)
            .map_err(Rejection::Authorization)
        });
    let refused = judged.err().map(|rejection| {
        let headers = HeaderMap::new();
        let setting = Setting {
            site: &Site {
                problem_base: "".into(),
                realm: "".into(),
            },
            policy,
            route: Some(route),
            requirement,
            limits: NamedLimits::default(),
            now,
            method,
            version: Version::HTTP_11,
            headers: &headers,
            id: uuid::Uuid::nil(),
        };
        let (detail, hint) = reject::sentences(&rejection, &setting);
        (rejection, detail, hint)
    });
    Verdict {
        says: says(token),
        findings: trace.into_findings(),
        refused,
    }
}

/// Puts a JWK set in the place of keys that would have to be fetched.
fn give_keys(issuers: &[Arc<KeptIssuer>], file: &Path) -> Result<(), Failure> {
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("{} cannot be read: {error}", file.display()),
        )
    })?;
    for issuer in issuers {
        let trusted = issuer.trusted();
        if trusted.keys().set.is_some() || trusted.rules.introspection.is_some() {
            continue;
        }
        let (keys, _) = jwks::read(&bytes, trusted.rules.algorithms, &HashSet::new())
            .and_then(jwks::Published::into_set)
            .map_err(|error| Failure::new(Code::Usage, format!("{}: {error}", file.display())))?;
        issuer.give(keys);
    }
    Ok(())
}

/// The time that is asked about.
#[derive(Debug)]
struct StandingClock(UnixTime);

impl Clock for StandingClock {
    fn now(&self) -> UnixTime {
        self.0
    }
}

/// Header and claims for whoever holds the token; `None` if it is no token.
fn says(token: &[u8]) -> Option<[Value; 2]> {
    let mut parts = token.split(|byte| *byte == b'.');
    let mut part = || {
        let json = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        serde_json::from_slice(&json).ok()
    };
    Some([part()?, part()?])
}

/// Where the keys of a route's issuers are from, and how old they are.
fn keys_from(issuers: &[Arc<KeptIssuer>], route: &Route, file: Option<&Path>) -> Vec<String> {
    let trusted = |(index, issuer)| route.trust(IssuerId(index)).is_some().then_some(issuer);
    issuers
        .iter()
        .enumerate()
        .filter_map(trusted)
        .filter(|issuer: &&Arc<KeptIssuer>| issuer.status.source != SourceKind::Introspection)
        .map(|issuer| {
            let name = &issuer.status.name;
            let found = Arc::clone(&issuer.trusted().keys());
            match (&found.set, found.checked_at, issuer.status.source, file) {
                (Some(_), Some(at), SourceKind::Discovery | SourceKind::JwksUrl, _) => {
                    format!("keys of {name}: saved by a gateway, last confirmed at {at}")
                }
                (Some(_), _, source, _) => format!("keys of {name}: {}", source.name()),
                (None, _, _, Some(file)) => format!("keys of {name}: {}", file.display()),
                (None, _, _, None) => {
                    let why = issuer.status.notes().begun_without.unwrap_or(NoSet::None);
                    format!("keys of {name}: none; {why}")
                }
            }
        })
        .collect()
}

fn print(verdict: &Verdict, route: &Route, method: &Method, keys: &[String]) {
    if let Some([header, claims]) = &verdict.says {
        data(&format!("header {header:#}\nclaims {claims:#}"));
    }
    data(&format!("route {}, method {method}", route.name));
    for line in keys {
        data(line);
    }
    for finding in &verdict.findings {
        let step = finding.step.name();
        if finding.step == Step::Revocation {
            // Asked of an empty list: the real one lives in the running gateway.
            data(&format!(
                "  skipped {step:<11} the running gateway alone knows"
            ));
        } else {
            data(&format!("  passed  {step:<11} {}", finding.text));
        }
    }
    match &verdict.refused {
        None => data("allowed"),
        Some((rejection, detail, hint)) => {
            let reason = rejection.reason();
            let step = rejection.step().map_or("request", Step::name);
            data(&format!("  FAILED  {step:<11} {detail}"));
            data(&format!(
                "refused: {} {}",
                reason.status().as_u16(),
                reason.code()
            ));
            let hint = if reason == Reason::KeysUnavailable {
                "Give the issuer's JWK set by --jwks FILE, or the state folder of a gateway that has fetched it."
            } else {
                hint
            };
            data(&format!("  {hint}"));
        }
    }
}

fn as_json(verdict: &Verdict, keys: &[String]) -> String {
    let passed: Vec<_> = verdict
        .findings
        .iter()
        .filter(|finding| finding.step != Step::Revocation)
        .map(|finding| json!({ "step": finding.step.name(), "text": finding.text }))
        .collect();
    let refused = verdict.refused.as_ref().map(|(rejection, detail, hint)| {
        json!({
            "code": rejection.reason().code(),
            "status": rejection.reason().status().as_u16(),
            "step": rejection.step().map(Step::name),
            "detail": detail,
            "hint": hint,
        })
    });
    format!(
        "{:#}",
        json!({
            "header": verdict.says.as_ref().map(|[header, _]| header),
            "claims": verdict.says.as_ref().map(|[_, claims]| claims),
            "allowed": refused.is_none(),
            "passed": passed,
            "skipped": ["revocation"],
            "keys": keys,
            "refused": refused,
        })
    )
}
