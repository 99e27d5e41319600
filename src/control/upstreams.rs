//! Asking the servers of upstreams whether they are well.
//!
//! Each is asked by one task for all workers; what it says counts beside what requests come to.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior};

use crate::forward::{HealthProbe, Server, Upstream, is_well};

/// Asks every server of an upstream with `health`, for as long as the runtime lives.
pub(super) fn keep(upstreams: &[Arc<Upstream>]) {
    for upstream in upstreams {
        let Some(probe) = &upstream.probe else {
            continue;
        };
        for server in &upstream.servers {
            tokio::spawn(ask(Arc::clone(upstream), Arc::clone(server), probe.clone()));
        }
    }
}

async fn ask(upstream: Arc<Upstream>, server: Arc<Server>, probe: HealthProbe) {
    let mut tick = tokio::time::interval(probe.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let after = (probe.unhealthy_after, probe.healthy_after);
    loop {
        tick.tick().await;
        let asked = is_well(&upstream, &server, &probe).await;
        if !server.health.probed(asked.is_ok(), after, Instant::now()) {
            continue;
        }
        let (upstream, server) = (&*upstream.name, &*server.label);
        match asked {
            Ok(()) => tracing::info!(upstream, server, "a server is well again"),
            Err(why) => tracing::warn!(
                upstream,
                server,
                why,
                "a server is not well; it gets no requests while others are"
            ),
        }
    }
}
