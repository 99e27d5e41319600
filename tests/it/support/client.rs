//! Clients: hyper over TLS with HTTP/1.1 or HTTP/2, and raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .map(|value| value.to_str().expect("text"));
        value.unwrap_or_default()
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client of one gateway.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    address: SocketAddr,
    http2: bool,
}

impl Client {
    pub fn http1(address: SocketAddr) -> Self {
        Self {
            address,
            http2: false,
        }
    }

    pub fn http2(address: SocketAddr) -> Self {
        Self {
            address,
            http2: true,
        }
    }

    /// A GET with a token.
    pub async fn get(&self, path: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send("GET", path, &[("authorization", &bearer)], "")
            .await
    }

    /// A connection that is kept over many requests, over HTTP/1.1.
    pub async fn keep(&self) -> Kept {
        let stream = TokioIo::new(tls(self.address, "http/1.1").await);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("a handshake");
        tokio::spawn(connection);
        Kept(sender)
    }

    /// One request on a connection of its own, for `api.test`.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let uri = if self.http2 {
            format!("https://api.test{path}")
        } else {
            request = request.header("host", "api.test");
            path.to_owned()
        };
        let request = request
            .uri(uri)
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("a request");
        self.exchange(request).await
    }

    /// One request of any shape on a connection of its own.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        let alpn = if self.http2 { "h2" } else { "http/1.1" };
        let stream = TokioIo::new(tls(self.address, alpn).await);
        let response = if self.http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .expect("a handshake");
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
                .await
                .expect("a handshake");
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let (parts, body) = response.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }
}

/// A connection that is kept.
pub struct Kept(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Kept {
    /// The status and the body of a GET with a token.
    pub async fn get(&mut self, path: &str, token: &str) -> (u16, Bytes) {
        let request = Request::get(path)
            .header("host", "api.test")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())
            .expect("a request");
        self.0.ready().await.expect("a connection that stands");
        let (parts, body) = self
            .0
            .send_request(request)
            .await
            .expect("an answer")
            .into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        (parts.status.as_u16(), body)
    }
}

/// Sends bytes over TLS and reads until the gateway closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = tls(address, "http/1.1").await;
    stream.write_all(bytes).await.expect("room");
    stream.flush().await.expect("room");
    read_to_end(&mut stream).await
}

/// Reads until the other side closes, with or without a close_notify.
pub async fn read_to_end(stream: &mut TlsStream<TcpStream>) -> String {
    let mut all = Vec::new();
    while let Ok(count) = stream.read_buf(&mut all).await {
        if count == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// A TLS connection that trusts any certificate.
pub async fn tls(address: SocketAddr, alpn: &str) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    tls_over(stream, alpn, None).await.expect("a handshake")
}

/// TLS over a connection, with the certificate of a client that has one: chain and key in PEM.
pub async fn tls_over(
    stream: TcpStream,
    alpn: &str,
    own: Option<(&[u8], &[u8])>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate));
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
            let config = config.with_client_auth_cert(chain.expect("a chain"), key);
            config.expect("a certificate")
        }
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    stream.set_nodelay(true).expect("an option");
    let name = ServerName::try_from("api.test").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// A request in clear text: the admin listener.
pub async fn plain_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string());
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = request
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    plain_exchange(address, request).await
}

/// A request of any shape in clear text.
pub async fn plain_exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let (parts, body) = plain_begun(address, request).await.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

async fn plain_begun(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> http::Response<Incoming> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a handshake");
    tokio::spawn(connection);
    sender.send_request(request).await.expect("an answer")
}

/// Server-sent events.
pub struct Events {
    pub head: Answer,
    body: Incoming,
    text: String,
}

impl Events {
    pub async fn begin(address: SocketAddr, path: &str, token: &str) -> Self {
        let request = Request::builder()
            .uri(path)
            .header("host", address.to_string())
            .header("accept", "text/event-stream")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())
            .expect("a request");
        let (parts, body) = plain_begun(address, request).await.into_parts();
        Self {
            head: Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: Bytes::new(),
            },
            body,
            text: String::new(),
        }
    }

    /// The next event, without comments.
    pub async fn next(&mut self) -> String {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue;
                }
                return event;
            }
            let frame = self.body.frame().await.expect("an event").expect("a frame");
            let data = frame.into_data().unwrap_or_default();
            self.text
                .push_str(std::str::from_utf8(&data).expect("text"));
        }
    }
}

/// The certificate is the test's own.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
