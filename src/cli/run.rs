//! `bearward run`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use super::output::{Code, Failure, say};
use crate::app::{self, Running};
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
    log::start(config.fixed.log_format, config.fixed.log_level)
        .map_err(|error| Failure::new(Code::System, error))?;
    let file = Some(path.to_owned());
    let gateway = app::start(config, file, Arc::new(SystemClock), std::io::stdout())
        .map_err(|error| Failure::new(Code::System, error))?;
    for (listener, address) in gateway.addresses() {
        tracing::info!(%listener, %address, "listening");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin = %gateway.admin(), "bearward serves");
    wait_for_end(&gateway).map_err(Failure::internal)?;
    let cut = gateway.stop();
    if cut > 0 {
        tracing::warn!(
            connections = cut,
            "connections were cut at the end of drain_timeout"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGTERM or SIGINT, and reloads at each SIGHUP. A second SIGTERM or SIGINT ends the process
/// at once.
pub(super) fn wait_for_end(gateway: &Running) -> std::io::Result<()> {
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
                // What comes of it is in the log.
                _ = hangup.recv() => drop(gateway.reload().await),
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
