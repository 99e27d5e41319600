//! The metrics that are read at the time of a scrape instead of being counted on the way.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Admin;
use crate::control::{Active, FetchError, SourceKind};
use crate::http::serve::ProtocolError;
use crate::observe::{Readings, log};
use crate::revocation::Kind;

/// Reads them all.
pub(super) fn read(admin: &Admin) -> Readings {
    let mut out = Readings::default();
    let active = &*admin.active.load();
    cache(admin, &mut out);
    keys(active, &mut out);
    listeners(active, &mut out);
    configuration(admin, active, &mut out);
    let kinds = Kind::ALL.map(|kind| {
        (
            vec![("selector", kind.name())],
            float(admin.revocations.count(kind) as u64),
        )
    });
    out.gauges("bearward_revocations", "Revocations that stand.", kinds);
    feed(admin, &mut out);
    let mut open = std::collections::BTreeMap::new();
    for lane in &active.lanes {
        for (upstream, server, count) in lane.pools.open() {
            *open.entry((&*upstream.name, &*server.label)).or_insert(0) += count as u64;
        }
    }
    out.gauges(
        "bearward_upstream_connections",
        "Connections to upstreams.",
        open.iter().map(|((name, server), count)| {
            (
                vec![("upstream", *name), ("server", *server)],
                float(*count),
            )
        }),
    );
    let now = tokio::time::Instant::now();
    out.gauges(
        "bearward_upstream_healthy",
        "Whether a server gets requests: it answers, and its probes are good.",
        active.lanes.first().into_iter().flat_map(|lane| {
            lane.pools.open().map(|(upstream, server, _)| {
                let labels = vec![("upstream", &*upstream.name), ("server", &*server.label)];
                (labels, f64::from(u8::from(server.health.is_well(now))))
            })
        }),
    );
    if let Some(tracer) = &admin.gateway.tracer {
        let counts = tracer.counts();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let spans = [
            ("sent", read(&counts.sent)),
            ("dropped", read(&counts.dropped)),
        ];
        out.counters(
            "bearward_trace_spans_total",
            "Spans of sampled requests, and what became of them.",
            spans.map(|(result, count)| (vec![("result", result)], count)),
        );
    }
    out.counters(
        "bearward_oddities_total",
        "What was noticed, by kind; nothing is refused for it.",
        admin
            .gateway
            .oddities
            .counts()
            .map(|(kind, count)| (vec![("kind", kind)], count)),
    );
    let lines = admin.gateway.audit.counts();
    out.counters(
        "bearward_audit_events_total",
        "Audit lines, and what became of them.",
        lines.map(|(result, count)| (vec![("result", result)], count)),
    );
    out.counters(
        "bearward_log_lines_dropped_total",
        "Log lines that a slow reader lost.",
        [(vec![], log::dropped())],
    );
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    out.gauges("bearward_build_info", "This build.", [(version, 1.0)]);
    out
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[expect(clippy::cast_precision_loss, reason = "gauges stay exact up to 2^53")]
const fn float(value: u64) -> f64 {
    value as f64
}

/// The feed of revocations, where there is one.
fn feed(admin: &Admin, out: &mut Readings) {
    let Some(feed) = admin.revocations.feed() else {
        return;
    };
    let lag = feed.lag(admin.gateway.clock.now()).as_secs_f64();
    out.gauges(
        "bearward_revocation_feed_lag_seconds",
        "How long ago everything in the feed was known here.",
        [(vec![], lag)],
    );
    out.gauges(
        "bearward_revocation_feed_connected",
        "Whether the feed is connected.",
        [(vec![], f64::from(u8::from(feed.is_connected())))],
    );
    out.gauges(
        "bearward_revocation_feed_untold",
        "Changes of the list that the other replicas do not know yet.",
        [(vec![], float(feed.untold()))],
    );
    out.counters(
        "bearward_revocation_feed_unreadable_total",
        "Entries of the feed that could not be read.",
        [(vec![], load(&feed.unreadable))],
    );
}

fn cache(admin: &Admin, out: &mut Readings) {
    let cache = admin.gateway.authenticator.cache();
    let (entries, bytes) = cache.size();
    out.gauges(
        "bearward_token_cache_entries",
        "Verified tokens that are remembered.",
        [(vec![], float(entries))],
    );
    out.gauges(
        "bearward_token_cache_bytes",
        "Bytes that they take, about.",
        [(vec![], float(bytes))],
    );
    let evictions = cache.evictions();
    out.counters(
        "bearward_token_cache_evictions_total",
        "Verified tokens that were forgotten.",
        [("expired", &evictions.expired), ("size", &evictions.size)]
            .map(|(cause, counter)| (vec![("cause", cause)], load(counter))),
    );
}

fn keys(active: &Active, out: &mut Readings) {
    let kept = || {
        let statuses = active.issuers.iter().map(|issuer| &issuer.status);
        statuses.filter(|status| status.source.is_kept())
    };
    out.counters(
        "bearward_jwks_fetches_total",
        "Fetches of key sets.",
        kept().flat_map(|status| {
            let failures = FetchError::KINDS.into_iter().zip(&status.failures);
            std::iter::once(("success", &status.successes))
                .chain(failures)
                .map(|(result, counter)| {
                    (
                        vec![("issuer", &*status.name), ("result", result)],
                        load(counter),
                    )
                })
        }),
    );
    out.histograms(
        "bearward_jwks_fetch_duration_seconds",
        "How long fetches took.",
        kept().map(|status| (vec![("issuer", &*status.name)], &status.durations)),
    );
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch")]
    out.gauges(
        "bearward_jwks_last_success_timestamp_seconds",
        "When a fetch last succeeded; 0 is never.",
        kept().map(|status| {
            (
                vec![("issuer", &*status.name)],
                status.last_success.load(Ordering::Relaxed) as f64,
            )
        }),
    );
    out.gauges(
        "bearward_jwks_keys",
        "Keys in use.",
        active
            .setup
            .policy
            .issuers()
            .iter()
            .filter(|issuer| issuer.rules.introspection.is_none())
            .map(|issuer| {
                let keys = issuer.keys();
                let keys = keys.set.as_ref().map_or(0, |keys| keys.len() as u64);
                (vec![("issuer", &*issuer.rules.name)], float(keys))
            }),
    );
    out.gauges(
        "bearward_jwks_keys_skipped",
        "Keys of the last set that are not used.",
        kept().map(|status| {
            (
                vec![("issuer", &*status.name)],
                float(load(&status.skipped)),
            )
        }),
    );
    out.counters(
        "bearward_jwks_unknown_kid_total",
        "Tokens that named a key which the issuer does not publish.",
        kept().map(|status| (vec![("issuer", &*status.name)], load(&status.unknown_kids))),
    );
    #[expect(clippy::cast_precision_loss, reason = "seconds between two clocks")]
    out.gauges(
        "bearward_clock_offset_seconds",
        "The provider's clock less ours, by the Date of its last answer.",
        kept().filter_map(|status| {
            let offset = status.clock_offset()?;
            Some((vec![("issuer", &*status.name)], offset as f64))
        }),
    );
    let issuers = active
        .issuers
        .iter()
        .map(|it| (&it.status, &it.introspection));
    let asked = issuers.filter(|(status, _)| status.source == SourceKind::Introspection);
    out.histograms(
        "bearward_introspection_duration_seconds",
        "How long questions about opaque tokens took.",
        asked.flat_map(|(status, introspection)| {
            [
                ("active", &introspection.active),
                ("inactive", &introspection.inactive),
                ("failed", &introspection.failed),
            ]
            .map(|(result, durations)| {
                (
                    vec![("issuer", &*status.name), ("result", result)],
                    durations,
                )
            })
        }),
    );
}

/// Which configuration serves, and how the last reload went.
fn configuration(admin: &Admin, active: &Active, out: &mut Readings) {
    let last = admin.reloaded.last();
    out.gauges(
        "bearward_config_last_reload_successful",
        "Whether the last reload, or the start, was taken.",
        [(vec![], f64::from(u8::from(last.failed.is_none())))],
    );
    out.gauges(
        "bearward_config_last_reload_timestamp_seconds",
        "Since when the configuration serves.",
        [(vec![], last.at.as_secs_f64())],
    );
    out.gauges(
        "bearward_config_info",
        "The configuration that serves, by the digest of its file.",
        [(vec![("digest", &*active.setup.digest)], 1.0)],
    );
}

fn listeners(active: &Active, out: &mut Readings) {
    let listeners = || {
        let all = active.listeners();
        all.map(|listener| (&*listener.front.name, listener))
    };
    out.gauges(
        "bearward_connections",
        "Open connections.",
        listeners().map(|(name, listener)| {
            (
                vec![("listener", name)],
                float(listener.admission.open() as u64),
            )
        }),
    );
    out.counters(
        "bearward_connections_refused_total",
        "Connections over a limit.",
        listeners().flat_map(|(name, listener)| {
            [
                ("total", &listener.counts.refused_total),
                ("per_peer", &listener.counts.refused_per_peer),
            ]
            .map(|(kind, counter)| (vec![("listener", name), ("kind", kind)], load(counter)))
        }),
    );
    out.counters(
        "bearward_tls_handshakes_total",
        "TLS handshakes.",
        listeners()
            .filter(|(_, listener)| listener.tls.is_some())
            .flat_map(|(name, listener)| {
                let counts = &listener.counts;
                [
                    ("success", &counts.handshakes_good),
                    ("failed", &counts.handshakes_failed),
                    ("timeout", &counts.handshakes_timed_out),
                ]
                .map(|(result, counter)| {
                    (vec![("listener", name), ("result", result)], load(counter))
                })
            }),
    );
    out.counters(
        "bearward_protocol_errors_total",
        "Connections that did not end well.",
        listeners().flat_map(|(name, listener)| {
            ProtocolError::ALL
                .into_iter()
                .zip(&listener.counts.protocol_errors)
                .map(move |(kind, counter)| {
                    (
                        vec![("listener", name), ("kind", kind.name())],
                        load(counter),
                    )
                })
        }),
    );
    let certificates: Vec<_> = listeners()
        .filter_map(|(name, listener)| Some((name, listener.tls.as_ref()?)))
        .flat_map(|(name, tls)| {
            let all = tls.certificates().all();
            all.into_iter().map(move |served| (name, served))
        })
        .map(|(name, served)| {
            let first = served
                .names()
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            (name, first, served.not_after().as_secs_f64())
        })
        .collect();
    out.gauges(
        "bearward_certificate_not_after_timestamp_seconds",
        "When certificates end.",
        certificates.iter().map(|(listener, name, at)| {
            (vec![("listener", *listener), ("name", name.as_str())], *at)
        }),
    );
}
