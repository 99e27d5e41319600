//! Layers 2 and 3: references, files, collisions, and what is legal but unsafe.
//!
//! Each part reads its table and says every fault of it; a part that cannot be built leaves a gap
//! that later parts step over, so that one run tells all.

mod addresses;
mod audit;
mod feed;
mod fetching;
mod inbound;
mod internal;
mod issuers;
mod listeners;
mod routes;
mod secrets;
mod sources;
mod tracing;
mod upstreams;

use std::path::{Path, PathBuf};

use http::Uri;
use tracing_subscriber::filter::LevelFilter;

use super::diagnostic::{Diagnostic, Report};
use super::node::{Node, Span, Value};
use super::settings::{AdminPlace, Config, FixedSettings};
use super::suggest::nearest;
use crate::authenticate::CacheLimits;
use crate::observe::hex;
use crate::observe::log::LogFormat;

/// Above this many routes their names are too many series.
const NAMED_ROUTES_MAX: usize = 1000;

/// What all parts of the check share.
pub(super) struct Checker<'a> {
    folder: &'a Path,
    report: &'a mut Report,
}

impl Checker<'_> {
    fn error(&mut self, code: &'static str, message: String, span: &Span) {
        self.report.push(Diagnostic::error(code, message).at(span));
    }

    fn error_help(&mut self, code: &'static str, message: String, span: &Span, help: &str) {
        self.report
            .push(Diagnostic::error(code, message).at(span).help(help));
    }

    fn warn(&mut self, code: &'static str, message: String, span: &Span, help: &str) {
        self.report
            .push(Diagnostic::warning(code, message).at(span).help(help));
    }

    fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// A key that must be there.
    fn required(&mut self, node: &Node, what: &str, name: &str) -> Option<(String, Span)> {
        if node.is_faulty(name) {
            return None;
        }
        match node.value(name) {
            Some((Value::Text(text), span)) if !text.is_empty() => {
                Some((text.clone(), span.clone()))
            }
            Some((_, span)) => {
                let span = span.clone();
                self.error("BW0104", format!("`{name}` of {what} is empty"), &span);
                None
            }
            None => {
                self.error("BW0105", format!("{what} has no `{name}`"), &node.span);
                None
            }
        }
    }

    /// A list that must be there and hold something.
    fn required_texts(&mut self, node: &Node, what: &str, name: &str) -> Vec<(String, Span)> {
        if node.is_faulty(name) {
            return Vec::new();
        }
        match node.texts(name) {
            Some(texts) if !texts.is_empty() => texts.to_vec(),
            Some(_) => {
                let span = node
                    .value(name)
                    .map_or_else(|| node.span.clone(), |(_, s)| s.clone());
                self.error(
                    "BW0105",
                    format!(
                        "`{name}` of {what} is empty; a missing rule never means \"not checked\""
                    ),
                    &span,
                );
                Vec::new()
            }
            None => {
                self.error(
                    "BW0105",
                    format!("{what} has no `{name}`; a missing rule never means \"not checked\""),
                    &node.span,
                );
                Vec::new()
            }
        }
    }

    /// The place of a name among those that are defined.
    fn reference(
        &mut self,
        defined: &[&str],
        name: &str,
        what: &str,
        table: &str,
        span: &Span,
    ) -> Option<usize> {
        let found = defined.iter().position(|candidate| *candidate == name);
        if found.is_none() {
            let label = match nearest(name, defined.iter().copied()) {
                Some(near) => format!("no [{table}.{name}]; did you mean `{near}`?"),
                None => format!("no [{table}.{name}]"),
            };
            self.report.push(
                Diagnostic::error("BW0107", what.to_owned())
                    .at(span)
                    .label(label)
                    .help(match defined {
                        [] => format!("no [{table}.NAME] is defined"),
                        names => format!("defined: {}", names.join(", ")),
                    }),
            );
        }
        found
    }
}

/// Checks everything. `None` where so much is missing that there is nothing to build.
pub(super) fn check(root: &Node, folder: &Path, report: &mut Report) -> Option<Config> {
    let texts = std::sync::Arc::clone(report.texts());
    let mut checker = Checker { folder, report };
    let empty = Node::default();
    let table = |name: &str| root.table(name).unwrap_or(&empty);
    if root.value("version").is_none() && !root.is_faulty("version") {
        checker.report.push(
            Diagnostic::error("BW0105", "the file has no `version`".to_owned())
                .help("write `version = 1` at its top"),
        );
    }
    let server = with_defaults(root, "server");
    let public_url = public_url(&server, &mut checker);
    let public_port = public_url.as_deref().and_then(|url| {
        let uri: Uri = url.parse().ok()?;
        let is_https = uri.scheme_str() == Some("https");
        is_https.then(|| uri.port_u16().unwrap_or(443))
    });
    let listeners = listeners::check(root, public_port, &mut checker);
    let issuers = issuers::check(root, &mut checker);
    let upstreams = upstreams::check(root, &mut checker);
    let routes = routes::check(root, &listeners, &issuers, &upstreams, &mut checker);

    let loopback = listeners.iter().all(|listener| listener.address.is_local());
    if public_url.is_none() && !loopback {
        checker.report.push(
            Diagnostic::error("BW0105", "`server.public_url` is missing".to_owned()).at(&server.span).help(
                "refusals build their URLs from it; it can be left out only where every listener is on a loopback address",
            ),
        );
    }
    let realm = server.text("realm");
    if let (Some(realm), Some((_, span))) = (&realm, server.value("realm"))
        && !realm
            .bytes()
            .all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\')
    {
        let span = span.clone();
        checker.error(
            "BW0104",
            "`realm` has a quote, a backslash, a control or a character beyond ASCII".to_owned(),
            &span,
        );
    }
    let required = routes.iter().any(|it| it.route.revocations_required);
    if required && with_defaults(root, "revocation").text("store").as_deref() == Some("memory") {
        let span = table("revocation").span.clone();
        let message = "a route has `revocations_required`, and `revocation.store` is `memory`, which forgets them at every restart";
        checker.error("BW0110", message.to_owned(), &span);
    }
    let metrics = with_defaults(root, "metrics");
    let route_names = metrics.text("routes").as_deref() != Some("other");
    if route_names && routes.len() > NAMED_ROUTES_MAX {
        let message = format!(
            "{} routes by name are too many series; above {NAMED_ROUTES_MAX} write `metrics.routes = \"other\"`",
            routes.len()
        );
        checker.error("BW0110", message, &table("metrics").span);
    }
    let log = with_defaults(root, "log");
    let audit = with_defaults(root, "audit");
    let cache = with_defaults(root, "cache");
    let revocation = with_defaults(root, "revocation");
    let revocations_kept = revocation.text("store").as_deref() != Some("memory");
    if let (false, Some((_, span))) = (revocations_kept, revocation.value("store")) {
        let span = span.clone();
        let told = "`revocation.store` is `memory`: a restart loses what the feed had no time to take, and lets revoked tokens in where the feed is down";
        let lost =
            "`revocation.store` is `memory`: a restart brings every revoked token back to life";
        let message = match revocation.table("feed") {
            Some(_) => told,
            None => lost,
        };
        checker.warn(
            "BW0209",
            message.to_owned(),
            &span,
            "write \"state\", which is the default",
        );
    }
    let feed = feed::check(&revocation, required, &mut checker);
    let endpoints = with_defaults(root, "endpoints");
    let audit_output = audit::output(&audit, &mut checker);
    let audit_settings = audit::settings(&audit);
    let tracing = tracing::check(&with_defaults(root, "tracing"), &mut checker);
    let internal_token = internal::check(root, public_url.as_deref(), &mut checker);
    let admin = addresses::admin(&with_defaults(root, "admin"), &mut checker);
    let probes = table("probes");
    let probes = probes
        .value("address")
        .and_then(|(value, span)| match value {
            Value::Text(text) => addresses::read(text, span, &mut checker),
            _ => None,
        });
    if let Some(admin) = &admin {
        addresses::taken_twice(
            &listeners,
            &admin.address,
            probes.as_ref(),
            &table("admin").span,
            &mut checker,
        );
    }
    let number = |count: Option<u64>| usize::try_from(count.unwrap_or(1)).unwrap_or(usize::MAX);
    Some(Config {
        public_url,
        realm,
        drain_delay: server.duration("drain_delay")?,
        drain_timeout: server.duration("drain_timeout")?,
        internal_token: internal_token?,
        listeners,
        issuers: issuers
            .into_iter()
            .map(|(_, issuer)| issuer)
            .collect::<Option<_>>()?,
        upstreams: upstreams
            .into_iter()
            .map(|(_, upstream)| upstream)
            .collect::<Option<_>>()?,
        routes,
        problem_pages: endpoints.flag("problems"),
        token_check: endpoints.flag("check"),
        resource_metadata: endpoints.flag("resource_metadata"),
        revoke_endpoint: endpoints.flag("revoke"),
        fixed: FixedSettings {
            workers: server.count("workers").map(|count| number(Some(count))),
            state_dir: checker.path(&server.text("state_dir")?),
            cache: CacheLimits {
                entries: cache.count("entries")?,
                bytes: cache.size("bytes")?,
                bad_entries: cache.count("bad_entries")?,
                bad_lifetime: cache.duration("bad_lifetime"),
            },
            revocations_kept,
            feed,
            revoked_file: revocation.text("watch").map(|path| checker.path(&path)),
            admin_address: admin.as_ref()?.address.clone(),
            probes,
            log_format: match log.text("format").as_deref() {
                Some("readable") => LogFormat::Readable,
                Some("json") => LogFormat::Json,
                _ => LogFormat::Auto,
            },
            log_level: log
                .text("level")
                .and_then(|level| level.parse().ok())
                .unwrap_or(LevelFilter::INFO),
            audit: audit_output,
            tracing,
        },
        admin: admin?,
        route_names,
        digest: digest(texts.all()).into(),
        texts,
        audit: audit_settings?,
    })
}

/// Which file it was, short.
fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hex(digest.as_ref().get(..6).unwrap_or_default())
}

/// The admin listener alone.
pub(super) fn admin_place(root: &Node, folder: &Path, report: &mut Report) -> Option<AdminPlace> {
    let mut checker = Checker { folder, report };
    let admin = addresses::admin(&with_defaults(root, "admin"), &mut checker)?;
    let state_dir = with_defaults(root, "server").text("state_dir")?;
    Some(AdminPlace {
        admin,
        state_dir: checker.path(&state_dir),
    })
}

/// A table of the file, or an empty one in its place, so that defaults are found.
fn with_defaults<'a>(node: &'a Node, name: &str) -> std::borrow::Cow<'a, Node> {
    match node.table(name) {
        Some(table) => std::borrow::Cow::Borrowed(table),
        None => std::borrow::Cow::Owned(node.absent(name)),
    }
}

/// An origin: https, or http to a loopback address; no path.
fn public_url(server: &Node, checker: &mut Checker<'_>) -> Option<String> {
    let Some((Value::Text(text), span)) = server.value("public_url") else {
        return None;
    };
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.path() == "/"
            && uri.query().is_none()
    });
    if uri.is_none() {
        checker.error_help(
            "BW0104",
            format!("`public_url` is no origin: `{text}`"),
            span,
            "write scheme and host, without a path: \"https://api.example.com\"",
        );
    }
    uri.map(|_| text.trim_end_matches('/').to_owned())
}
