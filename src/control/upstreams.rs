//! Asking the servers of upstreams whether they are well.
//!
//! Each is asked by one task for all workers; what it says counts beside what requests come to.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior};

use super::tasks::Tasks;
use crate::forward::{HealthProbe, Server, Upstream, is_well};

/// An upstream that serves, and those who ask its servers.
#[derive(Debug)]
pub(crate) struct KeptUpstream {
    pub(crate) upstream: Arc<Upstream>,
    asking: Tasks,
}

impl KeptUpstream {
    pub(super) fn new(upstream: Arc<Upstream>) -> Self {
        Self {
            upstream,
            asking: Tasks::default(),
        }
    }

    /// Asks every server, if they are to be asked, for as long as the upstream serves.
    pub(super) fn ask(&self) {
        let Some(probe) = &self.upstream.probe else {
            return;
        };
        for server in &self.upstream.servers {
            let (upstream, server) = (Arc::clone(&self.upstream), Arc::clone(server));
            self.asking.spawn(ask(upstream, server, probe.clone()));
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
