//! Why a permitted request got no response from its upstream, and whose fault that was.

use crate::http::BodyError;
use crate::verdict::Reason;

/// A request that could not be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("the upstream refused the connection or its name is unknown")]
    Unreachable,
    #[error("the upstream took too long")]
    Timeout,
    #[error("the upstream broke the connection")]
    Reset {
        /// Not one byte of a response had come.
        nothing_came: bool,
    },
    #[error("the upstream's response is not valid: {0}")]
    Invalid(&'static str),
    #[error("a gRPC call needs an upstream with `protocol = \"h2\"`")]
    NeedsHttp2,
    #[error("no connection to the upstream came free")]
    Overloaded,
    #[error("the client's body failed: {0}")]
    Body(BodyError),
}

impl ForwardError {
    /// The word for it.
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::Unreachable => Reason::UpstreamUnreachable,
            Self::Timeout | Self::Body(BodyError::UpstreamStalled) => Reason::UpstreamTimeout,
            Self::Reset { .. } | Self::Body(BodyError::UpstreamReset) => Reason::UpstreamReset,
            Self::Invalid(_) | Self::NeedsHttp2 | Self::Body(BodyError::UpstreamInvalid) => {
                Reason::UpstreamInvalid
            }
            Self::Overloaded => Reason::Overloaded,
            Self::Body(BodyError::TooLarge) => Reason::BodyTooLarge,
            Self::Body(BodyError::Stalled | BodyError::ClientStalled) => Reason::RequestTimeout,
            Self::Body(BodyError::Broken | BodyError::Revoked | BodyError::Expired) => {
                Reason::RequestMalformed
            }
        }
    }
}
