//! `bearward run`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use super::output::{Code, Failure, say};
use crate::app;
use crate::clock::SystemClock;
use crate::config;
use crate::observe::log;

pub(super) fn run(path: &Path) -> Outcome {
    let (config, report) = config::load(path);
    let findings = report.pretty();
    if !findings.is_empty() {
        say(findings.trim_end());
    }
    let Some(config) = config else {
        return Ok(Code::Configuration.into());
    };
    log::start(config.log_format, config.log_level);
    let gateway = app::start(config, Arc::new(SystemClock), std::io::stdout())
        .map_err(|error| Failure::new(Code::System, error))?;
    for (listener, address) in gateway.addresses() {
        tracing::info!(%listener, %address, "listening");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin = %gateway.admin(), "bearward serves");
    wait_for_end().map_err(Failure::internal)?;
    let cut = gateway.stop();
    if cut > 0 {
        tracing::warn!(
            connections = cut,
            "connections were cut at the end of drain_timeout"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGTERM or SIGINT. From then on a second one ends the process at once.
pub(super) fn wait_for_end() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut term, mut int, mut hangup) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hangup.recv() => tracing::warn!("reloading is not served by this version; restart to change the configuration"),
            }
        }
    });
    tracing::info!("shutting down");
    std::thread::Builder::new()
        .name("second-signal".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
            });
            std::process::exit(1);
        })?;
    Ok(())
}
