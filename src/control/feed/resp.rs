//! The replies of a Redis or Valkey server (RESP2), read within bounds.
//!
//! The feed needs a dozen commands and five kinds of reply. The usual client library brings 46 crates
//! for them and bounds none of its buffers; this is smaller than the list of its settings.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// A line: a number, a word, or what went wrong.
const LINE_BYTES_MAX: u64 = 4 * 1024;
/// One value; a larger one is read and dropped, so that it stops nobody.
const BULK_BYTES_MAX: usize = 256 * 1024;
/// Elements of one reply, over all its levels.
const ELEMENTS_MAX: usize = 1_000_000;
/// Bytes of one reply.
const REPLY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Lists within lists.
const DEPTH_MAX: usize = 8;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(Vec<u8>),
    Number(i64),
    Nothing,
    List(Vec<Reply>),
    /// A value larger than any that is ever told; it was not kept.
    TooLarge,
    /// Its first word is the kind of error.
    Error(String),
}

impl Reply {
    /// The text, or none where it is too large or no text: that can be no change.
    pub(super) fn into_text(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text,
            _ => Vec::new(),
        }
    }
}

/// What is left of the bounds of one reply.
struct Budget {
    bytes: usize,
    elements: usize,
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// Reads one reply.
///
/// # Errors
/// The connection broke, or what came is no reply or larger than any that was asked for.
pub(super) async fn read(stream: &mut (impl AsyncBufRead + Unpin + Send)) -> io::Result<Reply> {
    let mut budget = Budget {
        bytes: REPLY_BYTES_MAX,
        elements: ELEMENTS_MAX,
    };
    // Lists that are being filled, each with the number of elements that are to come.
    let mut open: Vec<(Vec<Reply>, usize)> = Vec::new();
    loop {
        let mut reply = match read_one(stream, &mut budget).await? {
            Begun::Whole(reply) => reply,
            Begun::List(0) => Reply::List(Vec::new()),
            Begun::List(_) if open.len() == DEPTH_MAX => return Err(broken("lists too deep")),
            Begun::List(count) => {
                open.push((Vec::new(), count));
                continue;
            }
        };
        loop {
            let Some((list, count)) = open.last_mut() else {
                return Ok(reply);
            };
            list.push(reply);
            if list.len() < *count {
                break;
            }
            let (list, _) = open.pop().unwrap_or_default();
            reply = Reply::List(list);
        }
    }
}

enum Begun {
    Whole(Reply),
    List(usize),
}

async fn read_one(
    stream: &mut (impl AsyncBufRead + Unpin + Send),
    budget: &mut Budget,
) -> io::Result<Begun> {
    budget.elements = budget
        .elements
        .checked_sub(1)
        .ok_or_else(|| broken("too many elements"))?;
    let mut line = Vec::new();
    (&mut *stream)
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line
        .strip_suffix(b"\r\n")
        .ok_or_else(|| broken("a line without an end"))?;
    let (kind, rest) = line.split_first().ok_or_else(|| broken("an empty line"))?;
    let number = || {
        let text = std::str::from_utf8(rest).ok();
        let number = text.and_then(|text| text.parse::<i64>().ok());
        number.ok_or_else(|| broken("no number"))
    };
    Ok(match kind {
        b'+' => Begun::Whole(Reply::Text(rest.to_vec())),
        b'-' => Begun::Whole(Reply::Error(String::from_utf8_lossy(rest).into_owned())),
        b':' => Begun::Whole(Reply::Number(number()?)),
        b'$' => match usize::try_from(number()?) {
            Err(_) => Begun::Whole(Reply::Nothing),
            Ok(length) => {
                let left = budget.bytes.checked_sub(length);
                budget.bytes = left.ok_or_else(|| broken("a reply too large"))?;
                let kept = length <= BULK_BYTES_MAX;
                if !kept {
                    let mut value = (&mut *stream).take(length as u64);
                    tokio::io::copy_buf(&mut value, &mut tokio::io::sink()).await?;
                }
                let mut bytes = vec![0; if kept { length } else { 0 } + 2];
                stream.read_exact(&mut bytes).await?;
                if !bytes.ends_with(b"\r\n") {
                    return Err(broken("a value without an end"));
                }
                bytes.truncate(bytes.len() - 2);
                Begun::Whole(if kept {
                    Reply::Text(bytes)
                } else {
                    Reply::TooLarge
                })
            }
        },
        b'*' => match usize::try_from(number()?) {
            Err(_) => Begun::Whole(Reply::Nothing),
            Ok(count) if count > budget.elements => return Err(broken("a list too long")),
            Ok(count) => Begun::List(count),
        },
        _ => return Err(broken("no reply")),
    })
}

/// Writes a command as a list of values.
pub(super) fn write(words: &[&[u8]], to: &mut Vec<u8>) {
    to.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        to.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        to.extend_from_slice(word);
        to.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> io::Result<Reply> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(read(&mut text.as_bytes()))
    }

    fn text(text: &str) -> Reply {
        Reply::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn replies() {
        for (wire, expected) in [
            ("+OK\r\n", text("OK")),
            ("$0\r\n\r\n", text("")),
            ("$4\r\na\r\nb\r\n", text("a\r\nb")),
            (":-7\r\n", Reply::Number(-7)),
            ("$-1\r\n", Reply::Nothing),
            ("*-1\r\n", Reply::Nothing),
            ("*0\r\n", Reply::List(vec![])),
            ("-OOM no room\r\n", Reply::Error("OOM no room".to_owned())),
            (
                "*2\r\n*1\r\n:1\r\n*2\r\n+a\r\n*0\r\n",
                Reply::List(vec![
                    Reply::List(vec![Reply::Number(1)]),
                    Reply::List(vec![text("a"), Reply::List(vec![])]),
                ]),
            ),
        ] {
            assert_eq!(reply(wire).expect("a reply"), expected, "{wire:?}");
        }
    }

    #[test]
    fn a_value_too_large_is_read_over() {
        let wire = format!(
            "*2\r\n${0}\r\n{1}\r\n:7\r\n",
            BULK_BYTES_MAX + 1,
            "x".repeat(BULK_BYTES_MAX + 1)
        );
        let expected = Reply::List(vec![Reply::TooLarge, Reply::Number(7)]);
        assert_eq!(reply(&wire).expect("a reply"), expected);
    }

    #[test]
    fn what_is_no_reply_or_too_large_is_an_error() {
        let deep = "*1\r\n".repeat(DEPTH_MAX + 1);
        let long = format!("+{}\r\n", "a".repeat(5000));
        for wire in [
            "",
            "+OK",
            "+OK\n",
            "OK\r\n",
            ":\r\n",
            ":1x\r\n",
            "$3\r\nab",
            "$1\r\nabc\r\n",
            "$999999999999\r\n",
            "*999999999999\r\n",
            "*1\r\n",
            "HTTP/1.1 400\r\n",
            &deep,
            &long,
        ] {
            assert!(reply(wire).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn any_bytes_are_a_reply_or_none() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        crate::fuzz::target("resp", |mut bytes| {
            let _ = runtime.block_on(read(&mut bytes));
        });
    }
}
