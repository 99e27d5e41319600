//! Telling the service manager how it stands (sd_notify(3)): ready, reloading, alive, stopping.
//!
//! A datagram to a socket that it names, in a form that does not change: no library is needed for that. Where nobody
//! listens, nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A way to the service manager; by default to none.
#[derive(Debug, Default)]
pub(super) struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// It wants to hear from us at least this often.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that this process was started by, if it wants to be told.
    pub(super) fn from_env() -> Self {
        let named = std::env::var("NOTIFY_SOCKET").ok();
        let address = named.and_then(|name| match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(name).ok(),
        });
        let to = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            // Whoever does not read keeps nobody from ending.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_ours && to.is_some());
        Self {
            to,
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    fn say(&self, what: &str) {
        if let Some((socket, address)) = &self.to {
            // Whoever does not listen any more has ended, and we are next.
            let _ = socket.send_to_addr(what.as_bytes(), address);
        }
    }

    /// It serves, in this process: another may have been the service before.
    pub(super) fn ready(&self, status: &str) {
        self.say(&format!(
            "READY=1\nMAINPID={}\nSTATUS={status}",
            std::process::id()
        ));
    }

    /// The configuration is read again; [`Self::ready`] ends that.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now
            .tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(now.tv_nsec / 1000);
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration"
        ));
    }

    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=finishing what runs");
    }

    pub(super) fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// How often it is told, if it wants to be: three times as often as it must.
    pub(super) fn tells_every(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 3)
    }
}
