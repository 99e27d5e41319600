//! Looking for what is odd once a minute: at the counts of the last one, and at the issuers' clocks.

use std::sync::Arc;
use std::time::Duration;

use super::Active;
use crate::gateway::Gateway;
use crate::observe::Metrics;
use crate::published::Published;

/// How often it is looked whether a minute is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks for as long as its runtime lives.
pub(crate) async fn watch(
    gateway: Arc<Gateway>,
    active: Arc<Published<Active>>,
    metrics: Arc<Metrics>,
) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let minute = |gateway: &Gateway| gateway.clock.now().secs().div_euclid(60);
    let mut last = minute(&gateway);
    loop {
        tick.tick().await;
        let now = minute(&gateway);
        if now == last {
            continue;
        }
        last = now;
        let now = gateway.clock.now();
        gateway.oddities.look_at_minutes(&metrics.minutes(now));
        for issuer in &active.look().issuers {
            if let Some(offset) = issuer.status.clock_offset() {
                gateway
                    .oddities
                    .look_at_clock(&issuer.status.name, offset, now);
            }
        }
    }
}
