//! The verdict's own words: the closed list of reasons, the steps, and the near misses.
//!
//! The checks themselves are in [`crate::authenticate`] and [`crate::authorize`]; what they say is
//! said in these words, so that the proxy, the metrics, the log and the help pages agree.

mod near_miss;
mod reason;

pub use near_miss::NearMiss;
pub use reason::{Reason, Step};
