//! `/api/v1/oddities`: what was noticed of late.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use super::{Admin, Answer, json as answer_json, problem};

pub(super) fn answer(admin: &Admin, parts: &Parts) -> Answer {
    if parts.method != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use GET");
    }
    let all = admin.gateway.oddities.all();
    answer_json(StatusCode::OK, &json!({ "oddities": all }))
}
