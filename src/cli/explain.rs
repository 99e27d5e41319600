//! `bearward explain`: the page of a reason.

use std::process::ExitCode;

use super::Outcome;
use super::output::{Code, Failure, data};
use crate::config::nearest;
use crate::reject::pages;
use crate::verdict::Reason;

pub(super) fn explain(code: &str) -> Outcome {
    let Some(reason) = Reason::parse(code) else {
        let known: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        let message = match nearest(code, known.iter().copied()) {
            Some(near) => format!("`{code}` is no reason; did you mean `{near}`?"),
            None => format!("`{code}` is no reason; there are: {}", known.join(", ")),
        };
        return Err(Failure::new(Code::Usage, message));
    };
    data(pages::text(reason).trim_end());
    Ok(ExitCode::SUCCESS)
}
