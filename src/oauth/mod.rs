//! The words of the RFCs that more than one stage speaks: signature algorithms, scopes, and JSON
//! as tokens and key sets must be read.

pub(crate) mod algorithm;
pub(crate) mod json;
pub(crate) mod scope;

pub(crate) use algorithm::{Algorithm, AlgorithmSet};
pub(crate) use json::Json;
pub(crate) use scope::Scopes;
