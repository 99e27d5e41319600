//! What a revocation selects tokens by, and what a token brings to be asked about.

use std::fmt;

use aws_lc_rs::digest;

use super::Revocation;
use crate::clock::UnixTime;
use crate::observe::hex;

/// What a revocation selects tokens by. Each kind is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// One token by its own fingerprint: the digest of its signing input.
    Token,
    /// One token by its `jti`.
    Jti,
    /// A session, by `sid`.
    Session,
    /// All tokens of a subject.
    Subject,
    /// All tokens of a client.
    Client,
    /// All tokens that a key of this `kid` signed.
    Key,
    /// All tokens of the issuer.
    Issuer,
}

impl Kind {
    /// From the narrowest to the widest: the order in which they are asked.
    pub(crate) const ALL: [Self; 7] = [
        Self::Token,
        Self::Jti,
        Self::Session,
        Self::Subject,
        Self::Client,
        Self::Key,
        Self::Issuer,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Jti => "jti",
            Self::Session => "session",
            Self::Subject => "subject",
            Self::Client => "client",
            Self::Key => "key",
            Self::Issuer => "issuer",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it means one token and no other.
    pub(crate) const fn is_of_one_token(self) -> bool {
        matches!(self, Self::Token | Self::Jti)
    }

    /// The place among the counts.
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Which tokens: within one issuer, those with this value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Selector {
    /// The issuer's identifier, `iss`: what its tables are called may differ between replicas.
    pub(crate) issuer: Box<str>,
    pub(crate) kind: Kind,
    /// Empty for the whole issuer; a fingerprint in hex.
    pub(crate) value: Box<str>,
}

/// SHA-256 over a selector: by this the index finds it. Two selectors have one digest only if they
/// are equal, so that no token is refused for another's sake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SelectorDigest(pub(super) [u8; 32]);

impl fmt::Debug for SelectorDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelectorDigest")
    }
}

impl std::hash::Hash for SelectorDigest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // A digest is its own hash.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl SelectorDigest {
    pub(super) fn of(issuer: &str, kind: Kind, value: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(kind.name().as_bytes());
        // Neither a kind nor a length can run into what follows.
        context.update(&[0]);
        context.update(&(issuer.len() as u64).to_le_bytes());
        context.update(issuer.as_bytes());
        context.update(value.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl Selector {
    pub(super) fn digest(&self) -> SelectorDigest {
        SelectorDigest::of(&self.issuer, self.kind, &self.value)
    }
}

/// What a token brings to the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// `iss`.
    pub(crate) issuer: &'a str,
    pub(crate) fingerprint: &'a [u8; 32],
    pub(crate) jti: Option<&'a str>,
    pub(crate) session: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
    pub(crate) client: Option<&'a str>,
    /// As the token's header says.
    pub(crate) kid: Option<&'a str>,
    /// Of the key that signed it, where that is another.
    pub(crate) key_kid: Option<&'a str>,
    pub(crate) issued_at: Option<UnixTime>,
}

impl Question<'_> {
    /// Whether a revocation would kill this token.
    pub(crate) fn is_hit_by(&self, revocation: &Revocation) -> bool {
        let wanted = Some(revocation.selector.digest());
        let digests = self.digests(revocation.selector.kind);
        digests.contains(&wanted) && self.is_cut(revocation.issued_before)
    }

    /// Whether the token was issued at that time or earlier, or does not say when.
    pub(super) fn is_cut(&self, issued_before: Option<UnixTime>) -> bool {
        match (issued_before, self.issued_at) {
            (None, _) | (Some(_), None) => true,
            (Some(before), Some(issued_at)) => issued_at <= before,
        }
    }

    /// The digests to look for, as far as the token has something of this kind. A key counts by the
    /// name in the token and by its own: whoever stole it can leave the name out.
    pub(super) fn digests(&self, kind: Kind) -> [Option<SelectorDigest>; 2] {
        let text;
        let values = match kind {
            Kind::Token => {
                text = hex(self.fingerprint);
                [Some(text.as_str()), None]
            }
            Kind::Jti => [self.jti, None],
            Kind::Session => [self.session, None],
            Kind::Subject => [self.subject, None],
            Kind::Client => [self.client, None],
            Kind::Key => [self.kid, self.key_kid],
            Kind::Issuer => [Some(""), None],
        };
        values.map(|value| Some(SelectorDigest::of(self.issuer, kind, value?)))
    }
}

/// What a token is known by: SHA-256 of its signing input, so that no other encoding of the signature
/// makes another token; of the whole of it where it has not three parts.
pub(crate) fn fingerprint(token: &[u8]) -> [u8; 32] {
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    let signed = match (dots.next(), dots.next(), dots.next()) {
        (Some(_), Some((end, _)), None) => token.get(..end).unwrap_or(token),
        _ => token,
    };
    let mut print = [0; 32];
    print.copy_from_slice(digest::digest(&digest::SHA256, signed).as_ref());
    print
}
