//! What each code of a finding means: `bearward explain BW0107` prints it, and SARIF carries it.
//!
//! Codes are stable: a meaning that is gone leaves a gap, and no code gets another meaning.

use super::diagnostic::Severity;

/// One code.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
    meaning: &'static str,
    mend: &'static str,
    /// The rule that it comes from, where there is one.
    rule: &'static str,
}

impl Page {
    /// `BW00` and `BW01` are errors, `BW02` are warnings.
    pub(crate) fn severity(&self) -> Severity {
        match self.code.as_bytes().get(3) {
            Some(b'2') => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// As plain text.
    pub(crate) fn text(&self) -> String {
        let kind = match self.severity() {
            Severity::Error => {
                "An error: Bearward does not start with it, and a reload is refused."
            }
            Severity::Warning => "A warning: Bearward starts; `check --strict` fails.",
        };
        let rule = match self.rule {
            "" => String::new(),
            rule => format!("\nThe rule\n  {rule}\n"),
        };
        format!(
            "{}: {}\n\n{kind}\n\nWhat it means\n  {}\n\nHow to mend it\n  {}\n{rule}",
            self.code, self.title, self.meaning, self.mend
        )
    }
}

/// The page of a code, in upper or lower case.
pub(crate) fn page(code: &str) -> Option<&'static Page> {
    PAGES
        .iter()
        .find(|page| page.code.eq_ignore_ascii_case(code))
}

const fn of(
    code: &'static str,
    title: &'static str,
    meaning: &'static str,
    mend: &'static str,
    rule: &'static str,
) -> Page {
    Page {
        code,
        title,
        meaning,
        mend,
        rule,
    }
}

/// All codes, one a line, however long.
#[rustfmt::skip]
pub(crate) const PAGES: &[Page] = &[
    of("BW0001", "The file is not TOML", "A line cannot be read. References and settings are not looked at until it can, since they would be told wrong.", "Mend the line that is marked. Strings need quotes, tables need brackets, and a key is written once in a table.", "TOML 1.0"),
    of("BW0002", "The file cannot be read", "There is no such file, or it may not be read by the user that Bearward runs as.", "Name the file (`bearward check FILE`, `run --config FILE`), write one with `bearward init`, or mend its permissions.", ""),
    of("BW0101", "A key is not known", "No version has this key here. It would have no effect, and whoever wrote it believes that it has.", "Take the key that is proposed, or take it out. `bearward config schema` has all keys; config/bearward.toml explains each.", ""),
    of("BW0102", "A key is not served yet", "The key belongs to a later version. It is refused rather than ignored.", "Take it out, or run the version that has it.", ""),
    of("BW0103", "A value has the wrong type", "The key takes another kind of value: durations and sizes are strings (\"5s\", \"64KiB\"), lists stand in brackets.", "Write what is expected at the place that is marked.", ""),
    of("BW0104", "A value is not possible", "The value has the right type and is out of its range, misspelt, or not in the form that the key needs.", "Write what is expected at the place that is marked.", ""),
    of("BW0105", "Something is missing", "A key or a table that has no default is left out, or a list is empty. A missing rule never means \"not checked\".", "Write it. The message names the key and where it belongs.", ""),
    of("BW0106", "Keys contradict each other", "Two keys cannot both count, or one has no effect beside the other.", "Keep the one that you mean.", "RFC 8725 section 3.1 for algorithms and keys that do not go together"),
    of("BW0107", "A name is not defined", "A route, an issuer or an endpoint names a table that is not there.", "Mend the name; those that are defined are listed.", ""),
    of("BW0108", "A file, a secret or a key cannot be used", "A file that is named cannot be read, is empty, or does not hold what it should; or a secret is too weak, or is not there.", "Look at the file with the user that Bearward runs as. Secrets are `{ file = \"…\" }`, `{ env = \"…\" }` or `{ credential = \"…\" }`.", "RFC 7518 section 3.2 for the least size of shared secrets"),
    of("BW0109", "Two routes match the same requests", "Same listener, same host, same path: which of them answers would be chance.", "Make one more exact, give it other hosts or listeners, or make them one route with several rules.", ""),
    of("BW0110", "A value does not go with the rest", "It would be unsafe, or could never be reached, or stands there twice.", "The message says what it does not go with.", ""),
    of("BW0111", "An included file holds what it may not", "Included files add listeners, issuers, upstreams and routes. The rest stands in the main file alone, and no name is given twice: which one counted would depend on the order of files.", "Move the table into the main file, or give it another name.", ""),
    of("BW0201", "Tokens come in clear text", "Whoever is on the way can read the tokens and use them until they end.", "Give the listener `tls`, or be sure that something in front of it ends TLS on the same machine or in a network that nobody else is in.", "RFC 6750 section 5.3: bearer tokens MUST be sent over TLS"),
    of("BW0202", "The leeway is long", "Tokens are taken for so long after their end.", "Mend the clocks (`bearward issuer probe` shows the difference), and leave the default of 30 s.", "RFC 7519 section 4.1.4: usually no more than a few minutes"),
    of("BW0203", "A key of the set is not used", "It is too weak, of an unknown kind, private, or not for signatures. Tokens that it signed are refused.", "Take it out of the file, or mend it.", "RFC 7517 section 4, RFC 7518 section 3.3 (2048 bits at least)"),
    of("BW0204", "No certificate covers a host", "Requests for it are refused with 421, since a certificate that does not name a host does not speak for it.", "Add a certificate for the host, or take it out of `hosts`.", "RFC 9110 section 7.4, section 15.5.20"),
    of("BW0205", "A route takes several audiences", "The issuer has several audiences and the route takes them all: a token that was made for one API opens another.", "Write `audiences` on the route.", "RFC 8725 section 3.9, RFC 9068 section 4"),
    of("BW0206", "A route has no rules", "Any token that the issuers made for the audience may use any method.", "Write [[routes.NAME.rules]] with methods and scopes.", "RFC 6749 section 3.3, RFC 9700 section 2.3: the least privilege"),
    of("BW0207", "A method is unusual", "It is no registered method and near one that is: nothing would match it.", "Take the one that is proposed.", "RFC 9110 section 9.1, section 16.1"),
    of("BW0208", "A certificate has ended", "Clients refuse it.", "Renew it; a new file counts at once.", "RFC 5280 section 4.1.2.5"),
    of("BW0209", "Revocations are not kept", "With `store = \"memory\"` a restart brings revoked tokens back to life.", "Write \"state\", which is the default, and give `server.state_dir` a disk.", "RFC 7009 section 2.1: a revoked token stays revoked"),
    of("BW0210", "`staleness_max` has no effect", "It says when routes with `revocations_required` refuse, and there is none.", "Write `revocations_required = true` on the routes that it is meant for.", ""),
    of("BW0211", "The feed is in clear text", "Whoever is on the way reads its password and can take revocations back.", "Write rediss:// and give the server a certificate.", "RFC 9700 section 2.6: end-to-end TLS"),
    of("BW0212", "`balance` has no effect", "The upstream has one server.", "Take it out, or add servers.", ""),
    of("BW0213", "Everybody is a trusted proxy", "Whoever connects may claim any client address, and limits, logs and audit believe it.", "Name the networks of your own proxies.", "RFC 7239 section 8.1"),
    of("BW0214", "Tokens come in the query", "Query strings are in logs, histories and Referer headers. Bearward takes the token off before it sends the request on, and marks responses as private.", "Let clients send the Authorization header.", "RFC 6750 section 2.3, RFC 9700 section 4.3.2: MUST NOT pass access tokens in a query"),
    of("BW0215", "Tokens come in a cookie", "Browsers send cookies along with requests that other sites begin (CSRF).", "Give the cookie SameSite=Strict, or have the service check Origin.", "RFC 6749 section 10.12, RFC 6265 section 8.2"),
    of("BW0216", "A route refuses nobody", "`auth = \"report\"` judges, counts and lets pass.", "Write \"required\" once bearward_would_deny_total stays where it is.", "RFC 6750 section 3.1"),
    of("BW0217", "Traces go out in clear text", "Paths, client addresses and decision ids are in spans.", "Use https, or a collector on the same machine.", ""),
    of("BW0219", "An include matches no file", "Whatever was to be there is not: a request for a strict route that is missing may meet a laxer one.", "Mend the pattern, or take it out.", ""),
    of("BW0218", "Answers about opaque tokens are kept long", "A token that its issuer has revoked stays good for up to `cache_max`.", "Five minutes or less; 30 s is the default.", "RFC 7662 section 4: caching trades freshness"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every code that the checks use has its page, and no page is of a code that nobody uses.
    #[test]
    fn every_code_has_its_page() {
        let mut used = BTreeSet::new();
        let mut folders = vec![std::path::PathBuf::from("src/config")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("pages.rs") {
                    let text = std::fs::read_to_string(path).expect("a file");
                    for (at, _) in text.match_indices("\"BW") {
                        used.extend(text.get(at + 1..at + 7).map(str::to_owned));
                    }
                }
            }
        }
        let told: BTreeSet<_> = PAGES.iter().map(|page| page.code.to_owned()).collect();
        assert_eq!(used, told);
        assert_eq!(told.len(), PAGES.len(), "each once");
        assert!(page("bw0107").is_some() && page("BW9999").is_none());
    }
}
