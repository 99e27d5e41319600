//! The side of the new gateway.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Message, VERSION, Wire, place};
use crate::app::StartError;
use crate::config::Config;
use crate::listen::{Address, Inherited, Socket};
use crate::revocation::Revocation;

/// The old gateway has this long for each word.
const WORD_MAX: Duration = Duration::from_secs(10);
/// And this long to let a revocation bite.
const DONE_MAX: Duration = Duration::from_secs(2);

/// Sockets that were passed to this process.
#[derive(Debug, Default)]
pub struct Inheritance {
    pub(in crate::app) sockets: Arc<Inherited>,
    /// Another gateway serves until it is told to drain.
    pub(in crate::app) elder: Option<Elder>,
}

/// The gateway that runs, until it is told that this one serves. If it is dropped before, that one goes on.
#[derive(Debug)]
pub struct Predecessor {
    elder: Elder,
    drains: bool,
}

/// The way to the gateway that runs.
#[derive(Clone, Debug)]
pub(in crate::app) struct Elder(Arc<Mutex<Wire>>);

impl Inheritance {
    /// What systemd passes.
    ///
    /// # Errors
    /// One of those is no socket that listens.
    pub fn from_systemd() -> Result<Self, StartError> {
        let sockets = Inherited::from_systemd().map_err(StartError::Passed)?;
        Ok(Self {
            sockets: Arc::new(sockets),
            elder: None,
        })
    }

    /// Asks the gateway that runs with the same state folder for its sockets, and has it let go of the
    /// folder. `None`: there is none.
    ///
    /// # Errors
    /// It does not let go.
    pub fn take_over(&mut self, config: &Config) -> Result<Option<Predecessor>, StartError> {
        let path = place(&config.fixed.state_dir);
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(StartError::TakeOver(error)),
        };
        let taken = self.receive(stream).map_err(said)?;
        self.elder = Some(taken.elder.clone());
        Ok(Some(taken))
    }

    fn receive(&self, stream: UnixStream) -> io::Result<Predecessor> {
        stream.set_read_timeout(Some(WORD_MAX))?;
        stream.set_write_timeout(Some(WORD_MAX))?;
        let mut wire = Wire::new(stream);
        let process = std::process::id();
        let wish = Message::TakeOver {
            version: VERSION,
            process,
        };
        wire.send(&wish, None)?;
        loop {
            match wire.receive()? {
                Message::Socket { label, address } => {
                    let missing = || io::Error::other(format!("{address} came without a socket"));
                    let descriptor = wire.descriptors.pop_front().ok_or_else(missing)?;
                    // One that this version does not know serves nothing here.
                    if let Ok(address) = Address::read(&address, Path::new("")) {
                        self.sockets
                            .add(label, address, Socket::passed(descriptor)?);
                    }
                }
                Message::All => {
                    return Ok(Predecessor {
                        elder: Elder(Arc::new(Mutex::new(wire))),
                        drains: false,
                    });
                }
                Message::Refused { why } => return Err(io::Error::other(why)),
                _ => return Err(io::Error::other("it said what nobody asked")),
            }
        }
    }
}

/// What the old one makes of what it is told.
enum Said {
    Done,
    /// It serves on by itself.
    No(String),
    /// It has ended without a word.
    Gone,
}

impl Predecessor {
    /// Has it drain: another gateway can serve. One that has ended meanwhile has nothing to drain.
    pub(in crate::app) fn drain(mut self) -> Result<(), StartError> {
        let answer = self.elder.say(&Message::Serving).map_err(said)?;
        if let Said::No(why) = answer {
            return Err(StartError::TakeOver(io::Error::other(why)));
        }
        if matches!(answer, Said::Gone) {
            tracing::warn!("the gateway of before has ended by itself");
        }
        self.drains = true;
        Ok(())
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        if !self.drains {
            // It takes everything back.
            let wire = self.elder.wire();
            let _ = wire.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Elder {
    /// Tells it of a revocation; whether it is still there. One that has ended has nothing open any more.
    pub(in crate::app) fn tell(&self, revocation: &Revocation) -> bool {
        let Ok(line) = revocation.to_line() else {
            return true;
        };
        let told = self.say(&Message::Revoked { line });
        if let Err(error) = &told {
            tracing::error!(%error, "the gateway of before does not hear of revocations");
        }
        matches!(told, Ok(Said::Done))
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: &Message) -> io::Result<Said> {
        let mut wire = self.wire();
        wire.stream.set_read_timeout(Some(DONE_MAX))?;
        let sent = wire.send(message, None);
        match sent.and_then(|()| wire.receive()) {
            Ok(Message::Done) => Ok(Said::Done),
            Ok(Message::Refused { why }) => Ok(Said::No(why)),
            Ok(_) => Err(io::Error::other("it said what nobody asked")),
            Err(error) if has_gone(&error) => Ok(Said::Gone),
            Err(error) => Err(error),
        }
    }
}

fn has_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}

/// What went wrong, as an operator can use it.
fn said(error: io::Error) -> StartError {
    StartError::TakeOver(match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::other(format!("it does not answer in {WORD_MAX:?}"))
        }
        _ if has_gone(&error) => io::Error::other("it ends, or another one takes over; try again"),
        _ => error,
    })
}
