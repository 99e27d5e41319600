//! Sockets that take connections, and where they come from: bound here, passed by systemd, or handed
//! over by the gateway that ran before.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Type};

use super::Address;
use crate::http::deadline::keepalive;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// Who may connect to a socket in the file system: its user and group.
const UNIX_MODE: u32 = 0o660;
/// Sockets that may be passed to this process.
const PASSED_MAX: usize = 1024;

/// A socket that takes connections.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// One that was passed to this process.
    ///
    /// # Errors
    /// It is no stream socket that listens.
    pub(crate) fn passed(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(descriptor);
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::other("it is no stream socket that listens"));
        }
        socket.set_nonblocking(true)?;
        if socket.local_addr()?.is_unix() {
            return Ok(Self::Unix(OwnedFd::from(socket).into()));
        }
        socket.set_tcp_keepalive(&keepalive())?;
        Ok(Self::Tcp(socket.into()))
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub(crate) fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(socket) => Address::Tcp(socket.local_addr()?),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                Address::Unix(
                    address
                        .as_pathname()
                        .map(Path::to_owned)
                        .unwrap_or_default(),
                )
            }
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// A socket that was passed to this process.
#[derive(Debug)]
struct Passed {
    /// The listener's name; `None` from systemd, which knows none.
    label: Option<String>,
    address: Address,
    socket: Socket,
}

/// Sockets that were passed to this process, until somebody asks for them.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Mutex<Vec<Passed>>);

impl Inherited {
    /// Those that systemd passes (`LISTEN_FDS`, `LISTEN_FDNAMES`; sd_listen_fds(3)).
    ///
    /// # Errors
    /// One of them is no socket that listens.
    pub(crate) fn from_systemd() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut all = Vec::new();
        for index in 0..passed.len().min(PASSED_MAX) {
            // Where systemd gives none, it says "unknown".
            let name = names.next().filter(|name| !name.is_empty());
            let name = name.unwrap_or("unknown").to_owned();
            let said = |error: io::Error| io::Error::other(format!("systemd:{name}: {error}"));
            let socket: Option<OwnedFd> = match passed.take_unix_listener(index) {
                Ok(socket) => socket.map(Into::into),
                Err(_) => passed
                    .take_tcp_listener(index)
                    .map_err(said)?
                    .map(Into::into),
            };
            let Some(socket) = socket else { continue };
            all.push(Passed {
                label: None,
                socket: Socket::passed(socket).map_err(said)?,
                address: Address::Systemd(name),
            });
        }
        Ok(Self(Mutex::new(all)))
    }

    /// One more, for a listener of this name.
    pub(crate) fn add(&self, label: String, address: Address, socket: Socket) {
        self.passed().push(Passed {
            label: Some(label),
            address,
            socket,
        });
    }

    /// What was passed and nobody has asked for.
    pub(crate) fn names(&self) -> String {
        let passed = self.passed();
        let names: Vec<_> = passed.iter().map(|it| it.address.to_string()).collect();
        names.join(", ")
    }

    /// Forgets those that a gateway handed over and no listener asked for: nobody would take their
    /// connections. What systemd passes may be wanted after a reload.
    pub(crate) fn keep_only_systemd(&self) {
        self.passed().retain(|it| it.label.is_none());
    }

    fn passed(&self) -> std::sync::MutexGuard<'_, Vec<Passed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those for an address. Where the system chose the port, those of a listener of that name.
    fn take(&self, label: &str, address: &Address) -> Vec<Socket> {
        let mut passed = self.passed();
        let fits = |it: &mut Passed| {
            it.address == *address && (address.is_given() || it.label.as_deref() == Some(label))
        };
        passed.extract_if(.., fits).map(|it| it.socket).collect()
    }

    /// The sockets of a listener, one for each of `count` workers or more: those that were passed, or
    /// new ones.
    ///
    /// # Errors
    /// The address is taken, not of this machine, or not allowed, or systemd has passed none of that name.
    pub(crate) fn sockets(
        &self,
        label: &str,
        address: &Address,
        count: usize,
    ) -> io::Result<Vec<Socket>> {
        let mut sockets = self.take(label, address);
        if sockets.is_empty() {
            sockets = match address {
                Address::Tcp(address) => bind(*address, count)?,
                Address::Unix(path) => vec![bind_path(path)?],
                Address::Systemd(_) => {
                    let passed = self.names();
                    let why = match passed.as_str() {
                        "" => "systemd has passed no socket (LISTEN_FDS, LISTEN_PID)".to_owned(),
                        passed => {
                            format!("systemd has passed no socket of that name, but {passed}")
                        }
                    };
                    return Err(io::Error::new(io::ErrorKind::NotFound, why));
                }
            };
        }
        // Workers that share a socket share its queue.
        let own = sockets.len();
        for index in own..count {
            let shared = sockets.get(index % own).map(Socket::again);
            sockets.extend(shared.transpose()?);
        }
        Ok(sockets)
    }
}

/// Binds `count` sockets on one address. With port 0 they share the port that the first is given.
fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<Socket>> {
    if address.port() != 0 {
        socket(address, false)?;
    }
    let mut sockets: Vec<Socket> = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let address = match sockets.first() {
            Some(Socket::Tcp(first)) => first.local_addr()?,
            _ => address,
        };
        let socket = socket(address, true)?;
        // What is accepted has it from here, without a call of its own.
        socket.set_tcp_keepalive(&keepalive())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        sockets.push(Socket::Tcp(socket.into()));
    }
    Ok(sockets)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Whether nobody listens on a socket any more. One of another kind, or whose queue is full, is somebody's.
fn is_left_over(path: &Path) -> bool {
    let refused = || {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A queue that is full would be waited for.
        socket.set_nonblocking(true)?;
        socket.connect(&socket2::SockAddr::unix(path)?)
    };
    refused().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Binds a path. A socket that a gateway left there, and that nobody listens on, is replaced; nothing
/// else is.
fn bind_path(path: &Path) -> io::Result<Socket> {
    let taken = io::ErrorKind::AddrInUse;
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(taken, "there is a file that is no socket"));
        }
        Ok(_) if !is_left_over(path) => {
            return Err(io::Error::new(taken, "another process listens there"));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // Nobody can connect before it listens.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Socket::Unix(OwnedFd::from(socket).into()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn loopback() -> Address {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    #[tokio::test]
    async fn what_is_accepted_finds_out_peers_that_are_gone() {
        let mut sockets = Inherited::default()
            .sockets("public", &loopback(), 1)
            .expect("a socket");
        let Some(Socket::Tcp(socket)) = sockets.pop() else {
            unreachable!("it is one of TCP");
        };
        let listener = TcpListener::from_std(socket).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (accepted, _) = accepted.expect("a connection");
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.keepalive().expect("an option"));
        let time = accepted.tcp_keepalive_time().expect("an option");
        assert_eq!(time, Duration::from_secs(60));
        drop(client);
    }

    #[test]
    fn what_was_passed_is_taken_once_and_shared_by_all_workers() {
        let own = Inherited::default()
            .sockets("a", &loopback(), 1)
            .expect("a socket");
        let address = own[0].address().expect("an address");
        let passed = Inherited::default();
        for socket in own {
            passed.add("a".into(), address.clone(), socket);
        }
        let taken = passed.sockets("b", &address, 3).expect("sockets");
        let addresses: Vec<_> = taken.iter().map(|it| it.address().ok()).collect();
        assert_eq!(addresses, vec![Some(address.clone()); 3]);
        assert!(passed.sockets("b", &address, 1).is_err(), "it is taken");
        let none = passed.sockets("b", &Address::Systemd("b".into()), 1);
        assert_eq!(
            none.err().map(|it| it.kind()),
            Some(io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn a_port_that_the_system_chose_goes_to_the_listener_of_that_name() {
        let passed = Inherited::default();
        let own = Inherited::default()
            .sockets("a", &loopback(), 1)
            .expect("a socket");
        let at = own[0].address().expect("an address");
        for socket in own {
            passed.add("a".into(), loopback(), socket);
        }
        let other = passed.sockets("b", &loopback(), 1).expect("a new one");
        assert_ne!(other[0].address().expect("an address"), at);
        let same = passed.sockets("a", &loopback(), 1).expect("that one");
        assert_eq!(same[0].address().expect("an address"), at);
    }

    #[test]
    fn a_path_is_bound_again_where_nobody_listens_and_only_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.sock");
        let address = Address::Unix(path.clone());
        let sockets = |address: &Address| Inherited::default().sockets("a", address, 2);
        let first = sockets(&address).expect("sockets");
        assert_eq!(first.len(), 2);
        let mode = std::fs::metadata(&path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, UNIX_MODE);
        assert!(sockets(&address).is_err(), "somebody listens");
        drop(first);
        drop(sockets(&address).expect("nobody does any more"));
        let file = folder.path().join("data");
        let datagrams = folder.path().join("log");
        let other = std::os::unix::net::UnixDatagram::bind(&datagrams).expect("a socket");
        assert!(
            sockets(&Address::Unix(datagrams)).is_err(),
            "it is of another kind"
        );
        drop(other);
        std::fs::write(&file, "kept").expect("a file");
        assert!(sockets(&Address::Unix(file.clone())).is_err());
        assert_eq!(std::fs::read(&file).expect("a file"), b"kept");
    }
}
