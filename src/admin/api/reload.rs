//! `/api/v1/reload`: the configuration's file is read again, and all of it serves or nothing of it.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use super::{ACTOR, Admin, Answer, faults, json as answer_json, problem};
use crate::control::NotReloaded;

pub(super) async fn answer(admin: &Admin, parts: &Parts) -> Answer {
    if parts.method != Method::POST {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use POST");
    }
    match admin.reloads.ask(ACTOR).await {
        Ok(reloaded) => answer_json(
            StatusCode::OK,
            &json!({
                "config": reloaded.digest,
                "needs_restart": reloaded.restart,
                "warnings": reloaded.warnings,
            }),
        ),
        Err(NotReloaded::Faults(report, findings)) => {
            let detail = "the configuration has faults; the one from before serves on";
            faults(detail, &report, &findings)
        }
        Err(error @ (NotReloaded::Ending | NotReloaded::TooMany)) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
        Err(error) => {
            let detail = format!("{error}; the configuration from before serves on");
            problem(StatusCode::CONFLICT, &detail)
        }
    }
}
