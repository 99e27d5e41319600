//! Hosts that routes and certificates name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `api.example.com`, or `*.example.com` for one label more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HostPattern {
    /// In lower case, without a port.
    Exact(Box<str>),
    /// What follows the asterisk, with its dot.
    Suffix(Box<str>),
}

/// The text is no host pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host is a name, an address, or `*.` and a name, without scheme, port and path")]
pub(crate) struct NotAHost;

impl FromStr for HostPattern {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let (name, suffix) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let is_address = name.starts_with('[') && name.ends_with(']');
        let is_name = !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if !(is_name || is_address && !suffix) {
            return Err(NotAHost);
        }
        let name = name.to_ascii_lowercase();
        Ok(if suffix {
            Self::Suffix(format!(".{name}").into())
        } else {
            Self::Exact(name.into())
        })
    }
}

impl HostPattern {
    /// Whether `host`, in lower case and without a port, is covered.
    pub(crate) fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Suffix(suffix) => host
                .strip_suffix(&**suffix)
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl From<IpAddr> for HostPattern {
    fn from(address: IpAddr) -> Self {
        Self::Exact(match address {
            IpAddr::V4(address) => address.to_string().into(),
            IpAddr::V6(address) => format!("[{address}]").into(),
        })
    }
}

/// Whether a URL's host is this machine by its very form, without asking a resolver.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Addresses that no provider has: link-local ones, where clouds keep their machines' credentials
/// (169.254.169.254, also inside IPv6, and fd00:ec2::/32), the unspecified one and multicast.
pub(crate) fn is_refused_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            let refused = match v6.segments() {
                [0xfd00, 0x0ec2, ..] => true,
                // Mapped, compatible (RFC 4291), by NAT64 (RFC 6052) and 6to4 (RFC 3056).
                [0, 0, 0, 0, 0, 0xffff | 0, high, low]
                | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
                | [0x2002, high, low, ..] => {
                    let [a, b] = high.to_be_bytes();
                    let [c, d] = low.to_be_bytes();
                    !v6.is_loopback() && is_refused_address(Ipv4Addr::new(a, b, c, d).into())
                }
                _ => false,
            };
            refused || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()
        }
    }
}

/// An IPv6 peer is its /64: one subscriber has all of that.
pub(crate) fn peer_network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (pattern, host, covered) in [
            ("api.example.com", "api.example.com", true),
            ("API.example.com", "api.example.com", true),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("[::1]", "[::1]", true),
        ] {
            let pattern: HostPattern = pattern.parse().expect("a pattern");
            assert_eq!(pattern.covers(host), covered, "{pattern} {host}");
        }
        for bad in ["", "*", "http://a", "a:80", "a/b", "*.", "*.*.a"] {
            assert_eq!(bad.parse::<HostPattern>(), Err(NotAHost), "{bad}");
        }
    }

    #[test]
    fn addresses_where_no_provider_is() {
        for (address, refused) in [
            ("169.254.169.254", true),
            ("0.0.0.0", true),
            ("224.0.0.1", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("203.0.113.1", false),
            ("fe80::1", true),
            ("::", true),
            ("ff02::1", true),
            ("fd00:ec2::254", true),
            ("fd00:ec2::23", true),
            ("::ffff:169.254.169.254", true),
            ("::a9fe:a9fe", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("2002:a9fe:a9fe::1", true),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("64:ff9b::cb00:7101", false),
            ("fd12:3456::1", false),
            ("2001:db8::1", false),
        ] {
            let parsed = address.parse().expect("an address");
            assert_eq!(is_refused_address(parsed), refused, "{address}");
        }
    }
}
