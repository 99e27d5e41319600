//! The verdict's own words: the closed list of reasons, the steps, and the trace.
//!
//! The checks themselves are in [`crate::authenticate`] and [`crate::authorize`]; what they say is
//! said in these words, so that the proxy, the metrics, the log and the help pages agree.

mod reason;
mod trace;

pub use reason::{Reason, Step};
pub(crate) use trace::{Finding, Trace};
