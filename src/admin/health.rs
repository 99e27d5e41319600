//! `/readyz`: whether this instance can judge what it is asked to judge.

use std::fmt::Write as _;

use http::StatusCode;

use super::{Admin, Answer, text};
use crate::control::{Active, SourceKind};

/// Ready: not draining, and the keys of every issuer are there. An issuer whose keys are fetched on
/// demand, or that is asked about each token, keeps nobody waiting.
pub(super) fn ready(admin: &Admin, verbose: bool) -> Answer {
    let active = admin.active.load();
    let policy = &active.setup.policy;
    let mut page = String::new();
    let mut all = true;
    let mut line = |good: bool, what: &str| {
        all &= good;
        // Writing to a string does not fail.
        let _ = writeln!(page, "[{}] {what}", if good { "ok" } else { "fail" });
    };
    line(!*admin.ending.borrow(), "not shutting down");
    let reloaded = admin.reloaded.last();
    let mut serves = format!(
        "configuration {}, since {}",
        active.setup.digest, reloaded.at
    );
    if let Some((at, why)) = reloaded.failed {
        let _ = write!(serves, "; a reload failed at {at}: {why}");
    }
    line(true, &serves);
    let mut list = match admin.revocations.has_lost() {
        false => format!("revocations: {}", admin.revocations.len()),
        true => "revocations: a list of revocations was lost; see `bearward revocations list`"
            .to_owned(),
    };
    let now = admin.gateway.clock.now();
    let demanding = policy.routes().iter().filter(|it| it.revocations_required);
    let demanding: Vec<&str> = demanding.map(|route| &*route.name).collect();
    if !demanding.is_empty() && !admin.revocations.is_whole(now) {
        let _ = write!(list, "; routes that demand all of it answer 503: ");
        list.push_str(&demanding.join(", "));
    }
    // The other routes serve.
    line(true, &list);
    if let Some(feed) = admin.revocations.feed() {
        let lag = feed.lag(now).as_secs();
        let why = feed.down_because();
        let why = why.as_deref().unwrap_or("not tried yet");
        let how = match feed.is_connected() {
            _ if !feed.was_tried() => format!("the list was never read: {why}"),
            true => "connected".to_owned(),
            false => format!("disconnected for {lag} s: {why}; the known list serves"),
        };
        // Whoever has just started may lack much, until it has asked once. A feed that is down keeps
        // nobody from serving.
        line(feed.was_tried(), &format!("feed of revocations: {how}"));
    }
    for (name, well, all) in servers(&active) {
        // A gateway without servers still judges, and says so to whoever asks.
        line(
            true,
            &format!("upstream {name}: {well} of {all} servers get requests"),
        );
    }
    for issuer in &active.issuers {
        let (status, introspection) = (&issuer.status, &issuer.introspection);
        let name = &status.name;
        if status.source == SourceKind::Introspection {
            let how = match (introspection.failure(), introspection.answered()) {
                (Some((at, error)), _) => format!("the last question failed at {at}: {error}"),
                (None, Some(at)) => format!("answered at {at}"),
                (None, None) => "not asked yet".to_owned(),
            };
            line(true, &format!("introspection of issuer {name}: {how}"));
            continue;
        }
        let keys = issuer
            .trusted()
            .keys()
            .set
            .as_ref()
            .map(|keys| keys.len().to_string());
        let mut what = format!(
            "keys of issuer {name}: {}",
            keys.as_deref().unwrap_or("none")
        );
        match status.notes().failed {
            Some((at, error)) => {
                let _ = write!(what, "; the last fetch failed at {at}: {error}");
            }
            None if keys.is_none() && status.on_demand => what.push_str("; fetched on demand"),
            None if keys.is_none() => what.push_str("; not fetched yet"),
            None => {}
        }
        line(keys.is_some() || status.on_demand, &what);
    }
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if !verbose {
        page = if all { "ready\n" } else { "not ready\n" }.to_owned();
    }
    text(status, "text/plain; charset=utf-8", page)
}

/// Of each upstream with several servers: how many of them get requests, and how many there are.
fn servers(active: &Active) -> Vec<(&str, usize, usize)> {
    let now = tokio::time::Instant::now();
    let mut counted: Vec<(&str, usize, usize)> = Vec::new();
    let lane = active.lanes.first();
    for (upstream, server, _) in lane.into_iter().flat_map(|it| it.pools.open()) {
        let well = usize::from(server.health.is_well(now));
        match counted.last_mut() {
            Some((name, wells, all)) if *name == &*upstream.name => {
                *wells += well;
                *all += 1;
            }
            _ => counted.push((&upstream.name, well, 1)),
        }
    }
    counted.retain(|(_, _, all)| *all > 1);
    counted
}
