//! `traceparent` (W3C Trace Context section 3.2): which trace a request belongs to.

use std::fmt;

use http::HeaderMap;

use crate::observe::{hex, unhex};

const TRACEPARENT: &str = "traceparent";

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace: [u8; 16],
    /// The span of whoever sends it.
    pub(crate) parent: [u8; 8],
    pub(crate) is_sampled: bool,
}

impl Context {
    /// The one that a request carries; none where it is malformed, or there are two.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (all.next()?, all.next()) else {
            return None;
        };
        Self::parse(value.as_bytes())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b'-');
        let (version, trace, parent, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version]: [u8; 1] = digits(version)?;
        // A later version may say more behind; of this one that is all.
        if version == 0xff || version == 0 && parts.next().is_some() {
            return None;
        }
        let [flags]: [u8; 1] = digits(flags)?;
        let context = Self {
            trace: digits(trace)?,
            parent: digits(parent)?,
            is_sampled: flags & 1 == 1,
        };
        let is_id = |id: &[u8]| id.iter().any(|byte| *byte != 0);
        (is_id(&context.trace) && is_id(&context.parent)).then_some(context)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, parent) = (hex(&self.trace), hex(&self.parent));
        write!(f, "00-{trace}-{parent}-{:02x}", u8::from(self.is_sampled))
    }
}

/// The id of the trace that a request belongs to, for the audit line.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<[u8; 16]> {
    Context::of(headers).map(|context| context.trace)
}

/// Bytes from hex digits, of which none may be upper case.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let text = std::str::from_utf8(text).ok()?;
    let is_lower = !text.bytes().any(|digit| digit.is_ascii_uppercase());
    is_lower.then(|| unhex(text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = Context::parse(good.as_bytes()).expect("a context");
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), good);
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-more";
        assert!(
            !Context::parse(later.as_bytes())
                .expect("a context")
                .is_sampled
        );
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        ] {
            assert_eq!(Context::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
