//! Whether a chain of certificates holds together, which clients find out and servers do not.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificates::Served;

impl Served {
    /// What clients will not like of the chain; `None`: nothing that can be seen from here.
    pub(crate) fn chain_trouble(&self) -> Option<&'static str> {
        let mut chain = Vec::new();
        for certificate in self.chain() {
            chain.push(X509Certificate::from_der(certificate).ok()?.1);
        }
        let follows = |pair: &[X509Certificate<'_>]| match pair {
            [one, next] => one.issuer() == next.subject(),
            _ => true,
        };
        if !chain.windows(2).all(follows) {
            return Some("its certificates do not follow one another, each signed by the next");
        }
        let [only] = &chain[..] else {
            return None;
        };
        (only.issuer() != only.subject() && !only.is_ca())
            .then_some("it is one certificate without the one that signed it: most clients know the roots alone")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_chain_holds_together_or_it_is_told_why_not() {
        let named = |name: &str| {
            let mut made = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            made.distinguished_name
                .push(rcgen::DnType::CommonName, name);
            made
        };
        let (key, root_key) = (
            KeyPair::generate().expect("a key"),
            KeyPair::generate().expect("a key"),
        );
        let mut root = named("root.test");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&root_key).expect("a certificate").pem();
        let by_root = Issuer::new(root, &root_key);
        let leaf = named("api.test")
            .signed_by(&key, &by_root)
            .expect("a certificate")
            .pem();
        let own = named("api.test")
            .self_signed(&key)
            .expect("a certificate")
            .pem();
        let stranger = named("other.test")
            .self_signed(&root_key)
            .expect("a certificate")
            .pem();
        let secret = Secret::new(key.serialize_pem().into_bytes());
        for (chain, words) in [
            (leaf.clone(), Some("without the one that signed it")),
            (format!("{leaf}{root_pem}"), None),
            (
                format!("{leaf}{stranger}"),
                Some("do not follow one another"),
            ),
            (own, None),
        ] {
            let served = Served::read(chain.as_bytes(), &secret).expect("it can be served");
            let told = served.chain_trouble();
            assert_eq!(told.is_some(), words.is_some(), "{told:?}");
            assert!(
                words.is_none_or(|words| told.is_some_and(|told| told.contains(words))),
                "{told:?}"
            );
        }
    }
}
