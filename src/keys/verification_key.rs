//! One public key or shared secret, parsed once and bound to its algorithms.
//!
//! `aws-lc-rs` parses a key anew in each `UnparsedPublicKey::verify`; a [`ParsedPublicKey`] does
//! it once, which is a third of an RS256 check. The digest of key and algorithm is the identity
//! under which a cached token remembers who signed it.

use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use super::numbers::Numbers;
use crate::oauth::{Algorithm, AlgorithmSet};
use crate::secret::Secret;

/// SHA-256 over algorithm and key: two keys are the same key if and only if these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyIdentity([u8; 32]);

impl KeyIdentity {
    fn of(alg: Algorithm, material: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(alg.name().as_bytes());
        context.update(&[0]);
        context.update(material);
        let mut identity = [0; 32];
        identity.copy_from_slice(context.finish().as_ref());
        Self(identity)
    }
}

/// SHA-256 over the public numbers of a key of a JWK set, whatever its name and its algorithms: by
/// this a key is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Thumbprint(pub(crate) [u8; 32]);

impl Thumbprint {
    pub(super) fn of(numbers: &[u8]) -> Self {
        let mut print = [0; 32];
        print.copy_from_slice(digest::digest(&digest::SHA256, numbers).as_ref());
        Self(print)
    }
}

/// A key with each algorithm that it may verify.
#[derive(Debug)]
pub(crate) struct VerificationKey {
    kid: Option<Box<str>>,
    verifiers: Vec<Verifier>,
    published: Option<PublishedForm>,
}

/// What is known of a key that came in a JWK set.
#[derive(Clone, Copy, Debug)]
struct PublishedForm {
    thumbprint: Thumbprint,
    kind: &'static str,
    bits: usize,
}

/// A key with one algorithm.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// The name of its key.
    kid: Option<Box<str>>,
    alg: Algorithm,
    identity: KeyIdentity,
    material: Material,
    /// What a signature of it measures, where that is known.
    signature_bytes: Option<usize>,
}

#[derive(Debug)]
enum Material {
    Public(ParsedPublicKey),
    Shared(Box<hmac::Key>),
}

/// The secret is shorter than the hash (RFC 7518 section 3.2).
#[derive(Debug, thiserror::Error)]
#[error("the secret has {found} bytes, {alg} needs at least {least}")]
pub(crate) struct WeakSecret {
    alg: Algorithm,
    found: usize,
    least: usize,
}

impl VerificationKey {
    /// A public key in any form that `aws-lc-rs` reads: `SubjectPublicKeyInfo`, PKCS #1 for RSA,
    /// an uncompressed point for EC, 32 bytes for Ed25519. `None` if no algorithm accepts it.
    pub(crate) fn public(
        kid: Option<&str>,
        algorithms: AlgorithmSet,
        bytes: &[u8],
    ) -> Option<Self> {
        let verifiers: Vec<_> = algorithms
            .iter()
            .filter_map(|alg| {
                let key = ParsedPublicKey::new(verification(alg)?, bytes).ok()?;
                Some(Verifier {
                    kid: kid.map(Into::into),
                    alg,
                    identity: KeyIdentity::of(alg, bytes),
                    material: Material::Public(key),
                    signature_bytes: signature_bytes(alg),
                })
            })
            .collect();
        (!verifiers.is_empty()).then(|| Self {
            kid: kid.map(Into::into),
            verifiers,
            published: None,
        })
    }

    /// A key of a JWK set.
    pub(super) fn published(
        kid: Option<&str>,
        algorithms: AlgorithmSet,
        numbers: &Numbers,
    ) -> Option<Self> {
        let mut key = Self::public(kid, algorithms, &numbers.bytes)?;
        for verifier in &mut key.verifiers {
            // That of RSA is as long as its modulus.
            verifier
                .signature_bytes
                .get_or_insert_with(|| numbers.bits.div_ceil(8));
        }
        key.published = Some(PublishedForm {
            thumbprint: Thumbprint::of(&numbers.bytes),
            kind: numbers.kind,
            bits: numbers.bits,
        });
        Some(key)
    }

    /// A shared secret for each of `algorithms`.
    ///
    /// # Errors
    /// It is shorter than one of the hashes.
    pub(crate) fn shared(algorithms: AlgorithmSet, secret: &Secret) -> Result<Self, WeakSecret> {
        let bytes = secret.expose();
        let mut verifiers = Vec::new();
        for alg in algorithms.iter() {
            let hash = match alg {
                Algorithm::Hs256 => hmac::HMAC_SHA256,
                Algorithm::Hs384 => hmac::HMAC_SHA384,
                Algorithm::Hs512 => hmac::HMAC_SHA512,
                _ => continue,
            };
            let least = alg.secret_bytes_min();
            if bytes.len() < least {
                let found = bytes.len();
                return Err(WeakSecret { alg, found, least });
            }
            verifiers.push(Verifier {
                kid: None,
                alg,
                identity: KeyIdentity::of(alg, bytes),
                material: Material::Shared(Box::new(hmac::Key::new(hash, bytes))),
                signature_bytes: signature_bytes(alg),
            });
        }
        Ok(Self {
            kid: None,
            verifiers,
            published: None,
        })
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// By what it is known again; `None` for keys of the configuration.
    pub(crate) fn thumbprint(&self) -> Option<Thumbprint> {
        self.published.map(|form| form.thumbprint)
    }

    /// Kind and size for people; `None` for keys of the configuration.
    pub(crate) fn kind(&self) -> Option<(&'static str, usize)> {
        self.published.map(|form| (form.kind, form.bits))
    }

    /// The algorithms that it serves.
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.verifiers.iter().map(|verifier| verifier.alg)
    }

    pub(crate) fn verifier(&self, alg: Algorithm) -> Option<&Verifier> {
        self.verifiers.iter().find(|verifier| verifier.alg == alg)
    }

    /// Whether it is the same key with the same algorithms under the same name.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.verifiers.len() == other.verifiers.len()
            && self
                .verifiers
                .iter()
                .zip(&other.verifiers)
                .all(|(mine, theirs)| mine.identity == theirs.identity)
    }
}

impl Verifier {
    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(crate) const fn identity(&self) -> KeyIdentity {
        self.identity
    }

    /// Whether a signature could be one of this key, by its length.
    pub(crate) fn fits(&self, signature: &[u8]) -> bool {
        let bytes = self.signature_bytes;
        bytes.is_none_or(|bytes| bytes == signature.len())
    }

    /// Whether `signature` over `message` was made with this key (RFC 7515 section 5.2).
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
            // In constant time.
            Material::Shared(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// The length of a signature, where the algorithm alone says it.
const fn signature_bytes(alg: Algorithm) -> Option<usize> {
    match alg {
        Algorithm::Es256 | Algorithm::EdDsa | Algorithm::Hs512 => Some(64),
        Algorithm::Es384 => Some(96),
        Algorithm::Hs256 => Some(32),
        Algorithm::Hs384 => Some(48),
        _ => None,
    }
}

/// The fixed r||s form for ECDSA (RFC 7518 section 3.4), RSA from 2048 bits up.
fn verification(alg: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match alg {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
    })
}
