//! The PROXY protocol, versions 1 and 2: where a connection comes from, told before its first byte.
//!
//! Read only where it is required: whether it is there must not be guessed, or anybody could claim any
//! address. Exactly its bytes are read, since TLS follows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LINE_MAX: usize = 107;
/// What may follow the head of version 2: addresses, and what nobody here reads.
const REST_MAX: usize = 4096;

/// What came is no such header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY protocol header")]
pub(crate) struct NoHeader;

/// Reads the header; `None` where the proxy speaks for itself.
///
/// # Errors
/// There is none, or it is malformed.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<IpAddr>, NoHeader> {
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.map_err(|_| NoHeader)?;
    if begin == SIGNATURE {
        return version_2(stream).await;
    }
    if !begin.starts_with(b"PROXY ") {
        return Err(NoHeader);
    }
    let mut line = begin.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_MAX {
            return Err(NoHeader);
        }
        line.push(stream.read_u8().await.map_err(|_| NoHeader)?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| NoHeader)?;
    version_1(line.trim_end_matches("\r\n"))
}

fn version_1(line: &str) -> Result<Option<IpAddr>, NoHeader> {
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(NoHeader)?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let words: Vec<_> = words.collect();
    let [source, target, from, to] = *words else {
        return Err(NoHeader);
    };
    let port = |text: &str| text.parse::<u16>().map_err(|_| NoHeader);
    port(from)?;
    port(to)?;
    let address = |text: &str| -> Result<IpAddr, NoHeader> {
        match family {
            "TCP4" => text
                .parse::<Ipv4Addr>()
                .map(Into::into)
                .map_err(|_| NoHeader),
            "TCP6" => text
                .parse::<Ipv6Addr>()
                .map(Into::into)
                .map_err(|_| NoHeader),
            _ => Err(NoHeader),
        }
    };
    address(target)?;
    Ok(Some(address(source)?.to_canonical()))
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, NoHeader> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(|_| NoHeader)?;
    let [command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_MAX {
        return Err(NoHeader);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await.map_err(|_| NoHeader)?;
    match command {
        // LOCAL: a check of the proxy's own.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(NoHeader),
    }
    match family {
        // Over TCP; the source comes first.
        0x11 => {
            let bytes = rest.get(..12).ok_or(NoHeader)?;
            let source: [u8; 4] = bytes.first_chunk().copied().ok_or(NoHeader)?;
            Ok(Some(Ipv4Addr::from(source).into()))
        }
        0x21 => {
            let bytes = rest.get(..36).ok_or(NoHeader)?;
            let source: [u8; 16] = bytes.first_chunk().copied().ok_or(NoHeader)?;
            Ok(Some(IpAddr::from(Ipv6Addr::from(source)).to_canonical()))
        }
        0x00 => Ok(None),
        _ => Err(NoHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a header says, and what is left of the bytes behind it.
    fn reading(bytes: &[u8]) -> (Result<Option<IpAddr>, NoHeader>, usize) {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let read = runtime.expect("a runtime").block_on(read(&mut rest));
        (read, rest.len())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes.extend_from_slice(b"tls");
        bytes
    }

    #[test]
    fn headers() {
        let four = Some(IpAddr::from([203, 0, 113, 7]));
        let six: Option<IpAddr> = "2001:db8::7".parse().ok();
        let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 1, 2, 3, 4];
        let mut long = "2001:db8::7"
            .parse::<Ipv6Addr>()
            .expect("six")
            .octets()
            .to_vec();
        long.resize(36, 0);
        let more = [&addresses[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        for (bytes, expected) in [
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\ntls".to_vec(),
                four,
            ),
            (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\ntls".to_vec(), six),
            (b"PROXY UNKNOWN\r\ntls".to_vec(), None),
            (b"PROXY UNKNOWN a b c d\r\ntls".to_vec(), None),
            (v2(0x21, 0x11, &addresses), four),
            (v2(0x21, 0x11, &more), four),
            (v2(0x21, 0x21, &long), six),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x00, &[]), None),
        ] {
            assert_eq!(reading(&bytes), (Ok(expected), 3), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_none() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443 1\r\n",
            b"PROXY TCP4 2001:db8::7 ::1 4711 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 99999\r\n",
            b"PROXY UDP4 203.0.113.7 10.0.0.1 4711 443\r\n",
            long.as_bytes(),
            &v2(0x21, 0x11, &[1, 2, 3]),
            &v2(0x21, 0x12, &[0; 12]),
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 12])[..20],
        ] {
            assert_eq!(reading(bytes).0, Err(NoHeader), "{bytes:?}");
        }
    }

    #[test]
    fn any_bytes_are_read_as_far_as_the_header_goes() {
        crate::fuzz::target("proxy_protocol", |bytes| {
            let (read, rest) = reading(bytes);
            if read.is_ok() {
                // What follows changes nothing.
                let head = &bytes[..bytes.len() - rest];
                assert_eq!(reading(head), (read, 0));
                assert_eq!(reading(&[head, b"more"].concat()), (read, 4));
            }
        });
    }
}
