//! Comparing the whole list with the server's: after a gap, and on the first meeting.
//!
//! An entry of one's own marks the place in the stream from which all will be read; every change
//! before it stands in the hash by then. What the hash lacks is told; what nobody needs any more is
//! removed from it.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Keeper;
use super::entry::{entry_id, new_entry};
use super::link::{FeedError, Link};
use super::resp::Reply;
use crate::revocation::{Revocations, Unreadable};

/// What a replica without a list waits where the server has none either.
const EMPTY_WAIT: Duration = Duration::from_secs(1);

impl Keeper {
    /// Compares everything; gives the id from which the stream is to be read.
    pub(super) async fn resync(&self, link: &mut Link) -> Result<String, FeedError> {
        let (stream, all) = (self.settings.stream.as_bytes(), self.all.as_bytes());
        let began = self.now();
        let mark = new_entry(stream, b"mark", b"");
        let mark = entry_id(link.ask(&mark).await?).ok_or(FeedError::Senseless)?;
        let mut known = HashSet::new();
        let mut at = b"0".to_vec();
        loop {
            let count = self.at_once.load(Ordering::Relaxed).to_string();
            let scan: [&[u8]; 5] = [b"HSCAN", all, &at, b"COUNT", count.as_bytes()];
            let (next, fields) = match link.ask(&scan).await? {
                Reply::List(mut reply) if reply.len() == 2 => match (reply.pop(), reply.pop()) {
                    (Some(Reply::List(fields)), Some(Reply::Text(next))) => (next, fields),
                    _ => return Err(FeedError::Senseless),
                },
                _ => return Err(FeedError::Senseless),
            };
            let (mut changes, mut damaged) = (Vec::new(), Vec::new());
            let mut fields = fields.into_iter();
            while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
                match self.readable(&value.into_text()) {
                    Ok(change) => changes.push(change),
                    Err(Unreadable::Damaged) => damaged.push(name.into_text()),
                    Err(Unreadable::Unknown) => {}
                }
            }
            // Whoever has them finds that the hash is shorter than the list, and tells them again.
            self.remove_fields(link, &damaged).await?;
            known.extend(changes.iter().map(|change| change.held.version));
            let over = self.merge(changes, None).await?.over;
            self.remove(link, &over).await?;
            if next == b"0" {
                break;
            }
            at = next;
        }
        if known.is_empty() && self.with_list(Revocations::cursor).await?.is_none() {
            // An empty hash may be one that was lost a moment ago: whoever has the list looks when it
            // reads the mark, and brings it back.
            tokio::time::sleep(EMPTY_WAIT).await;
            if self.length(link).await? > 0 {
                return Err(FeedError::Differs);
            }
        }
        self.with_list(move |list| list.tell_unknown(&known))
            .await?;
        self.merge(Vec::new(), Some(mark.clone())).await?;
        tracing::info!("the list of revocations was compared with the feed's");
        self.feed()?.heard(began);
        Ok(mark)
    }
}
