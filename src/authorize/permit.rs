//! The proof that a request may go on.

use crate::authenticate::Caller;

/// Made by [`super::authorize`] alone, when every check has passed.
#[derive(Debug)]
pub(crate) struct Permit {
    caller: Caller,
}

impl Permit {
    pub(super) const fn new(caller: Caller) -> Self {
        Self { caller }
    }

    /// Who was permitted.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }
}
