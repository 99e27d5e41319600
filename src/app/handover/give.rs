//! The side of the gateway that runs.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::watch;

use super::{Message, VERSION, Wire, place};
use crate::app::state::StateLock;
use crate::control::{Active, SavedKeys};
use crate::listen::{Address, Socket};
use crate::published::Published;
use crate::revocation::{Revocation, Revocations};

/// A new gateway has this long to serve, after it has the sockets.
const SERVING_MAX: Duration = Duration::from_secs(60);
/// And this long for each word before.
const WORD_MAX: Duration = Duration::from_secs(5);
/// Between two tries to have the folder again.
const TAKE_BACK_PAUSE: Duration = Duration::from_secs(1);

/// A socket that no reload changes.
#[derive(Debug)]
pub(in crate::app) struct Standing {
    /// Its key of the configuration.
    pub(in crate::app) label: &'static str,
    pub(in crate::app) address: Address,
    pub(in crate::app) socket: Socket,
}

/// What is handed over.
pub(in crate::app) struct Giver {
    pub(in crate::app) state_dir: PathBuf,
    pub(in crate::app) active: Arc<Published<Active>>,
    pub(in crate::app) standing: Mutex<Vec<Standing>>,
    pub(in crate::app) revocations: Arc<Revocations>,
    pub(in crate::app) saved: SavedKeys,
    pub(in crate::app) lock: Arc<StateLock>,
    /// Another gateway serves.
    pub(in crate::app) over: watch::Sender<bool>,
}

impl Giver {
    /// Once this gateway is the only one, waits for another that wants to take over, until one has.
    pub(in crate::app) async fn keep(self, mut alone: watch::Receiver<bool>) {
        if alone.wait_for(|alone| *alone).await.is_err() {
            return;
        }
        let listener = match bind(&place(&self.state_dir)) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "this gateway cannot be taken over");
                return;
            }
        };
        let giver = Arc::new(self);
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(WORD_MAX).await;
                continue;
            };
            let own = Arc::clone(&giver);
            let given = tokio::task::spawn_blocking(move || own.give(stream.into_std()?));
            match given.await.map_err(io::Error::other) {
                Ok(Ok(())) => break,
                Ok(Err(error)) | Err(error) => {
                    tracing::error!(%error, "another gateway did not take over; this one serves on")
                }
            }
        }
        giver.standing().clear();
        giver.over.send_replace(true);
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Vec<Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands everything over. Blocks.
    ///
    /// # Errors
    /// The other one does not serve; then everything is ours again.
    fn give(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(WORD_MAX))?;
        stream.set_write_timeout(Some(WORD_MAX))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        if peer.uid != rustix::process::geteuid() {
            return Err(io::Error::other("it is of another user"));
        }
        let mut wire = Wire::new(stream);
        match wire.receive()? {
            Message::TakeOver {
                version: VERSION,
                process,
            } => tracing::info!(process, "another gateway takes over"),
            Message::TakeOver { version, .. } => {
                let why = format!(
                    "version {version} of taking over is not spoken here, but {VERSION}; stop this gateway and start the other"
                );
                let _ = wire.send(&Message::Refused { why: why.clone() }, None);
                return Err(io::Error::other(why));
            }
            _ => return Err(io::Error::other("it did not say what it wants")),
        }
        self.hand(&wire)?;
        self.revocations.let_go();
        self.saved.let_go(true);
        self.lock.let_go();
        let served = (|| {
            wire.send(&Message::All, None)?;
            let until = Instant::now() + SERVING_MAX;
            loop {
                let rest = until.saturating_duration_since(Instant::now());
                let rest = rest.max(Duration::from_millis(1));
                wire.stream.set_read_timeout(Some(rest))?;
                match wire.receive()? {
                    // One that is gone by now does not serve.
                    Message::Serving => return wire.send(&Message::Done, None),
                    // Its list moves on already.
                    Message::Revoked { line } => bite(&self.revocations, &line, &wire)?,
                    _ => return Err(io::Error::other("it did not say that it serves")),
                }
            }
        })();
        if let Err(error) = served {
            self.take_back(&mut wire);
            return Err(io::Error::other(match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                    "it ended before it served".to_owned()
                }
                io::ErrorKind::WouldBlock => format!("it did not serve in {SERVING_MAX:?}"),
                _ => error.to_string(),
            }));
        }
        self.follow(wire);
        Ok(())
    }

    /// Lets bite here what is revoked at the other one, as long as both are there.
    fn follow(&self, mut wire: Wire) {
        let revocations = Arc::clone(&self.revocations);
        let following = move || {
            if wire.stream.set_read_timeout(None).is_err() {
                return;
            }
            while let Ok(Message::Revoked { line }) = wire.receive() {
                if bite(&revocations, &line, &wire).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("successor".into());
        if let Err(error) = thread.spawn(following) {
            tracing::error!(%error, "what is revoked from here on does not end what still streams here");
        }
    }

    fn hand(&self, wire: &Wire) -> io::Result<()> {
        let send = |label: String, address: &Address, socket: &Socket| {
            let address = address.to_string();
            wire.send(&Message::Socket { label, address }, Some(socket.as_fd()))
        };
        for standing in &*self.standing() {
            send(
                standing.label.to_owned(),
                &standing.address,
                &standing.socket,
            )?;
        }
        for door in &self.active.load().doors {
            for socket in &*door.sockets() {
                send(door.label(), &door.address, socket)?;
            }
        }
        Ok(())
    }

    /// The other one does not serve: everything is ours again, once it has let go.
    fn take_back(&self, wire: &mut Wire) {
        // One that is alive and late must not take our silence for our end.
        let why = "it waited too long, and serves on".to_owned();
        let _ = wire.send(&Message::Refused { why }, None);
        let _ = wire.stream.shutdown(std::net::Shutdown::Write);
        let _ = wire.stream.set_read_timeout(Some(WORD_MAX));
        wire.ended();
        while let Err(error) = self.lock.take_back() {
            tracing::error!(%error, "the other gateway still has the state folder; revocations cannot be changed here");
            pause();
        }
        self.saved.let_go(false);
        if let Err(error) = self.revocations.take_back() {
            tracing::error!(%error, "the list of revocations cannot be taken back");
        }
    }
}

/// Lets a revocation bite that the other one has told, and says so.
fn bite(revocations: &Revocations, line: &str, wire: &Wire) -> io::Result<()> {
    match Revocation::from_line(line) {
        Ok(revocation) => revocations.bite_too(&revocation),
        Err(why) => tracing::error!(?why, "a revocation cannot be read"),
    }
    wire.send(&Message::Done, None)
}

#[expect(clippy::disallowed_methods, reason = "a thread that may wait")]
fn pause() {
    std::thread::sleep(TAKE_BACK_PAUSE);
}

/// The socket where this gateway can be asked. The state folder is ours: what is there is of one that
/// has ended.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
