//! `/api/v1/drain`: the gateway finishes what runs and ends, as after SIGTERM.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use super::{ACTOR, Admin, Answer, json as answer_json, problem};
use crate::observe::audit::AdminEvent;

pub(super) fn answer(admin: &Admin, parts: &Parts) -> Answer {
    if parts.method != Method::POST {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use POST");
    }
    let event = AdminEvent {
        actor: ACTOR,
        action: "drain",
        target: "",
        result: "begun",
        selector: None,
        reason: None,
    };
    admin.gateway.audit.admin(admin.gateway.clock.now(), &event);
    admin.drains.notify_one();
    answer_json(StatusCode::ACCEPTED, &json!({ "draining": true }))
}
