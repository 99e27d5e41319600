//! A key that signs.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::der;
use crate::oauth::Algorithm;
use crate::secret::Secret;

/// Why there is no key or no token.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Not one of the accepted algorithms.
    #[error("`{0}` is no accepted algorithm")]
    Algorithm(String),
    /// Not a private key of the algorithm's kind in PEM.
    #[error("not a private key in PKCS #8 PEM that fits {0}")]
    Pem(&'static str),
    /// The provider failed.
    #[error("the key cannot be made or used")]
    Unspecified,
}

/// A private key or shared secret with its algorithm and key id.
#[derive(Clone, Debug)]
pub struct SigningKey {
    alg: Algorithm,
    kid: Option<String>,
    /// PKCS #8, or the shared secret itself.
    private: Secret,
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// The algorithm is not accepted, or the provider fails.
    pub fn generate(alg: &str, kid: Option<&str>) -> Result<Self, SigningKeyError> {
        let failed = |_| SigningKeyError::Unspecified;
        let alg =
            Algorithm::parse(alg).ok_or_else(|| SigningKeyError::Algorithm(alg.to_owned()))?;
        let private = match alg {
            Algorithm::Es256 | Algorithm::Es384 => {
                let pair = EcdsaKeyPair::generate(curve(alg)).map_err(failed)?;
                pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()
            }
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
                let mut secret = vec![0; alg.secret_bytes_min()];
                aws_lc_rs::rand::fill(&mut secret).map_err(failed)?;
                secret
            }
            _ => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)
                    .map_err(failed)?
                    .as_ref()
                    .to_vec()
            }
        };
        Ok(Self {
            alg,
            kid: kid.map(str::to_owned),
            private: Secret::new(private),
        })
    }

    /// Reads a private key in PKCS #8 PEM, or takes a shared secret as it is.
    ///
    /// # Errors
    /// It is none, or does not fit the algorithm.
    pub fn read(alg: &str, kid: Option<&str>, bytes: &[u8]) -> Result<Self, SigningKeyError> {
        let alg =
            Algorithm::parse(alg).ok_or_else(|| SigningKeyError::Algorithm(alg.to_owned()))?;
        let private = if alg.is_hmac() {
            bytes.to_vec()
        } else {
            let key = PrivatePkcs8KeyDer::from_pem_slice(bytes)
                .map_err(|_| SigningKeyError::Pem(alg.name()))?;
            key.secret_pkcs8_der().to_vec()
        };
        let key = Self {
            alg,
            kid: kid.map(str::to_owned),
            private: Secret::new(private),
        };
        if !alg.is_hmac() {
            key.jwk().ok_or_else(|| SigningKeyError::Pem(alg.name()))?;
        }
        Ok(key)
    }

    /// The same with the thumbprint of its public key as key id (RFC 7638); `None` for a shared secret.
    #[must_use]
    pub fn named_by_thumbprint(self) -> Option<Self> {
        let jwk = self.jwk()?;
        // The members that count, in the order of their names, without spaces.
        let names: &[_] = match jwk.get("kty")?.as_str()? {
            "EC" => &["crv", "kty", "x", "y"],
            "OKP" => &["crv", "kty", "x"],
            _ => &["e", "kty", "n"],
        };
        let members: Option<Vec<_>> = names
            .iter()
            .map(|name| Some(format!("\"{name}\":{}", jwk.get(name)?)))
            .collect();
        let text = format!("{{{}}}", members?.join(","));
        let digest = digest(&SHA256, text.as_bytes());
        Some(Self {
            kid: Some(URL_SAFE_NO_PAD.encode(digest)),
            ..self
        })
    }

    /// The private key in PEM, or the shared secret as it is.
    #[must_use]
    pub fn private_file(&self) -> Vec<u8> {
        if self.alg.is_hmac() {
            return self.private.expose().to_vec();
        }
        pem("PRIVATE KEY", self.private.expose()).into_bytes()
    }

    /// The public key in PEM; `None` for a shared secret.
    #[must_use]
    pub fn public_pem(&self) -> Option<String> {
        let spki = match self.alg {
            Algorithm::Es256 | Algorithm::Es384 => {
                let pair = EcdsaKeyPair::from_pkcs8(curve(self.alg), self.private.expose()).ok()?;
                pair.public_key().as_der().ok()?.as_ref().to_vec()
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(self.private.expose()).ok()?;
                pair.public_key().as_der().ok()?.as_ref().to_vec()
            }
            alg if alg.is_hmac() => return None,
            _ => {
                let pair = RsaKeyPair::from_pkcs8(self.private.expose()).ok()?;
                pair.public_key().as_der().ok()?.as_ref().to_vec()
            }
        };
        Some(pem("PUBLIC KEY", &spki))
    }

    /// The public key as a JWK; `None` for a shared secret.
    #[must_use]
    pub fn jwk(&self) -> Option<Value> {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self.alg {
            Algorithm::Es256 | Algorithm::Es384 => {
                let pair = EcdsaKeyPair::from_pkcs8(curve(self.alg), self.private.expose()).ok()?;
                let point = pair.public_key().as_ref().get(1..)?.to_vec();
                let (x, y) = point.split_at_checked(point.len() / 2)?;
                let crv = if self.alg == Algorithm::Es256 {
                    "P-256"
                } else {
                    "P-384"
                };
                json!({ "kty": "EC", "crv": crv, "x": encoded(x), "y": encoded(y) })
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(self.private.expose()).ok()?;
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref()) })
            }
            alg if alg.is_hmac() => return None,
            _ => {
                let pair = RsaKeyPair::from_pkcs8(self.private.expose()).ok()?;
                let numbers = der::sequence(pair.public_key().as_ref())?;
                let (modulus, exponent) = (numbers.first()?, numbers.get(1)?);
                let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
                json!({ "kty": "RSA", "n": encoded(modulus), "e": encoded(exponent) })
            }
        };
        let members = jwk.as_object_mut()?;
        members.insert("alg".into(), self.alg.name().into());
        members.insert("use".into(), "sig".into());
        if let Some(kid) = &self.kid {
            members.insert("kid".into(), kid.as_str().into());
        }
        Some(jwk)
    }

    /// Signs claims as a token of type `typ`.
    ///
    /// # Errors
    /// The key does not fit its algorithm.
    pub fn sign(&self, typ: Option<&str>, claims: &Value) -> Result<String, SigningKeyError> {
        let mut header = Header::new(self.signing_algorithm());
        header.typ = typ.map(str::to_owned);
        header.kid.clone_from(&self.kid);
        let private = self.private.expose();
        let key = match self.alg {
            Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_der(private),
            Algorithm::EdDsa => EncodingKey::from_ed_der(private),
            alg if alg.is_hmac() => EncodingKey::from_secret(private),
            _ => {
                // PKCS #8 holds the PKCS #1 key that is wanted here.
                let parts = der::sequence(private).ok_or(SigningKeyError::Unspecified)?;
                EncodingKey::from_rsa_der(parts.get(2).ok_or(SigningKeyError::Unspecified)?)
            }
        };
        jsonwebtoken::encode(&header, claims, &key).map_err(|_| SigningKeyError::Unspecified)
    }

    fn signing_algorithm(&self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Other;
        match self.alg {
            Algorithm::Rs256 => Other::RS256,
            Algorithm::Rs384 => Other::RS384,
            Algorithm::Rs512 => Other::RS512,
            Algorithm::Ps256 => Other::PS256,
            Algorithm::Ps384 => Other::PS384,
            Algorithm::Ps512 => Other::PS512,
            Algorithm::Es256 => Other::ES256,
            Algorithm::Es384 => Other::ES384,
            Algorithm::EdDsa => Other::EdDSA,
            Algorithm::Hs256 => Other::HS256,
            Algorithm::Hs384 => Other::HS384,
            Algorithm::Hs512 => Other::HS512,
        }
    }
}

fn curve(alg: Algorithm) -> &'static aws_lc_rs::signature::EcdsaSigningAlgorithm {
    if alg == Algorithm::Es384 {
        &ECDSA_P384_SHA384_FIXED_SIGNING
    } else {
        &ECDSA_P256_SHA256_FIXED_SIGNING
    }
}

/// RFC 7468: base64 in lines of 64.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line))
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_that_of_the_rfc() {
        // RFC 8037 appendix A.3: the thumbprint of the key of appendix A.1.
        let private = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v_VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
        let der = URL_SAFE_NO_PAD.decode(private).expect("base64url");
        let key = SigningKey::read("EdDSA", None, pem("PRIVATE KEY", &der).as_bytes());
        let key = key.expect("a key").named_by_thumbprint().expect("a name");
        assert_eq!(
            key.kid.as_deref(),
            Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
        );
    }
}
