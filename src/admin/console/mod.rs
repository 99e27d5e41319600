//! The console: a page that shows what the admin API knows. It is served without the admin token, since it holds
//! nothing; the person types the token into it, and the page sends it with every question.
//!
//! Plain HTML, CSS and JavaScript, without a build step and without anything from elsewhere. The policy below
//! lets the browser load and ask nothing but this listener.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{Answer, problem, text};

/// Where it is.
const ROOT: &str = "/console/";
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// Its files, each with its content type.
const FILES: [(&str, &str, &str); 8] = [
    ("", "text/html; charset=utf-8", include_str!("index.html")),
    (
        "console.css",
        "text/css; charset=utf-8",
        include_str!("console.css"),
    ),
    (
        "console.js",
        "text/javascript; charset=utf-8",
        include_str!("console.js"),
    ),
    (
        "api.js",
        "text/javascript; charset=utf-8",
        include_str!("api.js"),
    ),
    (
        "draw.js",
        "text/javascript; charset=utf-8",
        include_str!("draw.js"),
    ),
    (
        "doctor.js",
        "text/javascript; charset=utf-8",
        include_str!("doctor.js"),
    ),
    (
        "pages.js",
        "text/javascript; charset=utf-8",
        include_str!("pages.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// A file of the console, where the path is one of it.
pub(super) fn answer(parts: &Parts) -> Option<Answer> {
    let path = parts.uri.path();
    if path == "/console" {
        let mut answer = text(StatusCode::MOVED_PERMANENTLY, "text/plain", String::new());
        let headers = answer.headers_mut();
        headers.insert(LOCATION, HeaderValue::from_static(ROOT));
        return Some(answer);
    }
    let name = path.strip_prefix(ROOT)?;
    let Some((_, content_type, file)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return Some(problem(StatusCode::NOT_FOUND, "there is nothing here"));
    };
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Some(problem(StatusCode::METHOD_NOT_ALLOWED, "use GET"));
    }
    let mut answer = text(StatusCode::OK, content_type, (*file).to_owned());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A new version of the program brings new files under the same names.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small_and_asks_nobody_else() {
        let all: usize = FILES.iter().map(|(.., file)| file.len()).sum();
        assert!(all <= 150 * 1024, "{all} bytes");
        for (name, _, file) in FILES {
            // A name of SVG, and an example: nothing is asked there.
            let known = ["http://www.w3.org/2000/svg", "https://api.example.com"];
            let all = file.matches("http://").count() + file.matches("https://").count();
            let known: usize = known.iter().map(|it| file.matches(it).count()).sum();
            assert_eq!(all, known, "{name} names another place");
            assert!(
                !file.contains("innerHTML") && !file.contains("style=\""),
                "{name}"
            );
        }
    }
}
