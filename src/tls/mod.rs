//! TLS: rustls with aws-lc-rs, the one crypto provider of the program.
//!
//! TLS 1.2 and 1.3 with rustls' own suites and the hybrid post-quantum key exchange where the
//! client offers it. No early data: it can be replayed. Session tickets are on, one ticketer for
//! all workers, so that a client may resume at any of them; without tickets rustls sends nothing
//! after the handshake, and a client with delayed acknowledgements waits 40 ms.

pub(crate) mod certificates;
mod chain;
pub(crate) mod client;
mod stream;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::serve::Protocol;
use certificates::{Certificates, OneConnection, Served};
pub(crate) use stream::TlsStream;

/// The oldest version that a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MinVersion {
    Tls12,
    Tls13,
}

/// Which certificates clients must show.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClientAuth {
    None,
    /// One that is shown must be of these roots.
    Optional(Roots),
    Required(Roots),
}

/// Roots that certificates are verified by.
#[derive(Clone, Debug)]
pub(crate) struct Roots(RootCertStore);

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

/// What a client and a listener may agree on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terms {
    pub(crate) min_version: MinVersion,
    pub(crate) client_auth: ClientAuth,
    pub(crate) protocols: Vec<Protocol>,
}

/// A listener's side of TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    terms: Terms,
    certificates: Arc<Certificates>,
    handshake_max: Duration,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

/// Why a handshake did not end in a connection: the `result` of `tls_handshakes_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    Timeout,
    Failed,
}

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Accepted<S> {
    pub(crate) stream: TlsStream<S>,
    pub(crate) protocol: Protocol,
    /// The certificate that was served: requests for other hosts are misdirected.
    pub(crate) served: Arc<Served>,
    /// SHA-256 of the client's certificate, which was verified.
    pub(crate) client: Option<[u8; 32]>,
}

impl ClientAuth {
    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let (roots, optional) = match self {
            Self::None => return Ok(WebPkiClientVerifier::no_client_auth()),
            Self::Optional(roots) => (roots, true),
            Self::Required(roots) => (roots, false),
        };
        let roots = Arc::new(roots.0.clone());
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let builder = if optional {
            builder.allow_unauthenticated()
        } else {
            builder
        };
        let verifier = builder.build();
        verifier.map_err(|error| rustls::Error::General(error.to_string()))
    }
}

impl Tls {
    /// TLS for a listener.
    ///
    /// # Errors
    /// The provider gives no random bytes or does not support the versions.
    pub(crate) fn new(
        certificates: Certificates,
        terms: Terms,
        handshake_max: Duration,
    ) -> Result<Self, rustls::Error> {
        let certificates = Arc::new(certificates);
        let versions: &[_] = match terms.min_version {
            MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = terms.client_auth.verifier(&provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(OneConnection::new(Arc::clone(&certificates))));
        config.alpn_protocols = terms
            .protocols
            .iter()
            .map(|protocol| match protocol {
                Protocol::Http1 => b"http/1.1".to_vec(),
                Protocol::Http2 => b"h2".to_vec(),
            })
            .collect();
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        // One ticket is what a client uses; the second costs a record.
        config.send_tls13_tickets = 1;
        Ok(Self {
            config: Arc::new(config),
            terms,
            certificates,
            handshake_max,
        })
    }

    /// The same with another limit, for the same terms: what clients keep of their sessions goes on to be
    /// good. `None` for other terms, under which an old session must not be resumed.
    pub(crate) fn renewed(&self, terms: &Terms, handshake_max: Duration) -> Option<Self> {
        (self.terms == *terms).then(|| Self {
            handshake_max,
            ..self.clone()
        })
    }

    pub(crate) const fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Shakes hands within the limit.
    ///
    /// # Errors
    /// The client is too slow, or it and we do not agree.
    pub(crate) async fn accept<S>(&self, stream: S) -> Result<Accepted<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let chosen = Arc::new(OneConnection::new(Arc::clone(&self.certificates)));
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::clone(&chosen) as _;
        let handshake = TlsStream::accept(Arc::new(config), stream);
        let stream = tokio::time::timeout(self.handshake_max, handshake)
            .await
            .map_err(|_| HandshakeError::Timeout)?
            .map_err(|_: io::Error| HandshakeError::Failed)?;
        let connection = stream.connection();
        let protocol = match connection.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            // A client without ALPN speaks HTTP/1.1 (RFC 9113 section 3.2).
            _ => Protocol::Http1,
        };
        let served = chosen.served();
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let client = shown.and_then(|shown| {
            let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, shown);
            digest.as_ref().try_into().ok()
        });
        Ok(Accepted {
            stream,
            protocol,
            served,
            client,
        })
    }
}

/// The roots of a PEM file; `None` if it holds none, or one that cannot be read.
pub(crate) fn roots(pem: &[u8]) -> Option<Roots> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then_some(Roots(roots))
}
