//! What an issuer may tell the gateway: `backchannel_logout` and `security_events`.

use super::Checker;
use super::issuers::span_of;
use crate::config::node::{Node, Value};
use crate::policy::{EventRules, LogoutRules};

/// Tables that need keys, which an issuer of opaque tokens does not have.
const TABLES: [&str; 2] = ["backchannel_logout", "security_events"];

pub(super) fn check(
    root: &Node,
    node: &Node,
    what: &str,
    own: &str,
    opaque: bool,
    checker: &mut Checker<'_>,
) -> (Option<LogoutRules>, Option<EventRules>) {
    for name in TABLES.into_iter().filter(|_| opaque) {
        if let Some(table) = node.table(name) {
            let message = format!(
                "`{name}` of {what} has no effect beside `introspection`: what is told is signed, and there are no keys"
            );
            let help = "put it into a table of the same provider that has keys";
            checker.error_help("BW0106", message, &table.span, help);
        }
    }
    let texts = |table: &Node, place: &str, name: &str, checker: &mut Checker<'_>| {
        let what = format!("`{place}` of {what}");
        let texts = checker.required_texts(table, &what, name);
        texts.into_iter().map(|(text, _)| text.into()).collect()
    };
    let logout = node.table("backchannel_logout").map(|table| LogoutRules {
        client_ids: texts(table, "backchannel_logout", "client_ids", checker),
        whole_subject: table.text("ends").as_deref() == Some("subject"),
    });
    let events = node.table("security_events").map(|table| EventRules {
        audiences: texts(table, "security_events", "audiences", checker),
        speaks_for: match table.texts("speaks_for") {
            None => vec![own.into()],
            Some(names) => names
                .iter()
                .filter_map(|(name, span)| {
                    let defined: Vec<_> = root.tables("issuers").map(|(name, _)| name).collect();
                    let message = format!(
                        "`security_events` of {what} speaks for an issuer that is not defined"
                    );
                    checker.reference(&defined, name, &message, "issuers", span)?;
                    let mut tables = root.tables("issuers");
                    let (_, table) = tables.find(|(defined, _)| *defined == name.as_str())?;
                    match table.value("issuer") {
                        Some((Value::Text(issuer), _)) => Some(issuer.as_str().into()),
                        _ => None,
                    }
                })
                .collect(),
        },
    });
    if let (Some(table), Some([])) = (
        node.table("security_events"),
        node.table("security_events")
            .and_then(|table| table.texts("speaks_for")),
    ) {
        let message = format!("`speaks_for` of {what} is empty; its events could end nothing");
        checker.error("BW0105", message, &span_of(table, "speaks_for"));
    }
    (logout, events)
}
