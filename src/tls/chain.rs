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
