//! The purge of TCC and saga rows that are used up.
//!
//! ```text
//! spent, undone, tombstone; older than `barrier_keep` ──▶ the coordinator of its store is asked
//!    ended, or ended longer ago than its history reaches    deleted
//!    unfinished                                             kept: a repeat may still come
//!    spent, and its transaction rolled back                 kept, and a person is told
//!    unknown, foreign                                       kept: whose it is cannot be told
//! ```
//!
//! Easy to get wrong: age alone. A transaction may wait for days for another resource or for a person,
//! and as long as its phase two may come again, this row is what keeps it from taking effect twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pactum_core::id::{ResourceId, StoreId, Xid};
use pactum_core::time::WallTime;
use tracing::{debug, warn};

use super::leftovers::{OldRow, Page, Place, old};
use super::sweep::SweepError;
use super::{Mode, State, delete_settled};
use crate::branch::BranchKey;
use crate::branch::fate::Fate;
use crate::db::{DbError, LocalDatabase};
use crate::link::Link;
use crate::session::CallError;

/// Rows that are looked at and deleted together: the writer is never held for long.
const PAGE_ROWS: usize = 500;
/// Questions to the coordinator at a time. 32: they cross the wire together, and beside what the
/// application asks they are few.
const QUESTIONS_AT_ONCE: usize = 32;

/// Removes what is used up, old, and of an ended transaction.
pub(crate) struct Purger {
    pub(crate) database: Arc<dyn LocalDatabase>,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) resource: ResourceId,
    pub(crate) wall: fn() -> WallTime,
    pub(crate) keep: Duration,
}

impl Purger {
    /// Looks through all used-up rows of TCC and saga once, and returns how many it removed.
    pub(crate) async fn round(&self) -> Result<u64, SweepError> {
        let mut purged = 0;
        for mode in [Mode::Tcc, Mode::Saga] {
            for state in [State::Spent, State::Undone, State::Tombstone] {
                purged += self.rows(mode, state).await?;
            }
        }
        Ok(purged)
    }

    async fn rows(&self, mode: Mode, state: State) -> Result<u64, SweepError> {
        let (mut purged, mut after) = (0, None);
        loop {
            let Page { rows, is_last } = self.page(mode, state, after.as_ref()).await?;
            let fates = self.fates(&rows).await?;
            let mut ended = Vec::new();
            for OldRow { place, owner } in &rows {
                let Some((key, store)) = owner else { continue };
                match (fates.get(&(key.xid.clone(), *store)), state) {
                    (Some(Fate::RolledBack | Fate::Unrecorded), State::Spent) => {
                        warn!(txn.resource = %self.resource, branch = %place,
                            "a branch is confirmed, and its transaction rolled back: settle it by hand, \
                             and then delete its row from pactum_barrier");
                    }
                    (
                        Some(Fate::Committed | Fate::RolledBack | Fate::Unrecorded | Fate::Expired),
                        _,
                    ) => ended.push(key.clone()),
                    (Some(Fate::Undecided | Fate::Committing | Fate::RollingBack), _) => {}
                    (Some(Fate::Unknown | Fate::Foreign) | None, _) => {
                        debug!(txn.resource = %self.resource, branch = %place,
                            "a used-up barrier row stays: its coordinator does not know it");
                    }
                }
            }
            purged += self.delete(&ended).await?;
            after = rows.last().map(|row| row.place.clone());
            if is_last {
                return Ok(purged);
            }
        }
    }

    async fn page(&self, mode: Mode, state: State, after: Option<&Place>) -> Result<Page, DbError> {
        let before = (self.wall)().earlier_by(self.keep);
        let mut local = self.database.begin().await?;
        let page = old(&mut *local, (mode, state), before, after, PAGE_ROWS).await?;
        local.rollback().await;
        Ok(page)
    }

    /// Asks once a transaction.
    async fn fates(&self, rows: &[OldRow]) -> Result<BTreeMap<(Xid, StoreId), Fate>, CallError> {
        let owners = rows.iter().filter_map(|row| row.owner.as_ref());
        let asked: std::collections::BTreeSet<(Xid, StoreId)> =
            owners.map(|(key, store)| (key.xid.clone(), *store)).collect();
        let ask = |(xid, store): (Xid, StoreId)| async move {
            let fate = Fate::read(self.link.outcome_of(&xid, store).await)?;
            Ok::<_, CallError>(((xid, store), fate))
        };
        stream::iter(asked).map(ask).buffer_unordered(QUESTIONS_AT_ONCE).try_collect().await
    }

    async fn delete(&self, keys: &[BranchKey]) -> Result<u64, DbError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut local = self.database.begin().await?;
        let deleted = delete_settled(&mut *local, keys).await?;
        local.commit().await?;
        Ok(deleted)
    }
}
