//! `[revocation.feed]`: where the list of revocations is shared.

use std::net::Ipv6Addr;

use super::Checker;
use super::issuers::span_of;
use crate::config::node::{Node, Span, Value};
use crate::config::settings::FeedSettings;
use crate::http::form::unescaped;
use crate::http::host::is_loopback;
use crate::secret::Secret;

/// Where such servers listen.
const PORT: u16 = 6379;

/// The feed, if there is one. `required`: a route demands that the list is whole.
pub(super) fn check(
    revocation: &Node,
    required: bool,
    checker: &mut Checker<'_>,
) -> Option<FeedSettings> {
    let staleness_max = revocation.duration("staleness_max")?;
    let Some(feed) = revocation.table("feed") else {
        if let Some((_, span)) = revocation.value("staleness_max") {
            let message = "`staleness_max` has no effect without `revocation.feed`";
            checker.error_help("BW0106", message.to_owned(), span, "take it out");
        }
        return None;
    };
    if let (false, Some((_, span))) = (required, revocation.value("staleness_max")) {
        checker.warn(
            "BW0210",
            "no route has `revocations_required`, so `staleness_max` has no effect".to_owned(),
            span,
            "write `revocations_required = true` on the routes that it is meant for",
        );
    }
    if feed.value("url").is_none() && !feed.is_faulty("url") {
        let message = "`revocation.feed` has no `url`".to_owned();
        checker.error("BW0105", message, &feed.span);
    }
    let stream = feed.text("stream")?;
    let span = span_of(feed, "stream");
    if stream.is_empty() || stream.len() > 256 {
        let message = "`stream` of `revocation.feed` is empty or longer than 256 bytes".to_owned();
        checker.error("BW0104", message, &span);
    }
    let (url, span) = checker.secret(feed, "url")?;
    let text = std::str::from_utf8(url.expose()).map_err(|_| "it is no text");
    let place = match text.and_then(read) {
        Ok(place) => place,
        Err(why) => {
            let message = format!(
                "`url` of `revocation.feed` is no address of a Redis or Valkey server: {why}"
            );
            let help = "write rediss://USER:PASSWORD@HOST:PORT/DATABASE, or redis:// in clear text; what is special in a password is percent-escaped";
            checker.error_help("BW0104", message, &span, help);
            return None;
        }
    };
    if !place.tls && !is_loopback(&place.host) {
        checker.warn(
            "BW0211",
            "the feed of revocations is in clear text: who is on its way reads the password, and can take revocations back".to_owned(),
            &span,
            "write rediss:// and give the server a certificate",
        );
    }
    let ca = match feed.value("ca") {
        Some((_, span)) if !place.tls => {
            let message =
                "`ca` of `revocation.feed` has no effect beside redis://, which is in clear text";
            checker.error_help(
                "BW0106",
                message.to_owned(),
                span,
                "take it out, or write rediss://",
            );
            None
        }
        Some((Value::Text(path), span)) => Some(roots(path, span, checker)?),
        _ => None,
    };
    Some(FeedSettings {
        ca,
        stream,
        staleness_max,
        ..place
    })
}

fn roots(path: &str, span: &Span, checker: &mut Checker<'_>) -> Option<Vec<u8>> {
    let pem = checker.file(path, span, "`ca`")?;
    if crate::tls::roots(&pem).is_none() {
        let message = format!("`revocation.feed`: `{path}` holds no certificates in PEM");
        checker.error("BW0108", message, span);
        return None;
    }
    Some(pem)
}

/// Takes the URL apart, or names the part that is wrong and repeats nothing of it: a password is in it.
fn read(url: &str) -> Result<FeedSettings, &'static str> {
    const HOST: &str = "its host is none";
    const PORT_RANGE: &str = "its port is no number from 1 to 65535";
    const LOGIN: &str = "its login is badly escaped";
    let (tls, rest) = match url.split_once("://") {
        Some(("rediss", rest)) => (true, rest),
        Some(("redis", rest)) => (false, rest),
        _ => return Err("it begins with neither redis:// nor rediss://"),
    };
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match database {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| "its path is no number of a database")?,
    };
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, authority),
    };
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(HOST)?;
            host.parse::<Ipv6Addr>().map_err(|_| HOST)?;
            match port {
                "" => (host, ""),
                port => (host, port.strip_prefix(':').ok_or(PORT_RANGE)?),
            }
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    let port = match port {
        "" => PORT,
        text => {
            let port = text.parse().ok().filter(|port| *port != 0);
            port.ok_or(PORT_RANGE)?
        }
    };
    let is_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(is_name) {
        return Err(HOST);
    }
    let (user, password) = match login {
        None => (None, None),
        Some(login) => {
            let pair = login.split_once(':');
            let (user, password) = pair.ok_or("its login has no password")?;
            (
                Some(unescaped(user, false).ok_or(LOGIN)?),
                Some(unescaped(password, false).ok_or(LOGIN)?),
            )
        }
    };
    if password.as_ref().is_some_and(String::is_empty) {
        return Err("its login has no password");
    }
    Ok(FeedSettings {
        host: host.to_owned(),
        port,
        tls,
        ca: None,
        user: user.filter(|user| !user.is_empty()),
        password: password.map(|password| Secret::new(password.into_bytes())),
        database,
        stream: String::new(),
        staleness_max: std::time::Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, expected) in [
            (
                "redis://localhost",
                Some((false, "localhost", 6379, None, None, 0)),
            ),
            (
                "rediss://r.test:6380/3",
                Some((true, "r.test", 6380, None, None, 3)),
            ),
            (
                "redis://:pw@10.0.0.1/",
                Some((false, "10.0.0.1", 6379, None, Some("pw"), 0)),
            ),
            (
                "rediss://me:p%40ss%3A+@[::1]:1/0",
                Some((true, "::1", 1, Some("me"), Some("p@ss:+"), 0)),
            ),
            ("redis://", None),
            ("redis://me@host", None),
            ("redis://me:@host", None),
            ("redis://host:0", None),
            ("redis://host:99999", None),
            ("redis://host/one", None),
            ("redis://ho st", None),
            ("redis://[::1", None),
            ("redis://[::1]x", None),
            ("redis://a:%zz@host", None),
            ("http://host", None),
            ("host:6379", None),
        ] {
            let place = read(url).ok();
            let found = place.as_ref().map(|place| {
                let password = place.password.as_ref();
                let password = password.map(|it| std::str::from_utf8(it.expose()).expect("text"));
                let host = place.host.as_str();
                (
                    place.tls,
                    host,
                    place.port,
                    place.user.as_deref(),
                    password,
                    place.database,
                )
            });
            assert_eq!(found, expected, "{url}");
        }
    }
}
