//! Networks of addresses, and where a request comes from when others have passed it on.

use std::net::IpAddr;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    /// Bits that count.
    prefix: u32,
}

/// The text is no network.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address, or one with `/` and how many bits count, and zeros behind them")]
pub(crate) struct NotANetwork;

/// The bits of an address from the left, and how many there are.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The first bits of a number, the others zero.
const fn head(bits: u128, count: u32) -> u128 {
    match bits.checked_shr(128 - count) {
        Some(head) => head << (128 - count),
        None => 0,
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let (all, length) = bits(address);
        let prefix = match prefix {
            None => length,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|it| *it <= length)
                .ok_or(NotANetwork)?,
        };
        let zeros_behind = head(all, prefix) == all;
        zeros_behind
            .then_some(Self { address, prefix })
            .ok_or(NotANetwork)
    }
}

impl Network {
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (own, length) = bits(self.address);
        let (other, others) = bits(address.to_canonical());
        length == others && head(other, self.prefix) == own
    }
}

/// Whether one of the networks has this address.
pub(crate) fn is_in(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) client: IpAddr,
    /// A trusted proxy has passed it on: what it says of the client is kept.
    pub(crate) by_proxy: bool,
}

impl Origin {
    pub(crate) fn of(headers: &HeaderMap, peer: IpAddr, trusted: &[Network]) -> Self {
        let by_proxy = is_in(trusted, peer);
        Self {
            client: if by_proxy {
                client(headers, peer, trusted)
            } else {
                peer
            },
            by_proxy,
        }
    }
}

/// The address of the client, by the word of trusted proxies: the last hop that is none of them. What
/// cannot be read ends the chain there. `X-Forwarded-For` counts; without it `Forwarded` (RFC 7239).
fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let by_chain = headers.contains_key(FORWARDED_FOR);
    let name = if by_chain {
        FORWARDED_FOR
    } else {
        header::FORWARDED
    };
    let values: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    let mut client = peer;
    for value in values.into_iter().rev() {
        let Ok(text) = value.to_str() else {
            return client;
        };
        for hop in text.rsplit(',') {
            let hop = if by_chain { Some(hop) } else { for_of(hop) };
            let Some(address) = hop.and_then(address) else {
                return client;
            };
            client = address;
            if !is_in(trusted, client) {
                return client;
            }
        }
    }
    client
}

/// The node in a hop of `Forwarded`.
fn for_of(hop: &str) -> Option<&str> {
    let mut pairs = hop.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    let quoted = node
        .strip_prefix('"')
        .and_then(|node| node.strip_suffix('"'));
    Some(quoted.unwrap_or(node))
}

/// An address, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('[') {
        let (address, _port) = rest.split_once(']')?;
        return address.parse::<IpAddr>().ok().map(|it| it.to_canonical());
    }
    let whole = text.parse::<IpAddr>().ok();
    let address = whole.or_else(|| text.rsplit_once(':')?.0.parse().ok())?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, address, contains) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
        ] {
            let parsed: Network = network.parse().expect("a network");
            let address = address.parse().expect("an address");
            assert_eq!(parsed.contains(address), contains, "{network} {address}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::1/129",
            "a/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NotANetwork), "{bad}");
        }
    }

    #[test]
    fn clients() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "2001:db8::/32"]
            .iter()
            .map(|it| it.parse().expect("a network"))
            .collect();
        for (fields, expected) in [
            (&[][..], "10.0.0.1"),
            (&[("x-forwarded-for", "203.0.113.7")], "203.0.113.7"),
            (
                &[("x-forwarded-for", "6.6.6.6, 203.0.113.7")],
                "203.0.113.7",
            ),
            (
                &[("x-forwarded-for", "203.0.113.7, 10.1.1.1")],
                "203.0.113.7",
            ),
            (
                &[
                    ("x-forwarded-for", "203.0.113.7"),
                    ("x-forwarded-for", "10.1.1.1"),
                ],
                "203.0.113.7",
            ),
            (&[("x-forwarded-for", "203.0.113.7:4711")], "203.0.113.7"),
            (
                &[("x-forwarded-for", "[2001:db9::1]:80, 2001:db8::2")],
                "2001:db9::1",
            ),
            // The last that can be believed.
            (&[("x-forwarded-for", "unknown, 10.1.1.1")], "10.1.1.1"),
            (&[("x-forwarded-for", "203.0.113.7, ")], "10.0.0.1"),
            (&[("x-forwarded-for", "10.2.2.2, 10.1.1.1")], "10.2.2.2"),
            (
                &[(
                    "forwarded",
                    "for=6.6.6.6, For=\"[2001:db9::1]:80\";proto=https",
                )],
                "2001:db9::1",
            ),
            (&[("forwarded", "for=_hidden")], "10.0.0.1"),
            (
                &[
                    ("forwarded", "for=6.6.6.6"),
                    ("x-forwarded-for", "203.0.113.7"),
                ],
                "203.0.113.7",
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let peer = "10.0.0.1".parse().expect("an address");
            let expected: IpAddr = expected.parse().expect("an address");
            assert_eq!(client(&headers, peer, &trusted), expected, "{fields:?}");
        }
    }

    #[test]
    fn any_chain_leads_somewhere() {
        crate::fuzz::target("forwarded", |bytes| {
            let Ok(value) = HeaderValue::from_bytes(bytes) else {
                return;
            };
            let trusted = ["10.0.0.0/8".parse().expect("a network")];
            let peer = "10.0.0.1".parse().expect("an address");
            let more = [
                ("x-forwarded-for", "10.9.9.9"),
                ("forwarded", "for=10.9.9.9"),
            ];
            for (name, more) in more {
                let mut headers = HeaderMap::new();
                headers.append(name, value.clone());
                let one = client(&headers, peer, &trusted);
                // In two fields it is the same list.
                headers.append(name, HeaderValue::from_static(more));
                let two = client(&headers, peer, &trusted);
                assert!(
                    two == one || two == IpAddr::from([10, 9, 9, 9]),
                    "{one} {two}"
                );
            }
        });
    }
}
