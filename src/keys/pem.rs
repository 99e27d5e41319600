//! Public keys from PEM files (`BEGIN PUBLIC KEY`, RFC 7468 section 13).
//!
//! The kind is read from the `SubjectPublicKeyInfo`'s own head, so that a key meets only the
//! algorithms that it can serve.

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::{PemObject, SectionKind};

use super::VerificationKey;
use crate::oauth::{Algorithm, AlgorithmSet};

/// `SEQUENCE { OID id-Ed25519 }` of RFC 8410, up to the key bits.
const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// `OID rsaEncryption` of RFC 8017.
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];
/// `OID id-ecPublicKey, OID prime256v1` of RFC 5480.
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
/// `OID id-ecPublicKey, OID secp384r1` of RFC 5480.
const P384: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
];
/// The OIDs stand this near the start of the structure: two SEQUENCE heads of at most 4 bytes.
const OID_START_MAX: usize = 8;

/// Why a PEM file gives no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    #[error("it holds a private key; a gateway needs the public key only")]
    Private,
    #[error("it holds no `BEGIN PUBLIC KEY` block")]
    NoPublicKey,
    #[error("its key serves none of the issuer's algorithms")]
    NoAlgorithm,
}

/// Reads every public key of a PEM file.
///
/// # Errors
/// The file has a private key, no public key, or one that no algorithm of `allowed` can use.
pub(crate) fn read(text: &[u8], allowed: AlgorithmSet) -> Result<Vec<VerificationKey>, PemError> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|_| PemError::NoPublicKey)?;
        match kind {
            SectionKind::PublicKey => {
                let spki = SubjectPublicKeyInfoDer::from(der);
                let algorithms: AlgorithmSet = family(&spki)
                    .iter()
                    .copied()
                    .filter(|alg| allowed.contains(*alg))
                    .collect();
                let key = VerificationKey::public(None, algorithms, &spki);
                keys.push(key.ok_or(PemError::NoAlgorithm)?);
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err(PemError::Private);
            }
            _ => {}
        }
    }
    if keys.is_empty() {
        return Err(PemError::NoPublicKey);
    }
    Ok(keys)
}

/// The algorithms of a key's kind.
fn family(spki: &[u8]) -> &'static [Algorithm] {
    let has = |oid: &[u8]| {
        spki.windows(oid.len())
            .take(OID_START_MAX)
            .any(|window| window == oid)
    };
    if has(ED25519) {
        &[Algorithm::EdDsa]
    } else if has(P256) {
        &[Algorithm::Es256]
    } else if has(P384) {
        &[Algorithm::Es384]
    } else if has(RSA) {
        &[
            Algorithm::Rs256,
            Algorithm::Rs384,
            Algorithm::Rs512,
            Algorithm::Ps256,
            Algorithm::Ps384,
            Algorithm::Ps512,
        ]
    } else {
        &[]
    }
}
