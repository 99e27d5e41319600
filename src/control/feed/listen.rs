//! Hearing what the other replicas have changed.

use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::entry::{EntryId, entries};
use super::link::{FeedError, Link, REPLY_MAX};
use super::{HELD_BACK, Keeper, Never};
use crate::revocation::{Change, Unreadable};

impl Keeper {
    /// Reads what the others write.
    pub(super) async fn listen(
        &self,
        link: &mut Link,
        mut cursor: String,
        passed: watch::Sender<EntryId>,
    ) -> Result<Never, FeedError> {
        let stream = self.settings.stream.as_bytes();
        let held_back = HELD_BACK.as_millis().to_string();
        let mut connected = false;
        loop {
            let asked_at = self.gateway.clock.now();
            let at_once = self.at_once.load(Ordering::Relaxed);
            let count = (at_once + 1).to_string();
            let range: [&[u8]; 6] = [
                b"XRANGE",
                stream,
                cursor.as_bytes(),
                b"+",
                b"COUNT",
                count.as_bytes(),
            ];
            let entries = entries(link.ask(&range).await?)?;
            let is_all = entries.len() <= at_once;
            let mut entries = entries.into_iter();
            // The last one that was read must still be there, or more than it may have gone.
            match entries.next() {
                Some((id, _)) if id == cursor => {}
                _ => return Err(FeedError::Gap),
            }
            let mut changes = Vec::new();
            let (mut last, mut damaged) = (None, false);
            for (id, change) in entries {
                match change.map(|change| self.readable(&change)) {
                    Some(Ok(change)) => changes.push(change),
                    Some(Err(Unreadable::Damaged)) => damaged = true,
                    Some(Err(Unreadable::Unknown)) => {}
                    // Somebody compares the whole list: is it there?
                    None => {
                        self.marked.store(true, Ordering::Relaxed);
                        self.mark_seen.notify_one();
                    }
                }
                last = Some(id);
            }
            if let Some(id) = last {
                for version in self.merge(changes, Some(id.clone())).await?.over {
                    // When too many wait, a later comparison finds them.
                    let _ = self.over.try_send(version);
                }
                passed.send_replace(EntryId::parse(&id).ok_or(FeedError::Senseless)?);
                cursor = id;
                if damaged {
                    // The hash has it too.
                    return Err(FeedError::Damaged);
                }
                if !is_all {
                    continue;
                }
            }
            self.faster();
            // Whatever was there when it was asked is known.
            self.feed()?.heard(asked_at);
            if !connected {
                connected = true;
                tracing::info!("the feed of revocations is connected");
            }
            let wait: [&[u8]; 8] = [
                b"XREAD",
                b"COUNT",
                b"1",
                b"BLOCK",
                held_back.as_bytes(),
                b"STREAMS",
                stream,
                cursor.as_bytes(),
            ];
            link.ask_within(&wait, HELD_BACK + REPLY_MAX).await?;
        }
    }

    pub(super) fn readable(&self, bytes: &[u8]) -> Result<Change, Unreadable> {
        let change = Change::read(bytes);
        if change.is_err() {
            let unreadable = self.list.feed().map(|feed| &feed.unreadable);
            let count = unreadable.map(|it| it.fetch_add(1, Ordering::Relaxed));
            if count == Some(0) {
                tracing::error!(
                    "the feed of revocations has an entry that cannot be read; it is left out"
                );
            }
        }
        change
    }
}
