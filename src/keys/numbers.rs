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
    rsa_of(&decoded(jwk, "n")?, &decoded(jwk, "e")?)
}

/// An RSA key of this modulus and exponent.
pub(super) fn rsa_of(modulus: &[u8], exponent: &[u8]) -> Result<Numbers, &'static str> {
    let modulus = strip_zeros(modulus);
    let exponent = strip_zeros(exponent);
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
    let bits = match jwk.get("crv").and_then(Json::as_text) {
        Some("P-256") => 256,
        Some("P-384") => 384,
        _ => return Err("its `crv` is not P-256 or P-384"),
    };
    let numbers = ec_of(&decoded(jwk, "x")?, &decoded(jwk, "y")?)?;
    if numbers.bits != bits {
        return Err("its coordinates have the wrong size");
    }
    Ok(numbers)
}

/// A key of these coordinates; their size tells the curve.
pub(super) fn ec_of(x: &[u8], y: &[u8]) -> Result<Numbers, &'static str> {
    let (algorithms, kind): (&[Algorithm], _) = match (x.len(), y.len()) {
        (32, 32) => (&[Algorithm::Es256], "P-256"),
        (48, 48) => (&[Algorithm::Es384], "P-384"),
        _ => return Err("its coordinates have the wrong size"),
    };
    Ok(Numbers {
        algorithms,
        bytes: [&[0x04], x, y].concat(),
        kind,
        bits: x.len() * 8,
    })
}

/// An Ed25519 key (RFC 8037).
pub(super) fn okp(jwk: &Members) -> Result<Numbers, &'static str> {
    if jwk.get("crv").and_then(Json::as_text) != Some("Ed25519") {
        return Err("its `crv` is not Ed25519");
    }
    let numbers = okp_of(&decoded(jwk, "x")?)?;
    if has_small_order(&numbers.bytes) {
        return Err("its point has a small order: anybody could sign for it");
    }
    Ok(numbers)
}

/// An Ed25519 key of this encoded point.
pub(super) fn okp_of(x: &[u8]) -> Result<Numbers, &'static str> {
    if x.len() != 32 {
        return Err("its coordinates have the wrong size");
    }
    Ok(Numbers {
        algorithms: &[Algorithm::EdDsa],
        bytes: x.to_vec(),
        kind: "Ed25519",
        bits: 256,
    })
}

/// The points of order 1, 2, 4 and 8, in every encoding: `y` of 0, 1, p-1 and the two of order 8,
/// and p and p+1, which are 0 and 1 again. The sign bit does not matter.
fn has_small_order(point: &[u8]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = [0; 32];
    y.copy_from_slice(point.get(..32).unwrap_or(&[0; 32]));
    y[31] &= 0x7f;
    let [first, middle @ .., last] = y;
    match (first, last) {
        (0 | 1, 0) if middle == [0; 30] => true,
        (0xec..=0xee, 0x7f) if middle == [0xff; 30] => true,
        _ => ORDER_8.contains(&y),
    }
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
