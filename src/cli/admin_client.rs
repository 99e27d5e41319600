//! Speaking to a running gateway's admin listener.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;

use super::CONFIG;
use super::output::{Code, Failure};
use crate::config;
use crate::control::FetchError;
use crate::control::fetch::{FetchLimits, Fetcher};
use crate::listen::Address;
use crate::observe::shown;

/// The admin listener gives an answer ten seconds.
const LIMITS: FetchLimits = FetchLimits {
    timeout: Duration::from_secs(11),
    bytes_max: 16 * 1024 * 1024,
};

/// What is shown of the words of an answer.
const SHOWN_CHARS_MAX: usize = 2000;
/// The largest admin token.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Where the admin listener is and who we are.
#[derive(Clone, Debug, Args)]
pub(super) struct AdminArguments {
    /// The configuration that the gateway runs with.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The admin listener's URL, or `unix:PATH`, in place of the configuration's.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The file with the admin token, in place of the configuration's.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

impl AdminArguments {
    /// Whether they say where the gateway is.
    pub(super) const fn names_a_gateway(&self) -> bool {
        self.admin.is_some()
    }

    /// The configuration's file.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }
}

/// A way to the admin API.
pub(super) struct AdminClient {
    /// As it was said.
    url: String,
    origin: String,
    /// A socket in the file system.
    path: Option<PathBuf>,
    token: HeaderValue,
}

impl AdminClient {
    /// Finds address and token.
    pub(super) fn find(arguments: &AdminArguments) -> Result<Self, Failure> {
        let mut url = arguments.admin.clone();
        let mut token = None;
        if url.is_none() || arguments.admin_token_file.is_none() {
            // Whatever else is wrong with the file: in an incident it must not stand in the way.
            let place = config::admin_place(&arguments.config).map_err(|report| {
                let message = format!(
                    "{} does not say where the admin listener is; mend it, or give --admin and --admin-token-file\n{}",
                    arguments.config.display(),
                    report.pretty().trim_end()
                );
                Failure::new(Code::Configuration, message)
            })?;
            url.get_or_insert_with(|| match &place.admin.address {
                Address::Tcp(address) => format!("http://{address}"),
                other => other.to_string(),
            });
            if arguments.admin_token_file.is_none() {
                token = Some(match place.admin.token {
                    Some(token) => token.expose().to_vec(),
                    None => read(&place.state_dir.join("admin-token"), false)?,
                });
            }
        }
        if let Some(path) = &arguments.admin_token_file {
            token = Some(read(path, true)?);
        }
        Self::new(&url.unwrap_or_default(), &token.unwrap_or_default())
    }

    /// A client for an address and a token.
    pub(super) fn new(url: &str, token: &[u8]) -> Result<Self, Failure> {
        let bearer = [b"Bearer ", token.trim_ascii()].concat();
        let mut token = HeaderValue::from_bytes(&bearer)
            .map_err(|_| Failure::new(Code::Usage, "the admin token is not visible ASCII"))?;
        token.set_sensitive(true);
        let path = url.strip_prefix("unix:").map(PathBuf::from);
        let origin = path.as_ref().map_or(url, |_| "http://localhost");
        Ok(Self {
            url: url.to_owned(),
            origin: origin.trim_end_matches('/').to_owned(),
            path,
            token,
        })
    }

    /// Sends a request and reads its JSON answer.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.send_text(method, path, body)?;
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }

    /// Sends a request and reads its answer.
    pub(super) fn send_text(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<String, Failure> {
        let answer = self.exchange(method, path, body)?;
        if answer.status().is_success() {
            return Ok(String::from_utf8_lossy(answer.body()).into_owned());
        }
        Err(refused(&answer))
    }

    /// Sends a request and gives its answer, whatever that is.
    pub(super) fn exchange(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Response<Bytes>, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header(AUTHORIZATION, self.token.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(body))
            .map_err(|error| {
                let message = format!(
                    "{}: {error}; write http://ADDRESS:PORT or unix:PATH",
                    self.url
                );
                Failure::new(Code::Usage, message)
            })?;
        let answer = runtime()?.block_on(Fetcher::local(LIMITS, self.path.clone()).send(request));
        match answer {
            Ok(answer) => Ok(answer),
            Err(FetchError::Timeout) => {
                let message = format!("the admin listener at {} does not answer", self.url);
                Err(Failure::new(Code::Unreachable, message))
            }
            Err(error) => {
                let why = match error {
                    FetchError::Unreachable(why) => format!(
                        "{why}; is the gateway running? If it runs with an earlier `admin.address` or `state_dir`, give --admin and --admin-token-file, or send it SIGHUP to reload"
                    ),
                    FetchError::Url => "it is no http URL of a loopback address".to_owned(),
                    other => other.to_string(),
                };
                let message = format!(
                    "the admin listener at {} cannot be reached: {why}",
                    self.url
                );
                Err(Failure::new(Code::Unreachable, message))
            }
        }
    }
}

/// What the gateway says to what it does not do.
pub(super) fn refused(answer: &Response<Bytes>) -> Failure {
    let json: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let detail = json.get("detail").and_then(Value::as_str);
    let message = format!(
        "the gateway answers {}: {}",
        answer.status(),
        // Whoever has taken the port may answer anything.
        shown(detail.unwrap_or("no further words"), SHOWN_CHARS_MAX)
    );
    Failure::new(Code::Negative, message)
}

/// A runtime for the one thing that a command does.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::internal)
}

/// The token in a file. What a service may write into its own folder leads root nowhere else: there, no link is
/// followed, and nothing but a file is read.
fn read(path: &Path, follows: bool) -> Result<Vec<u8>, Failure> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !follows);
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let read = opened.map_err(io::Error::from).and_then(|file| {
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut token = Vec::new();
        file.take(TOKEN_BYTES_MAX).read_to_end(&mut token)?;
        Ok(token)
    });
    read.map_err(|error| {
        let message = format!(
            "the admin token {} cannot be read: {error}; is the gateway running?",
            path.display()
        );
        Failure::new(Code::Unreachable, message)
    })
}
