//! The numbers of a JWK (RFC 7518 section 6, RFC 8037) to the bytes that the provider parses.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::oauth::json::Members;
use crate::oauth::{Algorithm, Json};

/// RSA moduli, in bits: RFC 7518 section 3.3 demands 2048, above 8192 a check costs too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

fn decoded(jwk: &Members, name: &str) -> Result<Vec<u8>, &'static str> {
    jwk.get(name)
        .and_then(Json::as_text)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or("a number of it is missing or not base64url")
}

/// A public key as the provider of cryptography parses it, and what it is for people.
#[derive(Debug)]
pub(super) struct Numbers {
    /// What such a key can verify.
    pub(super) algorithms: &'static [Algorithm],
    pub(super) bytes: Vec<u8>,
    /// The kind by its usual name.
    pub(super) kind: &'static str,
    /// Of the modulus, or of the curve.
    pub(super) bits: usize,
}

/// An RSA key.
pub(super) fn rsa(jwk: &Members) -> Result<Numbers, &'static str> {
    let modulus = decoded(jwk, "n")?;
    let exponent = decoded(jwk, "e")?;
    let modulus = strip_zeros(&modulus);
    let exponent = strip_zeros(&exponent);
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |b| b.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err("its RSA modulus has fewer than 2048 or more than 8192 bits");
    }
    if exponent.len() > 5 || exponent.last().is_none_or(|b| b % 2 == 0) || exponent == [1] {
        return Err("its RSA exponent is not sound");
    }
    let mut body = der_integer(modulus);
    body.extend(der_integer(exponent));
    Ok(Numbers {
        algorithms: &[
            Algorithm::Rs256,
            Algorithm::Rs384,
            Algorithm::Rs512,
            Algorithm::Ps256,
            Algorithm::Ps384,
            Algorithm::Ps512,
        ],
        bytes: der(0x30, &body),
        kind: "RSA",
        bits,
    })
}

/// A key on one of the curves of NIST.
pub(super) fn ec(jwk: &Members) -> Result<Numbers, &'static str> {
    let (algorithms, kind, size): (&[Algorithm], _, _) =
        match jwk.get("crv").and_then(Json::as_text) {
            Some("P-256") => (&[Algorithm::Es256], "P-256", 32),
            Some("P-384") => (&[Algorithm::Es384], "P-384", 48),
            _ => return Err("its `crv` is not P-256 or P-384"),
        };
    let (x, y) = (decoded(jwk, "x")?, decoded(jwk, "y")?);
    if x.len() != size || y.len() != size {
        return Err("its coordinates have the wrong size");
    }
    Ok(Numbers {
        algorithms,
        bytes: [&[0x04], x.as_slice(), y.as_slice()].concat(),
        kind,
        bits: size * 8,
    })
}

/// An Ed25519 key (RFC 8037).
pub(super) fn okp(jwk: &Members) -> Result<Numbers, &'static str> {
    if jwk.get("crv").and_then(Json::as_text) != Some("Ed25519") {
        return Err("its `crv` is not Ed25519");
    }
    let x = decoded(jwk, "x")?;
    if x.len() != 32 {
        return Err("its coordinates have the wrong size");
    }
    Ok(Numbers {
        algorithms: &[Algorithm::EdDsa],
        bytes: x,
        kind: "Ed25519",
        bits: 256,
    })
}

fn strip_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// A positive INTEGER of DER: a zero byte goes before a set high bit.
fn der_integer(bytes: &[u8]) -> Vec<u8> {
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return der(0x02, &[&[0], bytes].concat());
    }
    der(0x02, bytes)
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    let length = strip_zeros(&length);
    let mut out = vec![tag];
    match body.len() {
        0..0x80 => out.push(length.first().copied().unwrap_or(0)),
        _ => {
            out.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            out.extend_from_slice(length);
        }
    }
    out.extend_from_slice(body);
    out
}
