//! `bearward explain`: the page of a reason, or a near miss.

use std::process::ExitCode;

use super::Outcome;
use super::output::{Code, Failure, data};
use crate::config::nearest;
use crate::reject::pages;
use crate::verdict::{NearMiss, Reason};

pub(super) fn explain(code: &str) -> Outcome {
    if let Some(near) = NearMiss::parse(code) {
        data(&format!(
            "{}\n\nWhat happened\n  {}\n\nHow to mend it\n  {}\n\nIt is refused with {}: bearward explain {}",
            near.name(),
            near.says(),
            near.mend(),
            near.reason().code(),
            near.reason().code()
        ));
        return Ok(ExitCode::SUCCESS);
    }
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
