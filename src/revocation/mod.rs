//! Revocations: which tokens are dead although their signature holds and their time has not come.
//!
//! Each is exact and belongs to one issuer: by the token's `jti`, or by its subject, optionally
//! only for tokens issued at a time or before it. The index is its own concurrent structure and
//! not part of the policy: revocations are many, change often, and must bite on the next request.
//! A generation number lets a cached token keep the index's answer for as long as nothing changed.

mod index;

pub(crate) use index::{Added, Kind, Question, Revocation, Revocations, Revoked, Selector};
