//! Upstreams: one that tells what it was sent, and one that sends any bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::own_server;

/// A server that reads whole requests byte by byte, keeps them as they came, and answers.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    reply: Arc<Mutex<Reply>>,
    open: Arc<AtomicUsize>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// How an upstream answers a request.
#[derive(Clone)]
pub enum Reply {
    /// 200 with the request itself as text.
    Echo,
    /// These bytes; then the connection stays, or is closed.
    Bytes(Vec<u8>, bool),
    /// Nothing, ever.
    Hang,
    /// The connection is closed without a byte.
    Close,
    /// As `Echo`, but for 500 at `/healthz`.
    Sick,
}

impl Upstream {
    pub fn echo() -> Self {
        Self::replying(Reply::Echo)
    }

    pub fn bytes(bytes: &[u8]) -> Self {
        Self::replying(Reply::Bytes(bytes.to_vec(), false))
    }

    pub fn replying(reply: Reply) -> Self {
        Self::served(reply, None)
    }

    /// One that echoes over TLS.
    pub fn echo_tls(config: rustls::ServerConfig) -> Self {
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        Self::served(Reply::Echo, Some(tls))
    }

    fn served(reply: Reply, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let (runtime, listener) = own_server();
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reply = Arc::new(Mutex::new(reply));
        let open = Arc::new(AtomicUsize::new(0));
        let shared = (Arc::clone(&seen), Arc::clone(&reply), Arc::clone(&open));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, reply, open) = shared.clone();
                open.fetch_add(1, Ordering::SeqCst);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => _ = serve(stream, seen, reply).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let _ = serve(stream, seen, reply).await;
                            }
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            seen,
            reply,
            open,
            runtime: Some(runtime),
        }
    }

    /// Waits until nobody is connected.
    pub async fn is_left(&self) {
        super::eventually("the end of its connections", async || {
            self.open.load(Ordering::SeqCst) == 0
        })
        .await;
    }

    /// From the next request on.
    pub fn then(&self, reply: Reply) {
        *self.reply.lock().expect("a reply") = reply;
    }

    /// The requests as they came, head and body.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("requests").clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // A test may end it while it runs itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    seen: Arc<Mutex<Vec<String>>>,
    reply: Arc<Mutex<Reply>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let request = read_request(&mut stream, &mut bytes).await?;
        let text = String::from_utf8_lossy(&request).into_owned();
        seen.lock().expect("requests").push(text.clone());
        let reply = reply.lock().expect("a reply").clone();
        match &reply {
            Reply::Sick if text.starts_with("GET /healthz ") => {
                let answer = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.ok()?;
            }
            Reply::Echo | Reply::Sick => {
                let head_only = text.starts_with("HEAD ");
                let body = if head_only { "" } else { text.as_str() };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
                    text.len()
                );
                stream.write_all(answer.as_bytes()).await.ok()?;
            }
            Reply::Bytes(answer, stays) => {
                stream.write_all(answer).await.ok()?;
                if !stays {
                    return None;
                }
            }
            Reply::Hang => std::future::pending().await,
            Reply::Close => return None,
        }
    }
}

/// Reads one request by its framing and takes it off `bytes`.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    bytes: &mut Vec<u8>,
) -> Option<Vec<u8>> {
    let head_end = loop {
        if let Some(at) = find(bytes, b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map(|length| length.trim().parse::<usize>().expect("a length"));
    let end = if head.contains("transfer-encoding: chunked") {
        assert!(length.is_none(), "two framings in one request: {head}");
        loop {
            if let Some(at) = find(&bytes[head_end - 2..], b"\r\n0\r\n\r\n") {
                break head_end - 2 + at + 7;
            }
            read_more(stream, bytes).await?;
        }
    } else {
        let end = head_end + length.unwrap_or(0);
        while bytes.len() < end {
            read_more(stream, bytes).await?;
        }
        end
    };
    Some(bytes.drain(..end).collect())
}

async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>) -> Option<()> {
    let count = stream.read_buf(bytes).await.ok()?;
    (count > 0).then_some(())
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

/// TLS of a server with the certificate of a name in a folder; `clients`: which it demands of them.
pub fn server_config(
    folder: &std::path::Path,
    name: &str,
    clients: Option<&str>,
) -> rustls::ServerConfig {
    let read = |name: String| std::fs::read(folder.join(name)).expect("a file");
    let chain = |name: &str| {
        let pem = read(format!("{name}.crt"));
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        chain.expect("a chain")
    };
    let key = PrivateKeyDer::from_pem_slice(&read(format!("{name}.key"))).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(chain(clients));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            config.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    config.with_single_cert(chain(name), key).expect("a config")
}
