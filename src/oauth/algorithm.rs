//! The closed list of signature algorithms (RFC 7518 section 3.1, RFC 8037, RFC 9864).
//!
//! A name that is not here does not exist for Bearward: `none` in any case, and whatever a later
//! RFC registers, cannot be configured and cannot be met by a key.

use std::fmt;

/// A signature algorithm that a key of Bearward can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 12] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
    ];

    /// The registered name; compared whole and case-sensitive (RFC 7515 section 4.1.1).
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// Reads an `alg`. `Ed25519` (RFC 9864) is the fully specified name of EdDSA with the one
    /// curve that is supported.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// Whether the key is a shared secret.
    pub(crate) const fn is_hmac(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    /// The least bytes of a shared secret: the size of the hash (RFC 7518 section 3.2).
    pub(crate) const fn secret_bytes_min(self) -> usize {
        match self {
            Self::Hs384 => 48,
            Self::Hs512 => 64,
            _ => 32,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of algorithms: what an issuer allows, what a key can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AlgorithmSet(u16);

impl AlgorithmSet {
    pub(crate) const fn contains(self, alg: Algorithm) -> bool {
        self.0 & alg.bit() != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn insert(&mut self, alg: Algorithm) {
        self.0 |= alg.bit();
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL
            .into_iter()
            .filter(move |alg| self.contains(*alg))
    }

    pub(crate) fn names(self) -> Vec<&'static str> {
        self.iter().map(Algorithm::name).collect()
    }
}

impl FromIterator<Algorithm> for AlgorithmSet {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        let mut set = Self::default();
        for alg in algorithms {
            set.insert(alg);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for alg in Algorithm::ALL {
            assert_eq!(Algorithm::parse(alg.name()), Some(alg));
        }
        assert_eq!(Algorithm::parse("Ed25519"), Some(Algorithm::EdDsa));
        for unknown in [
            "none", "None", "NONE", "nOnE", "rs256", "ES512", "ES256K", "RS256 ", "",
        ] {
            assert_eq!(Algorithm::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn sets() {
        let set: AlgorithmSet = [Algorithm::Es256, Algorithm::Rs256].into_iter().collect();
        assert!(set.contains(Algorithm::Rs256));
        assert!(!set.contains(Algorithm::Hs256));
        assert_eq!(set.names(), ["RS256", "ES256"]);
    }
}
