//! What Bearward tells about itself: metrics, the audit line, the operator's log.
//!
//! This layer knows no stage: an [`Exchange`] is a plain record that the gateway fills, and labels
//! are words of closed lists or configured names.

pub(crate) mod audit;
pub(crate) mod exchange;
mod histogram;
mod lines;
pub(crate) mod log;
pub(crate) mod metrics;
mod names;
mod shown;
pub(crate) mod trace;

pub(crate) use audit::Audit;
pub(crate) use exchange::{Exchange, Outcome};
pub(crate) use metrics::{Labels, Metrics, Readings};
pub(crate) use names::Names;
pub(crate) use shown::{hex, shown, unhex};
