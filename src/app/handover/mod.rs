//! A new gateway takes over from the one that runs, for instance a new version, and no connection is lost.
//!
//! The new one connects to a socket in the state folder, which only its own user can open. The old one
//! hands over its listening sockets and lets go of the state folder: its verdicts go on with the list of
//! revocations as it stood, and changes of that list wait. When the new one says that it serves, the old
//! one drains, and is told what is revoked until it has ended. If it does not come that far, the old one takes
//! the folder back and serves on.

mod give;
mod take;

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

pub(super) use give::{Giver, Standing};
pub use take::{Inheritance, Predecessor};

/// The socket in the state folder.
const FILE: &str = "take-over.sock";
/// What is said between the two; another number is another language.
const VERSION: u32 = 1;
/// The longest line: a revocation with everything escaped.
const LINE_MAX: usize = 64 * 1024;

/// What one says to the other, a line of JSON each.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    /// The new one: I want to take over.
    TakeOver { version: u32, process: u32 },
    /// The old one: here is a socket, of this key of the configuration and this address.
    Socket { label: String, address: String },
    /// The old one: that was all, and the state folder is yours.
    All,
    /// The old one: no.
    Refused { why: String },
    /// The new one: I can serve. The old one drains.
    Serving,
    /// The new one: this bites from here on.
    Revoked { line: String },
    /// The old one: I have done so.
    Done,
}

/// Where a gateway with this state folder can be taken over.
fn place(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// A stream of messages, some with a descriptor.
#[derive(Debug)]
struct Wire {
    stream: UnixStream,
    bytes: Vec<u8>,
    /// In the order of the messages that they belong to.
    descriptors: VecDeque<OwnedFd>,
}

impl Wire {
    const fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            descriptors: VecDeque::new(),
        }
    }

    fn send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let descriptor: Vec<_> = descriptor.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if !descriptor.is_empty() {
            with.push(SendAncillaryMessage::ScmRights(&descriptor));
        }
        let sent = sendmsg(
            &self.stream,
            &[IoSlice::new(&line)],
            &mut with,
            SendFlags::NOSIGNAL,
        )?;
        if sent == line.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// The next message; waits as long as the stream's own limit.
    fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.bytes.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            if self.bytes.len() >= LINE_MAX {
                return Err(io::Error::other("a line is too long"));
            }
            let mut part = [0; 1024];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut with = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(
                &self.stream,
                &mut [IoSliceMut::new(&mut part)],
                &mut with,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            for message in with.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors.extend(descriptors);
                }
            }
            let read = part.get(..received.bytes).unwrap_or_default();
            if read.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(read);
        }
    }

    /// Waits until the other side has gone.
    fn ended(&mut self) {
        let _ = self.stream.read(&mut [0]);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn lines_and_descriptors_come_in_their_order() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let (sender, mut receiver) = (Wire::new(one), Wire::new(other));
        let folder = tempfile::tempdir().expect("a folder");
        let socket = |label: &str| Message::Socket {
            label: label.to_owned(),
            address: "[::1]:8443".to_owned(),
        };
        for name in ["a", "b", "c"] {
            let path = folder.path().join(name);
            std::fs::write(&path, name).expect("a file");
            let file = std::fs::File::open(&path).expect("a file");
            sender
                .send(&socket(name), Some(file.as_fd()))
                .expect("room");
        }
        sender.send(&Message::All, None).expect("room");
        drop(sender);
        for name in ["a", "b", "c"] {
            assert_eq!(receiver.receive().expect("a message"), socket(name));
            let descriptor = receiver.descriptors.pop_front().expect("a descriptor");
            let mut text = String::new();
            let mut file = std::fs::File::from(descriptor);
            file.read_to_string(&mut text).expect("text");
            assert_eq!(text, name);
        }
        assert_eq!(receiver.receive().expect("a message"), Message::All);
        let end = receiver.receive().map_err(|error| error.kind());
        assert_eq!(end, Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn what_is_no_line_of_ours_is_an_error() {
        use std::io::Write;
        for bytes in [&b"{\"give_all\":{}}\n"[..], b"\xff\n", &[b'x'; LINE_MAX]] {
            let (mut one, other) = UnixStream::pair().expect("a pair");
            one.write_all(bytes).expect("room");
            assert!(Wire::new(other).receive().is_err());
        }
    }
}
