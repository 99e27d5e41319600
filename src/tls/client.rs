//! The client's side of TLS: towards upstreams, providers, and the server of the feed.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::secret::Secret;

/// Why there can be no TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the roots are no certificates in PEM")]
    Roots,
    #[error("the chain is no certificate in PEM")]
    Chain,
    #[error("the key is no private key in PEM, or does not belong to the chain")]
    Key,
}

/// Who a client is to a server that asks: its chain in PEM, and the key.
pub(crate) type Identity<'a> = (&'a [u8], &'a Secret);

/// TLS that trusts the roots in `ca`, in PEM, or the system's; a system without roots trusts nobody.
///
/// # Errors
/// What is given cannot be used.
pub(crate) fn connector(
    ca: Option<&[u8]>,
    identity: Option<Identity<'_>>,
    protocols: &[&[u8]],
) -> Result<TlsConnector, ClientError> {
    let roots = match ca {
        Some(pem) => super::roots(pem).ok_or(ClientError::Roots)?.0,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientError::Roots)?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
            let chain = chain.ok().filter(|chain| !chain.is_empty());
            let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| ClientError::Key)?;
            config
                .with_client_auth_cert(chain.ok_or(ClientError::Chain)?, key)
                .map_err(|_| ClientError::Key)?
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}
