//! Telling the other replicas what was changed here, and keeping the server's hash as long as the list.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::entry::{CHANGE, EntryId, entry_id, new_entry};
use super::link::{FeedError, Link, REPLY_MAX};
use super::resp::Reply;
use super::{AGAIN, HELD_BACK, Keeper, Never};
use crate::revocation::{Place, Revocations, Untold};

/// Changes that are told at once.
const TOLD_MAX: usize = 100;
/// How often the two lists' lengths are compared.
const COUNTED_EVERY: Duration = Duration::from_secs(5);
/// How often it is written down, for the time after a restart, that the list is whole.
const NOTED_EVERY: Duration = Duration::from_secs(60);
/// What ends before this may have been forgotten by others already, whose clocks are not ours.
const ENDS_SOON: Duration = Duration::from_secs(300);
/// How many times in a row they must differ: a change may be on its way.
const DIFFERS_MAX: u32 = 2;
/// Fields that are removed from the hash at once.
const REMOVED_MAX: usize = 500;

impl Keeper {
    /// Tells the others what was changed here.
    pub(super) async fn tell(
        &self,
        link: &mut Link,
        mut behind: watch::Receiver<EntryId>,
        over: &mut mpsc::Receiver<Uuid>,
    ) -> Result<Never, FeedError> {
        let mut changes = self.list.changes();
        let mut refused = false;
        let mut from = Some(Place::new());
        let mut note_at = tokio::time::Instant::now();
        let mut count_at = tokio::time::Instant::now() + COUNTED_EVERY;
        let mut differs = 0;
        loop {
            if from.is_none() {
                let wait = if differs > 0 { AGAIN.0 } else { HELD_BACK };
                tokio::select! {
                    _ = changes.changed() => {}
                    () = self.mark_seen.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
                if refused {
                    tokio::time::sleep(AGAIN.0).await;
                }
            }
            changes.mark_unchanged();
            let place = from.take().unwrap_or_default();
            let max = TOLD_MAX.min(self.at_once.load(Ordering::Relaxed));
            let telling = self.with_list(move |list| list.untold(&place, max));
            let (untold, next) = telling.await?;
            if untold.is_empty() {
                self.sweep(link, over).await?;
                let marked = self.marked.swap(false, Ordering::Relaxed);
                if marked || tokio::time::Instant::now() >= count_at {
                    // Where it differs it is looked at again at once.
                    count_at = tokio::time::Instant::now() + COUNTED_EVERY;
                    if count_at >= note_at {
                        note_at = count_at + NOTED_EVERY;
                        self.with_list(Revocations::note_heard).await?;
                    }
                    differs = match self.has_all(link).await? {
                        true => 0,
                        false => differs + 1,
                    };
                    self.marked
                        .fetch_or(marked && differs > 0, Ordering::Relaxed);
                    if differs == DIFFERS_MAX {
                        return Err(FeedError::Differs);
                    }
                }
                continue;
            }
            match self.publish(link, &untold).await {
                Ok(id) => {
                    (refused, from) = (false, next);
                    self.feed()?.refuses(None);
                    let passing = behind.wait_for(|passed| *passed >= id);
                    let passing = tokio::time::timeout(2 * REPLY_MAX, passing).await;
                    // Its sender lives as long as this.
                    let _ = passing.map_err(|_| FeedError::Timeout)?;
                }
                // It has no room, or may not be written to. What others write is read on.
                Err(FeedError::Refused(why)) => {
                    self.feed()?
                        .refuses(Some(&format!("the server takes nothing: {why}")));
                    if !refused {
                        tracing::error!(error = why, "the feed takes no revocations; they wait");
                    }
                    refused = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes changes to the stream and to the hash, all or none; gives the id of the last entry.
    async fn publish(&self, link: &mut Link, untold: &[Untold]) -> Result<EntryId, FeedError> {
        let (stream, all) = (self.settings.stream.as_bytes(), self.all.as_bytes());
        let text = |version: Uuid| version.to_string().into_bytes();
        let mut told = Vec::new();
        for it in untold {
            told.push((text(it.change.held.version), it.change.to_bytes()?));
        }
        let known: Vec<_> = untold.iter().filter_map(|it| it.known.map(text)).collect();
        let mut commands: Vec<Vec<&[u8]>> = Vec::new();
        if !known.is_empty() {
            let mut remove: Vec<&[u8]> = vec![b"HDEL", all];
            remove.extend(known.iter().map(Vec::as_slice));
            commands.push(remove);
        }
        let mut set: Vec<&[u8]> = vec![b"HSET", all];
        for (version, change) in &told {
            set.extend([version.as_slice(), change.as_slice()]);
        }
        commands.push(set);
        for (_, change) in &told {
            commands.push(new_entry(stream, CHANGE, change).to_vec());
        }
        let last = link.all_or_none(&commands).await?.pop();
        last.and_then(entry_id)
            .and_then(|id| EntryId::parse(&id))
            .ok_or(FeedError::Senseless)
    }

    /// Takes from the hash what nobody needs any more.
    async fn sweep(
        &self,
        link: &mut Link,
        over: &mut mpsc::Receiver<Uuid>,
    ) -> Result<(), FeedError> {
        let mut versions = Vec::new();
        while let Ok(version) = over.try_recv() {
            versions.push(version);
            if versions.len() == REMOVED_MAX {
                break;
            }
        }
        self.remove(link, &versions).await
    }

    pub(super) async fn remove(&self, link: &mut Link, versions: &[Uuid]) -> Result<(), FeedError> {
        let fields = versions.iter().map(|it| it.to_string().into_bytes());
        self.remove_fields(link, &fields.collect::<Vec<_>>()).await
    }

    pub(super) async fn remove_fields(
        &self,
        link: &mut Link,
        fields: &[Vec<u8>],
    ) -> Result<(), FeedError> {
        let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
        if !fields.is_empty() {
            let words: [&[u8]; 2] = [b"HDEL", self.all.as_bytes()];
            link.ask(&[&words, fields.as_slice()].concat()).await?;
        }
        Ok(())
    }

    /// How many states the hash holds.
    pub(super) async fn length(&self, link: &mut Link) -> Result<u64, FeedError> {
        match link.ask(&[b"HLEN", self.all.as_bytes()]).await? {
            Reply::Number(there) => Ok(u64::try_from(there).unwrap_or(0)),
            _ => Err(FeedError::Senseless),
        }
    }

    /// Whether the hash may hold all that the list does: it has not fewer states.
    async fn has_all(&self, link: &mut Link) -> Result<bool, FeedError> {
        let there = self.length(link).await?;
        let after = self.now().plus(ENDS_SOON);
        let here = self.with_list(move |list| list.told_states(after)).await?;
        Ok(here.is_none_or(|here| here <= there))
    }
}
