//! `bearward route test`: which route and rule a request meets, and what they demand. Without a network.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use http::uri::Scheme;
use http::{Method, Uri};
use serde_json::json;

use super::output::{Code, Failure, data};
use super::{CONFIG, Outcome, load};
use crate::config::{Config, ListenerSettings};
use crate::explain::{Nowhere, RouteTold, RuleTold, try_request};
use crate::listen::Address;
use crate::policy::{IssuerKeys, Placement, Policy, RouteTable, TrustedIssuer};
use crate::published::Published;

#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// Find the route and the rule for a request.
    #[command(after_help = "Example: bearward route test GET https://api.example.com/orders/1")]
    Test(TestArguments),
}

#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// The method, such as GET.
    method: String,
    /// The URL, with scheme and host.
    url: String,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The listener that is asked; by default one with the URL's port, or its scheme, that answers for the host.
    #[arg(long)]
    listener: Option<String>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn route(command: &RouteCommand) -> Outcome {
    let RouteCommand::Test(arguments) = command;
    let usage = |message: String| Failure::new(Code::Usage, message);
    let method = Method::from_bytes(arguments.method.as_bytes())
        .ok()
        .filter(|method| {
            !method
                .as_str()
                .bytes()
                .any(|byte| byte.is_ascii_lowercase())
        })
        .ok_or_else(|| {
            usage(format!(
                "`{}` is no method; they are written in capitals",
                arguments.method
            ))
        })?;
    let uri = arguments
        .url
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.scheme().is_some())
        .ok_or_else(|| {
            usage(format!(
                "`{}` is no URL with scheme and host",
                arguments.url
            ))
        })?;
    let config = load(&arguments.config)?;
    let policy = policy(&config);
    let listeners: Vec<&str> = config.listeners.iter().map(|it| &*it.name).collect();
    let ask = |listener| try_request(&policy, &listeners, listener, &method, &uri);
    let by = |fits: fn(&ListenerSettings, &Uri) -> bool| {
        let mut likely = config.listeners.iter().filter(|it| fits(it, &uri));
        likely.find_map(|it| ask(Some(&it.name)).ok())
    };
    // Where something forwards ports to the gateway, the URL's is none of ours.
    let likely = || by(has_port).or_else(|| by(has_scheme));
    let tried = match arguments.listener.as_deref() {
        Some(name) => ask(Some(name)),
        None => likely().map_or_else(|| ask(None), Ok),
    };
    let tried = tried.map_err(|error| match error {
        Nowhere::Listener(_) => usage(error.to_string()),
        _ => Failure::new(Code::Negative, error),
    })?;
    let (placement, rule) = (tried.placement, tried.rule);
    let told = told(placement, &policy, &config);
    let name = listeners.get(tried.listener).copied();
    if arguments.json {
        data(&format!(
            "{:#}",
            json!({ "listener": name, "route": told, "rule": rule })
        ));
    } else {
        print(&told, name.unwrap_or_default(), &method, rule);
    }
    match rule {
        Some(_) => Ok(ExitCode::SUCCESS),
        None => Err(Failure::new(
            Code::Negative,
            format!("405 method_not_allowed: use {}", placement.route.allow()),
        )),
    }
}

fn has_port(listener: &ListenerSettings, uri: &Uri) -> bool {
    let port = uri.port_u16();
    matches!(listener.address, Address::Tcp(it) if Some(it.port()) == port)
}

fn has_scheme(listener: &ListenerSettings, uri: &Uri) -> bool {
    listener.tls.is_some() == (uri.scheme() == Some(&Scheme::HTTPS))
}

/// Routes and rules alone: nothing is judged.
fn policy(config: &Config) -> Policy {
    // Collisions were faults of the configuration.
    let (routes, _) = RouteTable::new(config.listeners.len(), &config.routes);
    let issuers = config.issuers.iter().map(|issuer| {
        TrustedIssuer::new(
            Arc::clone(&issuer.rules),
            Arc::new(Published::new(IssuerKeys::default())),
        )
    });
    Policy::new(issuers.collect(), routes)
}

fn told(placement: &Placement, policy: &Policy, config: &Config) -> RouteTold {
    let upstream = config.upstreams.get(placement.route.upstream.0);
    RouteTold::of(
        placement,
        policy,
        upstream.map_or("", |upstream| &upstream.name),
    )
}

fn print(told: &RouteTold, listener: &str, method: &Method, rule: Option<usize>) {
    let line = |name: &str, value: &str| {
        if !value.is_empty() {
            data(&format!("{name:<11} {value}"));
        }
    };
    line("route", &told.name);
    line("listener", listener);
    line("path", &told.path);
    line("hosts", &told.hosts.join(", "));
    line("auth", told.auth);
    for issuer in &told.issuers {
        line("issuer", &format!("{} ({})", issuer.issuer, issuer.name));
        line("audience", &issuer.audiences.join(" or "));
    }
    if let Some(place) = rule
        && let Some(found) = told.rules.get(place)
    {
        line("rule", &format!("{place}: {}", methods(found, method)));
        line("scopes", &scopes(found));
        line("claims", &found.claims.join(", "));
        if found.client_certificate {
            line("certificate", "the client's certificate counts");
        }
    }
    line("upstream", &told.upstream);
}

fn methods(rule: &RuleTold, method: &Method) -> String {
    match &*rule.methods {
        [] => format!("any method, {method} too"),
        methods => methods.join(", "),
    }
}

fn scopes(rule: &RuleTold) -> String {
    let all = rule.scopes_all.join(" ");
    let any = rule.scopes_any.join(" ");
    match (&*all, &*any) {
        ("", "") => "none is demanded".to_owned(),
        (all, "") => format!("all of: {all}"),
        ("", any) => format!("one of: {any}"),
        (all, any) => format!("all of: {all}; one of: {any}"),
    }
}
