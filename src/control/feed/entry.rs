//! Entries of the stream, and their ids.

use super::link::FeedError;
use super::resp::Reply;

/// The field of an entry that holds a change.
pub(super) const CHANGE: &[u8] = b"change";

/// Entries that the stream keeps, about: a replica that was away while more came compares all.
const ENTRIES_MAX: &[u8] = b"100000";

/// The command that writes an entry with one field.
pub(super) const fn new_entry<'a>(
    stream: &'a [u8],
    field: &'a [u8],
    value: &'a [u8],
) -> [&'a [u8]; 8] {
    [
        b"XADD",
        stream,
        b"MAXLEN",
        b"~",
        ENTRIES_MAX,
        b"*",
        field,
        value,
    ]
}

/// The id of an entry: it orders the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId(u64, u64);

impl EntryId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (time, sequence) = text.split_once('-')?;
        Some(Self(time.parse().ok()?, sequence.parse().ok()?))
    }
}

/// An entry: its id, and the change in it. Other fields are others' business.
pub(super) type Entry = (String, Option<Vec<u8>>);

pub(super) fn entry_id(reply: Reply) -> Option<String> {
    match reply {
        Reply::Text(id) => String::from_utf8(id).ok(),
        _ => None,
    }
}

/// The entries of a reply.
pub(super) fn entries(reply: Reply) -> Result<Vec<Entry>, FeedError> {
    let Reply::List(entries) = reply else {
        return Err(FeedError::Senseless);
    };
    let entry = |entry| match entry {
        Reply::List(mut entry) if entry.len() == 2 => {
            let fields = entry.pop()?;
            let id = entry.pop().and_then(entry_id)?;
            Some((id, change_of(fields)))
        }
        _ => None,
    };
    let entries: Option<_> = entries.into_iter().map(entry).collect();
    entries.ok_or(FeedError::Senseless)
}

fn change_of(fields: Reply) -> Option<Vec<u8>> {
    let Reply::List(fields) = fields else {
        return None;
    };
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if name == Reply::Text(CHANGE.to_vec()) {
            return Some(value.into_text());
        }
    }
    None
}
