//! `bearward drain`, through the admin API.

use std::process::ExitCode;

use http::Method;

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient};
use super::output::data;

/// Has a running gateway finish what runs, and end.
pub(super) fn drain(arguments: &AdminArguments) -> Outcome {
    let client = AdminClient::find(arguments)?;
    client.send(Method::POST, "/api/v1/drain", None)?;
    data("the gateway finishes what runs, and ends");
    Ok(ExitCode::SUCCESS)
}
