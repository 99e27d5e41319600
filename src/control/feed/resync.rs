//! Comparing the whole list with the server's: after a gap, and on the first meeting.
//!
//! An entry of one's own marks the place in the stream from which all will be read; every change
//! before it stands in the hash by then. What the hash lacks is told; what nobody needs any more is
//! removed from it.

use std::collections::HashSet;

use super::entry::entry_id;
use super::link::{FeedError, Link};
use super::resp::Reply;
use super::{Keeper, STREAM_ENTRIES};

/// Fields of the hash that are asked for at once.
const SCANNED: &[u8] = b"500";

impl Keeper {
    /// Compares everything; gives the id from which the stream is to be read.
    pub(super) async fn resync(&self, link: &mut Link) -> Result<String, FeedError> {
        let (stream, all) = (self.settings.stream.as_bytes(), self.all.as_bytes());
        let began = self.now();
        let mark: [&[u8]; 8] = [
            b"XADD",
            stream,
            b"MAXLEN",
            b"~",
            STREAM_ENTRIES,
            b"*",
            b"mark",
            b"",
        ];
        let mark = entry_id(link.ask(&mark).await?).ok_or(FeedError::Senseless)?;
        let mut known = HashSet::new();
        let mut at = b"0".to_vec();
        loop {
            let scan: [&[u8]; 5] = [b"HSCAN", all, &at, b"COUNT", SCANNED];
            let (next, fields) = match link.ask(&scan).await? {
                Reply::List(mut reply) if reply.len() == 2 => match (reply.pop(), reply.pop()) {
                    (Some(Reply::List(fields)), Some(Reply::Text(next))) => (next, fields),
                    _ => return Err(FeedError::Senseless),
                },
                _ => return Err(FeedError::Senseless),
            };
            let mut changes = Vec::new();
            let mut names = Vec::new();
            let mut fields = fields.into_iter();
            while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
                let (Reply::Text(name), Reply::Text(value)) = (name, value) else {
                    return Err(FeedError::Senseless);
                };
                if let Some(change) = self.readable(&value) {
                    known.insert(change.held.version);
                    names.push((change.held.version, name));
                    changes.push(change);
                }
            }
            let over: HashSet<_> = self.merge(changes, None).await?.over.into_iter().collect();
            let names = names.iter().filter(|(version, _)| over.contains(version));
            let names: Vec<_> = names.map(|(_, name)| name.as_slice()).collect();
            self.remove(link, &names).await?;
            if next == b"0" {
                break;
            }
            at = next;
        }
        self.with_list(move |list| list.tell_unknown(&known))
            .await?;
        self.merge(Vec::new(), Some(mark.clone())).await?;
        tracing::info!("the list of revocations was compared with the feed's");
        self.feed()?.heard(began);
        Ok(mark)
    }
}
