//! Where something listens: an address and port, a path, or a socket that systemd passes.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The longest path of a socket that the system takes (unix(7)).
const UNIX_PATH_MAX: usize = 107;

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// With port 0, the system gives one.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
    /// A socket that systemd passes under this name (`FileDescriptorName=`).
    Systemd(String),
}

/// It is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAddress;

impl Address {
    /// Reads what a configuration says. A relative path is one below `folder`.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn read(text: &str, folder: &Path) -> Result<Self, NoAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(NoAddress),
                path => match std::path::absolute(folder.join(path)) {
                    Ok(path) if path.as_os_str().len() <= UNIX_PATH_MAX => Ok(Self::Unix(path)),
                    _ => Err(NoAddress),
                },
            };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            // The names stand in one variable with colons between them (sd_listen_fds(3)).
            let is_name = |name: &str| !name.contains(':') && name.is_ascii();
            return match name {
                "" => Err(NoAddress),
                name if is_name(name) => Ok(Self::Systemd(name.to_owned())),
                _ => Err(NoAddress),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| NoAddress)
    }

    /// Its port, where the configuration says one.
    pub(crate) const fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) | Self::Systemd(_) => None,
        }
    }

    /// Whether the configuration alone says where it is: the system chooses no port.
    pub(crate) const fn is_given(&self) -> bool {
        !matches!(self, Self::Tcp(address) if address.port() == 0)
    }

    /// Whether only this machine reaches it, as far as the configuration says.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
            Self::Systemd(_) => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}
