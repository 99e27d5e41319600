//! `bearward explain`: the page of a reason, a near miss, or a finding of `check`.

use std::process::ExitCode;

use super::Outcome;
use super::output::{Code, Failure, data};
use crate::config::nearest;
use crate::config::pages as config_pages;
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
    if let Some(page) = config_pages::page(code) {
        data(page.text().trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(reason) = Reason::parse(code) else {
        let reasons = Reason::ALL.iter().map(|reason| reason.code());
        let findings = config_pages::PAGES.iter().map(|page| page.code);
        let message = match nearest(code, reasons.clone().chain(findings.clone())) {
            Some(near) => format!("there is no code `{code}`; did you mean `{near}`?"),
            None => format!(
                "there is no code `{code}`; there are the reasons of refusals: {}; and the findings of `check`: {}",
                reasons.collect::<Vec<_>>().join(", "),
                findings.collect::<Vec<_>>().join(", ")
            ),
        };
        return Err(Failure::new(Code::Usage, message));
    };
    data(pages::text(reason).trim_end());
    Ok(ExitCode::SUCCESS)
}
