//! From a URL to a connection that may be trusted: which schemes, which addresses, whose roots.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::FetchError;
use crate::http::host::{is_loopback, is_refused_address};
use crate::tls::client;

/// The largest header section of an answer.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// The largest header section of a proxy's answer.
const PROXY_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// TLS settings by the roots that they trust: many issuers share the system's.
#[derive(Default)]
pub(crate) struct Trust {
    system: Option<TlsConnector>,
    own: HashMap<Vec<u8>, TlsConnector>,
}

/// Where plain http may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlainHttp {
    Nowhere,
    Loopback,
    Anywhere,
}

/// Connects for one purpose.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Option<TlsConnector>,
    plain: PlainHttp,
    /// Host and port of the proxy for https.
    proxy: Option<(String, u16)>,
    /// A socket in the file system, for plain http.
    path: Option<PathBuf>,
}

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Target {
    /// Scheme and authority.
    pub(super) origin: String,
    pub(super) authority: String,
    host: String,
    port: u16,
    https: bool,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Trust {
    /// A connector that trusts the roots in `ca`, or the system's.
    ///
    /// # Errors
    /// `ca` holds no certificate, or one that is none. A system without roots is no error here: no
    /// provider will be trusted, and each fetch says so.
    pub(crate) fn connector(
        &mut self,
        ca: Option<&[u8]>,
        allow_http_loopback: bool,
    ) -> Result<Connector, FetchError> {
        Ok(Connector {
            tls: Some(self.tls(ca)?),
            plain: match allow_http_loopback {
                true => PlainHttp::Loopback,
                false => PlainHttp::Nowhere,
            },
            proxy: None,
            path: None,
        })
    }

    /// A connector that may also go by plain http anywhere: to a collector, which is told nothing that is
    /// trusted here.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn collector(&mut self, ca: Option<&[u8]>) -> Result<Connector, FetchError> {
        Ok(Connector {
            plain: PlainHttp::Anywhere,
            ..self.connector(ca, false)?
        })
    }

    /// TLS that trusts the roots in `ca`, or the system's.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn tls(&mut self, ca: Option<&[u8]>) -> Result<TlsConnector, FetchError> {
        let made = || client::connector(ca, None, &[]).map_err(|_| FetchError::Roots);
        Ok(match ca {
            None => match &self.system {
                Some(tls) => tls.clone(),
                None => self.system.insert(made()?).clone(),
            },
            Some(pem) => match self.own.get(pem) {
                Some(tls) => tls.clone(),
                None => {
                    let tls = made()?;
                    self.own.insert(pem.to_vec(), tls.clone());
                    tls
                }
            },
        })
    }
}

impl Connector {
    /// Plain http to this machine and nothing else, by a socket in the file system if there is one.
    pub(super) const fn local(path: Option<PathBuf>) -> Self {
        Self {
            tls: None,
            plain: PlainHttp::Loopback,
            proxy: None,
            path,
        }
    }

    /// The same through a proxy, where there is one.
    pub(crate) fn through(self, proxy: Option<(String, u16)>) -> Self {
        Self { proxy, ..self }
    }

    fn may_speak_plainly(&self, host: &str) -> bool {
        match self.plain {
            PlainHttp::Nowhere => false,
            PlainHttp::Loopback => is_loopback(host),
            PlainHttp::Anywhere => true,
        }
    }

    /// Where a URL leads, if it may be asked.
    pub(super) fn target(&self, uri: &Uri) -> Result<Target, FetchError> {
        let host = uri.host().ok_or(FetchError::Url)?;
        let (https, port) = match uri.scheme_str() {
            Some("https") if self.tls.is_some() => (true, uri.port_u16().unwrap_or(443)),
            Some("http") if self.may_speak_plainly(host) => (false, uri.port_u16().unwrap_or(80)),
            _ => return Err(FetchError::Url),
        };
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if authority.contains('@') {
            return Err(FetchError::Url);
        }
        Ok(Target {
            origin: format!("{}://{authority}", if https { "https" } else { "http" }),
            authority,
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            https,
        })
    }

    /// A new connection, ready for a request. `limit` is for all addresses of the name together.
    pub(super) async fn connect(
        &self,
        target: &Target,
        limit: Duration,
    ) -> Result<SendRequest<Full<Bytes>>, FetchError> {
        if let (false, Some(path)) = (target.https, &self.path) {
            let connected = tokio::time::timeout(limit, UnixStream::connect(path)).await;
            let failed = |error: std::io::Error| FetchError::Unreachable(error.kind().to_string());
            return speak(
                connected
                    .map_err(|_| FetchError::Timeout)?
                    .map_err(failed)?,
            )
            .await;
        }
        if !target.https {
            return speak(
                reach(
                    &target.host,
                    target.port,
                    self.plain == PlainHttp::Loopback,
                    limit,
                )
                .await?,
            )
            .await;
        }
        let stream = match &self.proxy {
            None => reach(&target.host, target.port, false, limit).await?,
            Some((host, port)) => {
                let stream = reach(host, *port, false, limit).await?;
                tunnel(stream, target).await?
            }
        };
        let name = ServerName::try_from(target.host.clone()).map_err(|_| FetchError::Url)?;
        let tls = self.tls.as_ref().ok_or(FetchError::Url)?;
        let stream = tls.connect(name, stream).await;
        speak(stream.map_err(|error| FetchError::Tls(error.to_string()))?).await
    }
}

/// A connection to the first address that takes it. A dead address costs its share of the time.
pub(crate) async fn reach(
    host: &str,
    port: u16,
    loopback_alone: bool,
    limit: Duration,
) -> Result<TcpStream, FetchError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found
        .map_err(|_| FetchError::Name)?
        .take(ADDRESSES_MAX)
        .collect();
    let allowed: Vec<SocketAddr> = found
        .iter()
        .copied()
        .filter(|address| {
            let ip = address.ip();
            !is_refused_address(ip) && (!loopback_alone || ip.is_loopback())
        })
        .collect();
    if allowed.is_empty() {
        return Err(match found.as_slice() {
            [] => FetchError::Name,
            _ => FetchError::Address,
        });
    }
    let share = limit / u32::try_from(allowed.len()).unwrap_or(1);
    let mut why = FetchError::Timeout;
    for address in allowed {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => {
                why = FetchError::Unreachable(format!("{address}: {}", error.kind()));
            }
            Err(_) => {}
        }
    }
    Err(why)
}

/// Has a proxy connect to the target (RFC 9110 section 9.3.6). The proxy resolves the name; TLS
/// still ends at the provider.
async fn tunnel(mut stream: TcpStream, target: &Target) -> Result<TcpStream, FetchError> {
    let host = match target.host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => target.host.clone(),
    };
    if target.host.parse().is_ok_and(is_refused_address) {
        return Err(FetchError::Address);
    }
    let authority = format!("{host}:{}", target.port);
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let broken = |_| FetchError::Proxy;
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    // Byte by byte: what comes behind the header belongs to TLS.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES_MAX {
            return Err(FetchError::Proxy);
        }
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    let mut words = head.split(|byte| *byte == b' ');
    let good = words
        .next()
        .is_some_and(|word| word.starts_with(b"HTTP/1."))
        && words.next().is_some_and(|status| status.starts_with(b"2"));
    if good {
        Ok(stream)
    } else {
        Err(FetchError::Proxy)
    }
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| FetchError::Broken)?;
    // Ends when the sender is dropped or the other side closes.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_may_be_asked() {
        let connector = |allow| {
            Trust::default()
                .connector(None, allow)
                .expect("a connector")
        };
        for (url, strict, lax) in [
            ("https://login.test/keys", true, true),
            ("https://127.0.0.1:8443/keys", true, true),
            ("http://127.0.0.1:8080/keys", false, true),
            ("http://localhost/keys", false, true),
            ("http://[::1]:80/keys", false, true),
            ("http://login.test/keys", false, false),
            ("http://127.0.0.1@login.test/keys", false, false),
            ("https://me:secret@login.test/keys", false, false),
            ("ftp://login.test/keys", false, false),
            ("/keys", false, false),
        ] {
            let uri: Uri = url.parse().expect("a URI");
            assert_eq!(connector(false).target(&uri).is_ok(), strict, "{url}");
            assert_eq!(connector(true).target(&uri).is_ok(), lax, "{url}");
        }
    }

    #[tokio::test]
    async fn link_local_addresses_are_refused() {
        let connector = Trust::default().connector(None, true).expect("a connector");
        for url in [
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[fd00:ec2::254]/",
        ] {
            let target = connector.target(&url.parse().expect("a URI")).expect(url);
            let refused = connector.connect(&target, Duration::from_secs(1)).await;
            assert_eq!(refused.err(), Some(FetchError::Address), "{url}");
        }
    }
}
