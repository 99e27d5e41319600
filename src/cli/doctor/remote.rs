//! What others have to give: keys, answers about opaque tokens, upstreams, the feed of revocations.

use crate::config::{Config, IssuerSettings, KeySourceSettings};
use crate::control::Trust;
use crate::control::look as control;
use crate::forward;

use super::finding::Findings;

/// Clocks that differ by more than this make fresh tokens early or late.
const OFFSET_MAX_SECS: u64 = 5;

pub(super) async fn look(config: &Config, findings: &mut Findings) {
    let mut trust = Trust::default();
    for issuer in &config.issuers {
        look_at_issuer(issuer, &mut trust, findings).await;
    }
    for upstream in &config.upstreams {
        for server in &upstream.servers {
            let what = format!("upstream {}", upstream.name);
            match forward::reach(upstream, server).await {
                Ok(()) if upstream.probe.is_some() => {
                    findings.good(what, format!("{} is well", server.label));
                }
                Ok(()) => findings.good(what, format!("{} takes connections", server.label)),
                Err(why) => findings.bad(
                    what,
                    format!("{}: {why}", server.label),
                    "start it, or mend `servers`; from this machine it has to be reachable",
                ),
            }
        }
    }
    if let Some(feed) = &config.fixed.feed {
        match control::revocation_feed(feed, &mut trust).await {
            Ok(()) => findings.good("revocation feed", "takes our login"),
            Err(why) => findings.bad(
                "revocation feed",
                why,
                "mend the server, its URL or our login; until then revocations do not reach the other replicas",
            ),
        }
    }
}

async fn look_at_issuer(issuer: &IssuerSettings, trust: &mut Trust, findings: &mut Findings) {
    let what = format!("issuer {}", issuer.rules.name);
    if let KeySourceSettings::Introspection(settings) = &issuer.source {
        match control::introspection(&issuer.rules.name, settings, trust).await {
            Ok(()) => findings.good(what, format!("{} answers", settings.endpoint)),
            Err(why) => findings.bad(
                what,
                why,
                "its endpoint, and our client id and secret there, have to be right; until then its tokens get 503",
            ),
        }
        return;
    }
    let seen = match control::keys(issuer, trust).await {
        Ok(Some(seen)) => seen,
        Ok(None) => {
            findings.good(what, "its keys stand in the configuration");
            return;
        }
        Err(why) => {
            let to_do = format!(
                "`bearward issuer probe {}` shows more; saved keys serve on meanwhile, if there are some",
                issuer.rules.issuer
            );
            findings.bad(what, why, to_do);
            return;
        }
    };
    if seen.count == 0 {
        findings.bad(
            what,
            format!("no key of {} can be used", seen.place),
            format!(
                "mend `algorithms`: `bearward issuer probe {}` shows what its keys are for",
                issuer.rules.issuer
            ),
        );
        return;
    }
    let s = if seen.count == 1 { "" } else { "s" };
    let mut text = format!("{} key{s} from {}", seen.count, seen.place);
    if !seen.skipped.is_empty() {
        text.push_str(&format!("; {} not used", seen.skipped.len()));
    }
    match seen.clock_offset_seconds {
        Some(offset) if offset.unsigned_abs() > OFFSET_MAX_SECS => findings.bad(
            what,
            format!("{text}; its clock is {offset} s off from ours"),
            "keep this machine's clock by NTP (`timedatectl`); fresh tokens may be refused",
        ),
        Some(_) => findings.good(what, format!("{text}; its clock agrees with ours")),
        None => findings.good(what, text),
    }
}
