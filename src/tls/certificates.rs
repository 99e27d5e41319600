//! A listener's certificates: read from PEM, checked to belong to their keys, chosen by SNI.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::UnixTime;
use crate::http::host::HostPattern;
use crate::secret::Secret;

/// Why chain and key make no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("no `BEGIN CERTIFICATE` block")]
    NoCertificate,
    #[error("no private key in PEM")]
    NoKey,
    #[error("the first certificate is not X.509")]
    NotX509,
    #[error("no DNS name and no IP address in the certificate's subject alternative name")]
    NoName,
    #[error("the key does not belong to the certificate, or is of a kind that is not supported")]
    KeyMismatch,
}

/// One certificate with its key.
#[derive(Debug)]
pub(crate) struct Served {
    key: Arc<CertifiedKey>,
    names: Vec<HostPattern>,
    not_after: UnixTime,
}

impl Served {
    /// Reads a chain and its key.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not belong together.
    pub(crate) fn read(chain: &[u8], key: &Secret) -> Result<Self, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::NoCertificate)?;
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::NotX509)?;
        let not_after = UnixTime::from_secs(parsed.validity().not_after.timestamp());
        let names = names(&parsed);
        if names.is_empty() {
            return Err(CertificateError::NoName);
        }
        let key =
            PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| CertificateError::NoKey)?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|_| CertificateError::KeyMismatch)?;
        Ok(Self {
            key: Arc::new(key),
            names,
            not_after,
        })
    }

    /// Whether the certificate covers a host, in lower case and without a port.
    pub(crate) fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.covers(host))
    }

    /// The server's own certificate, and those behind it.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    pub(crate) fn names(&self) -> &[HostPattern] {
        &self.names
    }

    pub(crate) const fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<HostPattern> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => name.parse().ok(),
            GeneralName::IPAddress(bytes) => match **bytes {
                [a, b, c, d] => Some(std::net::IpAddr::from([a, b, c, d]).into()),
                ref bytes => {
                    let bytes: [u8; 16] = bytes.try_into().ok()?;
                    Some(std::net::IpAddr::from(bytes).into())
                }
            },
            _ => None,
        })
        .collect()
}

/// All certificates of a listener, which may be replaced while it serves.
#[derive(Debug)]
pub(crate) struct Certificates(RwLock<Set>);

/// Never empty.
#[derive(Clone, Debug)]
struct Set {
    first: Arc<Served>,
    others: Vec<Arc<Served>>,
}

impl Set {
    fn new(served: Vec<Served>) -> Option<Self> {
        let mut served = served.into_iter().map(Arc::new);
        Some(Self {
            first: served.next()?,
            others: served.collect(),
        })
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Served>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Certificates {
    /// `None` if there is none.
    pub(crate) fn new(served: Vec<Served>) -> Option<Self> {
        Set::new(served).map(|set| Self(RwLock::new(set)))
    }

    fn set(&self) -> RwLockReadGuard<'_, Set> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        self.set().iter().cloned().collect()
    }

    /// Serves those of `other` from the next handshake on; whether they are others.
    pub(crate) fn replace(&self, other: &Self) -> bool {
        let new = other.set().clone();
        let chain = |served: &Arc<Served>| served.key.cert.clone();
        if self.set().iter().map(chain).eq(new.iter().map(chain)) {
            return false;
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        true
    }

    /// The certificate for a server name: of those that cover it the one that lasts longest;
    /// without a name, or for an unknown one, the first.
    pub(crate) fn choose(&self, name: Option<&str>) -> Arc<Served> {
        let set = self.set();
        let chosen = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            set.iter()
                .filter(|served| served.covers(&name))
                .max_by_key(|served| served.not_after)
        });
        Arc::clone(chosen.unwrap_or(&set.first))
    }
}

/// The certificates as one connection sees them: it knows which it was served, which rustls' unbuffered
/// connections do not tell.
#[derive(Debug)]
pub(super) struct OneConnection {
    certificates: Arc<Certificates>,
    served: OnceLock<Arc<Served>>,
}

impl OneConnection {
    pub(super) const fn new(certificates: Arc<Certificates>) -> Self {
        Self {
            certificates,
            served: OnceLock::new(),
        }
    }

    /// What was served. A session that is resumed has chosen too.
    pub(super) fn served(&self) -> Arc<Served> {
        let served = self.served.get_or_init(|| self.certificates.choose(None));
        Arc::clone(served)
    }
}

impl ResolvesServerCert for OneConnection {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.certificates.choose(hello.server_name());
        let served = self.served.get_or_init(|| chosen);
        Some(Arc::clone(&served.key))
    }
}
