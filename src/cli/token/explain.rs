//! `bearward token explain`: the gateway's own verdict over a token, step by step.
//!
//! The checks are the proxy's. Offline, keys are those that the configuration itself holds, those that a
//! gateway has saved in the state folder, or those of a file that is given; an issuer that has to be asked
//! cannot be judged so, and the answer says it. With `--running` the gateway judges, and nobody else sees the
//! token.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use http::{HeaderMap, Method, Uri, Version};
use serde_json::json;

use super::read_text;
use super::told::{Keys, print, says};
use crate::authenticate::{self, Ask, Caller, Credential, Notes};
use crate::authorize::{ClientCertificate, authorize};
use crate::cli::admin_client::{AdminArguments, AdminClient};
use crate::cli::output::{Code, Failure, data};
use crate::cli::{Outcome, load};
use crate::clock::{Clock, SystemClock, UnixTime};
use crate::config::Config;
use crate::control::{self, KeptIssuer, NoSet, SavedKeys, SourceKind};
use crate::explain::{Explanation, Judged, explain as tell};
use crate::keys::jwks;
use crate::policy::{Access, IssuerId, Policy, Route};
use crate::reject::{NamedLimits, Rejection, Setting, Site};
use crate::revocation::Revocations;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArguments {
    /// Where the token is: `-` for standard input, or `@FILE`. A whole `Authorization` header is good too.
    #[arg(value_name = "SOURCE", default_value = "-")]
    source: String,
    #[command(flatten)]
    admin: AdminArguments,
    /// Ask the running gateway, which knows all keys and what is revoked.
    #[arg(long)]
    running: bool,
    /// The route that the token is for; needed where there are several.
    #[arg(long)]
    route: Option<String>,
    /// The method that the token is for.
    #[arg(long, default_value = "GET")]
    method: String,
    /// A JWK set for the issuers whose keys would have to be fetched.
    #[arg(long, value_name = "FILE", conflicts_with = "running")]
    jwks: Option<PathBuf>,
    /// Judge at this time (RFC 3339) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(arguments: &ExplainArguments) -> Outcome {
    let usage = |message: String| Failure::new(Code::Usage, message);
    let method = Method::from_bytes(arguments.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| usage(format!("`{}` is no method", arguments.method)))?;
    let at = match &arguments.at {
        None => None,
        Some(text) => Some(
            UnixTime::parse_rfc3339(text)
                .ok_or_else(|| usage(format!("`{text}` is no time of RFC 3339")))?,
        ),
    };
    let (explanation, keys, text) = if arguments.running || arguments.admin.names_a_gateway() {
        by_gateway(arguments, &method)?
    } else {
        offline(arguments, &method, at.unwrap_or_else(|| SystemClock.now()))?
    };
    let says = says(&text);
    if arguments.json {
        let mut shown = serde_json::to_value(&explanation).unwrap_or_default();
        if let Some(members) = shown.as_object_mut() {
            let [header, claims] = says.map_or([None, None], |[header, claims]| {
                [Some(header), Some(claims)]
            });
            members.insert("header".to_owned(), json!(header));
            members.insert("claims".to_owned(), json!(claims));
            members.insert("keys".to_owned(), json!(keys));
        }
        data(&format!("{shown:#}"));
    } else {
        print(&explanation, says.as_ref(), &keys);
    }
    Ok(match explanation.allowed {
        true => ExitCode::SUCCESS,
        false => Code::Negative.into(),
    })
}

/// The verdict of the gateway that runs.
fn by_gateway(
    arguments: &ExplainArguments,
    method: &Method,
) -> Result<(Explanation, Keys, Vec<u8>), Failure> {
    let client = AdminClient::find(&arguments.admin)?;
    let text = read_text(&arguments.source)?;
    let question = json!({
        "token": String::from_utf8_lossy(&text),
        "route": arguments.route,
        "method": method.as_str(),
        "at": arguments.at,
    });
    let answer = client.send(Method::POST, "/api/v1/tokens/explain", Some(&question))?;
    let explanation = serde_json::from_value(answer).map_err(Failure::internal)?;
    Ok((explanation, Keys::new(), text))
}

/// The verdict by what lies here.
fn offline(
    arguments: &ExplainArguments,
    method: &Method,
    now: UnixTime,
) -> Result<(Explanation, Keys, Vec<u8>), Failure> {
    let mut config = load(arguments.admin.config())?;
    let route = route(&config, arguments.route.as_deref())?;
    let text = read_text(&arguments.source)?;
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
    let explanation = judge(&config, &policy, &route, method, now, &text)?;
    Ok((explanation, keys, text))
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
    text: &[u8],
) -> Result<Explanation, Failure> {
    let rule = route.rule(method).and_then(|rule| route.rules.get(rule));
    let requirement = rule.map(|rule| &rule.requirement);
    let limits = config.listeners.iter().map(|listener| listener.token_bytes);
    // Asked of an empty list: the real one is the running gateway's.
    let nothing = Revocations::in_memory().map_err(Failure::internal)?;
    let judged = match route.access {
        Access::Open => Ok(Caller::Anonymous),
        Access::Token(_) => match authenticate::found(Credential::Pasted(text), route) {
            Err(error) => Err(error.into()),
            Ok(token) => {
                if let Some(asked) = authenticate::introspected_by(route, &token) {
                    return Err(needs_the_gateway(policy, asked));
                }
                let ask = Ask {
                    policy,
                    route,
                    revocations: &nothing,
                    now,
                    token: &token,
                    token_bytes_max: limits.max().unwrap_or_default(),
                };
                authenticate::judge(&ask, None, &mut Notes::default()).map(Caller::Authenticated)
            }
        },
    };
    let mut principal = None;
    let judged = judged
        .map_err(|refused| Rejection::Authentication(Box::new(refused)))
        .and_then(|caller| {
            if let Caller::Authenticated(known) = &caller {
                principal = Some(known.clone());
            }
            let requirement = requirement.ok_or(Rejection::MethodNotAllowed)?;
            authorize(caller, requirement, policy, ClientCertificate::Unknown)
                .map_err(Rejection::Authorization)
        });
    let (headers, uri) = (HeaderMap::new(), Uri::default());
    let setting = Setting {
        site: &Site::default(),
        policy,
        route: Some(route),
        requirement,
        limits: NamedLimits::default(),
        now,
        method,
        version: Version::HTTP_11,
        uri: &uri,
        headers: &headers,
        id: uuid::Uuid::nil(),
        for_operator: true,
    };
    let judged = Judged {
        rejection: judged.as_ref().err(),
        principal: principal.as_ref(),
        revocations_known: false,
    };
    Ok(tell(judged, &setting))
}

fn needs_the_gateway(policy: &Policy, asked: IssuerId) -> Failure {
    let issuer = policy.issuer(asked).map(|issuer| &issuer.rules.issuer);
    let message = format!(
        "this token is opaque to the gateway: its issuer, {}, is asked about it, which a running gateway alone can do; use --running",
        issuer.map_or("", |issuer| issuer)
    );
    Failure::new(Code::Negative, message)
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

/// Where the keys of a route's issuers are from, and how old they are.
fn keys_from(issuers: &[Arc<KeptIssuer>], route: &Route, file: Option<&Path>) -> Keys {
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
                    format!(
                        "keys of {name}: none; {why}. Give its JWK set by --jwks FILE, the state folder of a gateway that has fetched it, or ask that gateway by --running"
                    )
                }
            }
        })
        .collect()
}
