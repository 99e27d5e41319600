//! `bearward run`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Outcome;
use super::manager::Manager;
use super::output::{Code, Failure, say};
use crate::app::{self, Inheritance, Predecessor, Running, StartError};
use crate::clock::SystemClock;
use crate::config;
use crate::observe::log;

pub(super) fn run(path: &Path, take_over: bool) -> Outcome {
    let (config, report) = config::load(path);
    let findings = report.pretty();
    if !findings.is_empty() {
        say(findings.trim_end());
    }
    let Some(config) = config else {
        return Ok(Code::Configuration.into());
    };
    let manager = Manager::from_env();
    // From here on no signal ends the process by itself.
    let mut signals = Signals::listen().map_err(Failure::internal)?;
    log::start(config.fixed.log_format, config.fixed.log_level)
        .map_err(|error| Failure::new(Code::System, error))?;
    let file = Some(path.to_owned());
    let refused = |error| Failure::new(Code::System, error);
    let mut inheritance = Inheritance::from_systemd().map_err(refused)?;
    let mut predecessor = None;
    if take_over {
        predecessor = inheritance.take_over(&config).map_err(refused)?;
        if predecessor.is_none() {
            tracing::info!("no gateway runs with this state folder; there is nothing to take over");
        }
    }
    let (clock, out) = (Arc::new(SystemClock), std::io::stdout());
    let gateway = app::start(config, file, clock, out, inheritance).map_err(refused)?;
    let ended = match predecessor {
        None => Ok(()),
        Some(predecessor) => signals.replace(&gateway, predecessor),
    };
    if let Err(error) = ended {
        let _ = gateway.stop();
        return Err(Failure::new(Code::System, error));
    }
    for (listener, address) in gateway.addresses() {
        tracing::info!(%listener, %address, "listening");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin = %gateway.admin(), "bearward serves");
    let ended = signals.wait_for_end(&gateway, manager);
    let cut = gateway.stop();
    if cut == 0 {
        tracing::info!("all connections came to their end");
    } else {
        tracing::warn!(
            connections = cut,
            "connections were cut at the end of drain_timeout"
        );
    }
    ended.map_err(|error| Failure::new(Code::System, error))?;
    Ok(ExitCode::SUCCESS)
}

/// The signals of this process.
pub(super) struct Signals {
    runtime: Runtime,
    term: Signal,
    int: Signal,
    hangup: Signal,
    usr1: Signal,
}

impl Signals {
    /// Takes them from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (term, int, hangup, usr1) = {
            let _guard = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
                signal(SignalKind::user_defined1())?,
            )
        };
        Ok(Self {
            runtime,
            term,
            int,
            hangup,
            usr1,
        })
    }

    /// Takes the place of another gateway, unless this one is told to end before: then the other serves on.
    fn replace(&mut self, gateway: &Running, predecessor: Predecessor) -> Result<(), StartError> {
        let (term, int) = (&mut self.term, &mut self.int);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                replaced = gateway.replace(predecessor) => replaced,
                _ = term.recv() => Err(StartError::Interrupted),
                _ = int.recv() => Err(StartError::Interrupted),
            }
        })?;
        tracing::info!("the gateway of before drains");
        Ok(())
    }

    /// Waits for SIGTERM, SIGINT, the admin API or a gateway that takes over, reloads at each SIGHUP, and has the audit
    /// file opened anew at SIGUSR1. A
    /// SIGTERM or SIGINT after that ends the process at once. The service manager is told of all that.
    pub(super) fn wait_for_end(self, gateway: &Running, manager: Manager) -> std::io::Result<()> {
        let Self {
            runtime,
            mut term,
            mut int,
            mut hangup,
            mut usr1,
        } = self;
        manager.ready("serving");
        runtime.block_on(async {
            let reloads = async {
                while hangup.recv().await.is_some() {
                    manager.reloading();
                    // What comes of it is in the log too.
                    match gateway.reload().await {
                        Ok(()) => manager.ready("serving"),
                        Err(_) => manager.ready("serving; the last reload failed, see the log"),
                    }
                }
                std::future::pending::<()>().await;
            };
            let rotations = async {
                while usr1.recv().await.is_some() {
                    gateway.reopen_audit();
                }
                std::future::pending::<()>().await;
            };
            // A reload that hangs keeps nobody from ending.
            tokio::select! {
                () = gateway.told_to_end() => {}
                _ = term.recv() => {}
                _ = int.recv() => {}
                () = reloads => {}
                () = rotations => {}
                () = watched(&manager, gateway) => {}
            }
        });
        manager.stopping();
        tracing::info!("shutting down");
        std::thread::Builder::new()
            .name("second-signal".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = term.recv() => {}
                        _ = int.recv() => {}
                        // The drain has a bound of its own.
                        () = tells(&manager, || true) => {}
                    }
                });
                std::process::exit(1);
            })?;
        Ok(())
    }
}

/// Tells the service manager that the gateway lives, for as long as every worker turns its loop.
async fn watched(manager: &Manager, gateway: &Running) {
    let mut last = gateway.turns();
    tells(manager, || {
        let now = gateway.turns();
        let all_turn = now.iter().zip(&last).all(|(now, last)| now != last);
        last = now;
        all_turn
    })
    .await;
}

async fn tells(manager: &Manager, mut is_alive: impl FnMut() -> bool) {
    let Some(every) = manager.tells_every() else {
        return std::future::pending().await;
    };
    // Below that, a worker that turns may not have been seen to.
    let every = every.max(2 * crate::worker::TURN_MAX);
    loop {
        tokio::time::sleep(every).await;
        if is_alive() {
            manager.alive();
        }
    }
}
