//! The sweep: what became of branches that have been open for long?
//!
//! ```text
//! an open barrier row, ten minutes old ──▶ the coordinator of its store is asked
//!    unfinished                      left alone: its phase two is still to come
//!    committed and ended             AT: a leftover, deleted. Saga: has done its work, deleted.
//!                                    TCC: a promise broken
//!    rolled back and ended           a promise broken ┐
//!    unknown, expired, foreign       state lost       ┴ nothing is touched: a person is told
//! ```
//!
//! Never by age alone: an open row is the only evidence of what a branch did, and the branch may wait
//! for a resource that is away, or for a person. A coordinator that does not answer ends the round,
//! and the same rows are looked at again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{ResourceId, StoreId, Xid};
use pactum_core::time::WallTime;
use tracing::{debug, info, warn};

use super::leftovers::{OldRow, Page, Place, open_before};
use super::{FindError, Mode, State, delete_open, find};
use crate::branch::BranchKey;
use crate::branch::fate::{EXPIRED, FOREIGN, Fate, LOST};
use crate::db::{DbError, LocalDatabase};
use crate::link::Link;
use crate::session::CallError;

/// From which age on a row is asked about. 10 min: ten times the default timeout, so that what is in
/// good order is hardly ever asked about.
const SWEEP_AFTER: Duration = Duration::from_secs(600);
/// Rows of one round, so that a database full of leftovers does not flood the coordinator.
pub(crate) const SWEPT_ROWS_MAX: usize = 100;

/// Looks through the open rows of a database, some in each round.
pub(crate) struct Sweeper {
    pub(crate) database: Arc<dyn LocalDatabase>,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) resource: ResourceId,
    pub(crate) mode: Mode,
    pub(crate) wall: fn() -> WallTime,
    /// The last row of the round before; the next one follows it.
    pub(crate) after: Option<Place>,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) seen: usize,
    pub(crate) deleted: usize,
    /// Rows that a person must look at.
    pub(crate) told: usize,
}

/// Why a round ended early. The next one begins with the same rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error("look through the barrier rows")]
    Db(#[from] DbError),
    #[error("ask the coordinator what became of them")]
    Call(#[from] CallError),
}

/// What is to become of an open row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Its phase two is still to come.
    Leave,
    Delete,
    /// It should not be there, and why.
    Amiss(&'static str),
}

const NEVER_UNDONE: &str = "its transaction is rolled back and ended, and it was never undone";
const NEVER_CONFIRMED: &str = "its transaction is committed and ended, and it was never confirmed";
const MALFORMED: &str = "somebody changed whose it is";

impl Sweeper {
    /// One round, which goes on where the last one ended, and after the youngest row begins again.
    pub(crate) async fn round(&mut self) -> Result<Swept, SweepError> {
        let Page { rows, is_last } = self.old_rows().await?;
        let mut fates = BTreeMap::new();
        let mut committed: BTreeMap<StoreId, Vec<BranchKey>> = BTreeMap::new();
        let mut swept = Swept { seen: rows.len(), ..Swept::default() };
        for OldRow { place, owner } in &rows {
            let Some((key, store)) = owner else {
                swept.told += 1;
                self.tell(place, MALFORMED);
                continue;
            };
            match judge(self.mode, self.fate(&mut fates, &key.xid, *store).await?) {
                Verdict::Leave => {}
                Verdict::Delete => committed.entry(*store).or_default().push(key.clone()),
                // It may have been settled between the look and the answer.
                Verdict::Amiss(why) if self.is_open(key).await? => {
                    swept.told += 1;
                    self.tell(place, why);
                }
                Verdict::Amiss(_) => {}
            }
        }
        for (store, keys) in &committed {
            swept.deleted += self.delete(*store, keys).await?;
        }
        self.after = rows.last().map(|row| row.place.clone()).filter(|_| !is_last);
        Ok(swept)
    }

    async fn old_rows(&self) -> Result<Page, DbError> {
        let before = (self.wall)().earlier_by(SWEEP_AFTER);
        let mut local = self.database.begin().await?;
        let page = open_before(&mut *local, self.mode, before, self.after.as_ref(), SWEPT_ROWS_MAX);
        let page = page.await?;
        local.rollback().await;
        Ok(page)
    }

    /// Asks once a transaction.
    async fn fate(
        &self,
        known: &mut BTreeMap<(Xid, StoreId), Fate>,
        xid: &Xid,
        store: StoreId,
    ) -> Result<Fate, CallError> {
        let place = (xid.clone(), store);
        if let Some(fate) = known.get(&place) {
            return Ok(*fate);
        }
        let fate = Fate::read(self.link.outcome_of(xid, store).await)?;
        known.insert(place, fate);
        Ok(fate)
    }

    async fn is_open(&self, key: &BranchKey) -> Result<bool, DbError> {
        let mut local = self.database.begin().await?;
        let found = find(&mut *local, key).await;
        local.rollback().await;
        match found {
            Ok(row) => Ok(row.is_some_and(|row| row.state == State::Open)),
            Err(FindError::Malformed) => Ok(true),
            Err(FindError::Db(error)) => Err(error),
        }
    }

    async fn delete(&self, store: StoreId, keys: &[BranchKey]) -> Result<usize, DbError> {
        let mut local = self.database.begin().await?;
        let left = delete_open(&mut *local, store, self.mode, keys).await?;
        local.commit().await?;
        let deleted = keys.len() - left.len();
        match self.mode {
            Mode::Saga | Mode::Xa => debug!(txn.resource = %self.resource, rows = deleted,
                "steps of committed transactions are deleted"),
            Mode::At | Mode::Tcc => info!(txn.resource = %self.resource, rows = deleted,
                "undo logs of committed transactions were left over, and are deleted"),
        }
        Ok(deleted)
    }

    fn tell(&self, row: &Place, why: &str) {
        match self.mode {
            Mode::At => warn!(txn.resource = %self.resource, branch = %row, why,
                "an undo log is open that should not be: its rows were neither confirmed nor restored, \
                 so compare them with what `pactum tx show` reads from it, put them right by hand, and \
                 then delete its row from pactum_barrier"),
            Mode::Tcc | Mode::Saga | Mode::Xa => {
                warn!(txn.resource = %self.resource, branch = %row, why,
                "a branch is open that should not be: it was neither confirmed nor undone, so look at \
                 what the body of its row in pactum_barrier says, settle it by hand, and then delete \
                 the row")
            }
        }
    }
}

fn judge(mode: Mode, fate: Fate) -> Verdict {
    match fate {
        Fate::Undecided | Fate::Committing | Fate::RollingBack => Verdict::Leave,
        Fate::Committed => match mode {
            Mode::At | Mode::Saga | Mode::Xa => Verdict::Delete,
            Mode::Tcc => Verdict::Amiss(NEVER_CONFIRMED),
        },
        Fate::RolledBack => Verdict::Amiss(NEVER_UNDONE),
        // A branch is registered before it commits.
        Fate::Unrecorded | Fate::Unknown => Verdict::Amiss(LOST),
        Fate::Expired => Verdict::Amiss(EXPIRED),
        Fate::Foreign => Verdict::Amiss(FOREIGN),
    }
}
