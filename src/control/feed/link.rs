//! One connection to the Redis or Valkey server of the feed.

use std::fmt;
use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::resp::{self, Reply};
use crate::config::FeedSettings;
use crate::control::fetch::{FetchError, reach};
use crate::observe::shown;
use crate::revocation::StoreError;

/// For connecting, and for each reply beyond what the server was asked to wait.
pub(super) const REPLY_MAX: Duration = Duration::from_secs(3);

/// Of the server's words.
const SHOWN_MAX: usize = 200;

/// Why the link is down.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error("{}", unreached(.0))]
    Connect(#[from] FetchError),
    #[error(
        "the server did not answer in time; does it expect TLS (rediss://), or none (redis://)?"
    )]
    Timeout,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// Before anything was answered.
    #[error(
        "the server broke off at once: {0}; is it a Redis or Valkey, with TLS as the URL says?"
    )]
    Stranger(io::Error),
    /// The server's own word on it may repeat what was sent, so it is not shown.
    #[error("the server refuses the login ({0})")]
    Login(String),
    #[error("the server refuses: {0}")]
    Refused(String),
    #[error("the server answers as no Redis or Valkey does")]
    Senseless,
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Entries may have gone that were not read.
    #[error("the last entry that was read has left the stream; the whole list is compared")]
    Gap,
    #[error("an entry of the stream is damaged; the whole list is compared")]
    Damaged,
    #[error("the server lacks some of the list; all of it is compared")]
    Differs,
}

/// Why the server is not there, where it is no provider.
fn unreached(error: &FetchError) -> String {
    match error {
        FetchError::Name => "the server's name does not resolve".to_owned(),
        FetchError::Address => "the server's name leads to a link-local address".to_owned(),
        FetchError::Unreachable(why) => format!("the server cannot be reached: {why}"),
        FetchError::Tls(why) => {
            format!("TLS with the server failed: {why}; in clear text the URL is redis://")
        }
        FetchError::Timeout => FeedError::Timeout.to_string(),
        other => other.to_string(),
    }
}

impl FeedError {
    /// Whether the server is not there at all, as far as can be told.
    pub(super) const fn is_absence(&self) -> bool {
        use FetchError::{Name, Timeout, Unreachable};
        matches!(self, Self::Connect(Name | Timeout | Unreachable(_)))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that has logged in.
pub(super) struct Link {
    stream: BufReader<Box<dyn Stream>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    pub(super) async fn connect(
        settings: &FeedSettings,
        tls: Option<&TlsConnector>,
    ) -> Result<Self, FeedError> {
        let stream = reach(&settings.host, settings.port, false, REPLY_MAX).await?;
        let opening = tokio::time::timeout(REPLY_MAX, Self::open(stream, settings, tls));
        let mut link = opening.await.map_err(|_| FeedError::Timeout)??;
        match link.log_in(settings).await {
            Ok(()) => Ok(link),
            Err(FeedError::Broken(error)) => Err(FeedError::Stranger(error)),
            Err(error) => Err(error),
        }
    }

    async fn open(
        stream: TcpStream,
        settings: &FeedSettings,
        tls: Option<&TlsConnector>,
    ) -> Result<Self, FeedError> {
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(settings.host.clone());
                let name = name.map_err(|_| FetchError::Url)?;
                let stream = tls.connect(name, stream).await;
                Box::new(stream.map_err(|error| FetchError::Tls(error.to_string()))?)
            }
        };
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    async fn log_in(&mut self, settings: &FeedSettings) -> Result<(), FeedError> {
        if let Some(password) = &settings.password {
            let words: Vec<&[u8]> = match &settings.user {
                Some(user) => vec![b"AUTH", user.as_bytes(), password.expose()],
                None => vec![b"AUTH", password.expose()],
            };
            match self.say(&[&words], REPLY_MAX).await?.pop() {
                Some(Reply::Text(_)) => {}
                Some(Reply::Error(why)) => {
                    let kind: String = why.chars().take_while(char::is_ascii_uppercase).collect();
                    let kind = match kind.as_str() {
                        // It says no more to somebody whose password it does not want.
                        "ERR" => "ERR; does it have a password at all?".to_owned(),
                        _ => kind,
                    };
                    return Err(FeedError::Login(kind));
                }
                _ => return Err(FeedError::Senseless),
            }
        }
        let database = settings.database.to_string();
        self.ask(&[b"SELECT", database.as_bytes()]).await?;
        Ok(())
    }

    /// One command, answered at once.
    pub(super) async fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, FeedError> {
        self.ask_within(words, REPLY_MAX).await
    }

    pub(super) async fn ask_within(
        &mut self,
        words: &[&[u8]],
        limit: Duration,
    ) -> Result<Reply, FeedError> {
        let reply = self.say(&[words], limit).await?.pop();
        reply.map_or(Err(FeedError::Senseless), good)
    }

    /// Commands that happen all at once or not at all; gives the reply to each.
    pub(super) async fn all_or_none(
        &mut self,
        commands: &[Vec<&[u8]>],
    ) -> Result<Vec<Reply>, FeedError> {
        let (begin, end): (&[&[u8]], &[&[u8]]) = (&[b"MULTI"], &[b"EXEC"]);
        let mut whole = vec![begin];
        whole.extend(commands.iter().map(Vec::as_slice));
        whole.push(end);
        let mut replies = self.say(&whole, REPLY_MAX).await?;
        let done = replies.pop().ok_or(FeedError::Senseless)?;
        // Why it was not done is said where a command was not taken.
        for reply in replies {
            good(reply)?;
        }
        match good(done)? {
            Reply::List(replies) => replies.into_iter().map(good).collect(),
            _ => Err(FeedError::Senseless),
        }
    }

    /// Sends commands together and reads the reply to each.
    async fn say(
        &mut self,
        commands: &[&[&[u8]]],
        limit: Duration,
    ) -> Result<Vec<Reply>, FeedError> {
        let mut bytes = Vec::new();
        for words in commands {
            resp::write(words, &mut bytes);
        }
        let exchange = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await?;
            let mut replies = Vec::new();
            for _ in commands {
                replies.push(resp::read(&mut self.stream).await?);
            }
            Ok::<_, io::Error>(replies)
        };
        let replies = tokio::time::timeout(limit, exchange).await;
        Ok(replies.map_err(|_| FeedError::Timeout)??)
    }
}

fn good(reply: Reply) -> Result<Reply, FeedError> {
    match reply {
        Reply::Error(why) => Err(FeedError::Refused(shown(&why, SHOWN_MAX))),
        reply => Ok(reply),
    }
}
