//! The janitor: prepared transactions that stay behind, and barrier rows that nobody needs any more.
//!
//! ```text
//! listed, ours, and listed in the round before ──▶ the coordinator of its store is asked
//!    undecided                      left alone: its phase two is still to come
//!    committed or committing        committed        ┐ the same as phase two, which may come at the
//!    rolled back or rolling back    rolled back      ┘ same time
//!    unknown, expired, foreign      state lost: nothing is touched, a person is told
//!
//! an open barrier row, older than `barrier_keep` ──▶ deleted once its transaction has ended
//! ```
//!
//! Ours is what bears a name of our format and the mark of this database; everything else is never
//! looked at twice. A prepared transaction keeps its rows locked, so what stays behind is felt at once;
//! but age alone never decides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{ResourceId, StoreId, Xid};
use pactum_core::step::Outcome;
use pactum_core::time::WallTime;
use pactum_core::transaction::{RollbackCause, Status};
use pactum_core::xa::Asked;
use pactum_proto::v1::ErrorCode;
use tracing::{info, warn};

use super::name::Name;
use super::prepared::{Prepared, Settled, Unsettled};
use crate::barrier::leftovers::{Page, Place, open_before};
use crate::barrier::{self, Mode};
use crate::branch::BranchKey;
use crate::db::DbError;
use crate::link::Link;
use crate::session::CallError;

/// Prepared transactions, and barrier rows, that one round asks about.
pub(super) const ROUND_MAX: usize = 1000;

/// Looks after one database.
pub(super) struct Janitor {
    pub(super) prepared: Arc<Prepared>,
    pub(super) link: Arc<dyn Link>,
    pub(super) resource: ResourceId,
    pub(super) barrier_keep: Duration,
    /// What was listed in the round before. Phase two of what is new is on its way.
    pub(super) seen: BTreeSet<Name>,
    /// The last barrier row of the round before; the next one follows it.
    pub(super) after: Option<Place>,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tidied {
    pub(super) listed: usize,
    pub(super) finished: usize,
    /// Prepared transactions that a person must look at.
    pub(super) told: usize,
    /// Barrier rows that were deleted.
    pub(super) deleted: usize,
}

/// Why a round ended early. The next one begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum TidyError {
    #[error("look through the prepared transactions")]
    Db(#[from] DbError),
    #[error("ask the coordinator what became of them")]
    Call(#[from] CallError),
}

/// What the coordinator says of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Undecided,
    Commit {
        ended: bool,
    },
    Rollback {
        ended: bool,
    },
    /// It ended so long ago that nobody knows how.
    Expired,
    Amiss(&'static str),
}

const LOST: &str = "the coordinator knows nothing of its transaction: it lost state";
const FOREIGN: &str = "its transaction belongs to another coordinator's store";
const EXPIRED: &str = "its transaction ended longer ago than the coordinator's history reaches";

impl Janitor {
    pub(super) async fn round(&mut self) -> Result<Tidied, TidyError> {
        let mut tidied = Tidied::default();
        self.prepared(&mut tidied).await?;
        self.rows(&mut tidied).await?;
        Ok(tidied)
    }

    async fn prepared(&mut self, tidied: &mut Tidied) -> Result<(), TidyError> {
        let listed: BTreeSet<Name> = self.prepared.listed().await?.into_iter().collect();
        tidied.listed = listed.len();
        let before = std::mem::replace(&mut self.seen, listed);
        for name in self.seen.intersection(&before).take(ROUND_MAX) {
            let asked = match self.fate(&name.key.xid, name.store).await? {
                Fate::Undecided => continue,
                Fate::Commit { .. } => Asked::Commit,
                Fate::Rollback { .. } => Asked::Rollback,
                Fate::Expired => {
                    tidied.told += usize::from(self.tell(name, EXPIRED).await);
                    continue;
                }
                Fate::Amiss(why) => {
                    tidied.told += usize::from(self.tell(name, why).await);
                    continue;
                }
            };
            match self.prepared.settle(asked, name).await {
                Ok(Settled::Done) => {
                    tidied.finished += 1;
                    info!(txn.xid = %name.key.xid, txn.branch_id = %name.key.branch, ?asked,
                        "a prepared transaction was left over, and is finished as was decided");
                }
                Ok(settled @ (Settled::Failed | Settled::Heuristic(_))) => {
                    warn!(txn.xid = %name.key.xid, txn.branch_id = %name.key.branch, ?settled,
                        "a prepared transaction was finished otherwise than decided");
                }
                Err(Unsettled::Db(error)) => return Err(error.into()),
                Err(error @ (Unsettled::Kept | Unsettled::Tampered(_))) => {
                    warn!(txn.xid = %name.key.xid, txn.branch_id = %name.key.branch, %error,
                        "a prepared transaction could not be finished");
                }
            }
        }
        Ok(())
    }

    /// Tells a person, unless it was finished meanwhile.
    async fn tell(&self, name: &Name, why: &str) -> bool {
        let listed = self.prepared.listed().await.is_ok_and(|listed| listed.contains(name));
        if listed {
            warn!(txn.resource = %self.resource, txn.xid = %name.key.xid,
                txn.branch_id = %name.key.branch, why,
                "a prepared transaction cannot be finished by the agent, and keeps its rows locked: \
                 find out how the other branches of its transaction ended, and commit it or roll it \
                 back by hand");
        }
        listed
    }

    async fn rows(&mut self, tidied: &mut Tidied) -> Result<(), TidyError> {
        let keep = u64::try_from(self.barrier_keep.as_millis()).unwrap_or(u64::MAX);
        let before = WallTime((self.prepared.wall)().0.saturating_sub(keep));
        let mut local = self.prepared.database.begin().await?;
        let page = open_before(&mut *local, Mode::Xa, before, self.after.as_ref(), ROUND_MAX).await;
        local.rollback().await;
        let Page { rows, is_last } = page?;
        let mut ended: Vec<(StoreId, BranchKey)> = Vec::new();
        for row in &rows {
            let Some((key, store)) = &row.owner else { continue };
            match self.fate(&key.xid, *store).await? {
                // Nobody will ask for it any more.
                Fate::Commit { ended: true } | Fate::Rollback { ended: true } | Fate::Expired => {
                    ended.push((*store, key.clone()));
                }
                Fate::Undecided
                | Fate::Commit { ended: false }
                | Fate::Rollback { ended: false }
                | Fate::Amiss(_) => {}
            }
        }
        ended.sort_unstable();
        for of_store in ended.chunk_by(|a, b| a.0 == b.0) {
            let keys: Vec<BranchKey> = of_store.iter().map(|(_, key)| key.clone()).collect();
            let mut local = self.prepared.database.begin().await?;
            let left = barrier::delete_open(&mut *local, of_store[0].0, Mode::Xa, &keys).await?;
            local.commit().await?;
            tidied.deleted += keys.len() - left.len();
        }
        self.after = rows.last().map(|row| row.place.clone()).filter(|_| !is_last);
        Ok(())
    }

    async fn fate(&self, xid: &Xid, store: StoreId) -> Result<Fate, CallError> {
        judge(self.link.outcome_of(xid, store).await)
    }
}

fn judge(answer: Result<Outcome, CallError>) -> Result<Fate, CallError> {
    match answer {
        Ok(outcome) => Ok(match outcome.status {
            // A delegated branch is the one that decides.
            Status::Active | Status::Delegated => Fate::Undecided,
            Status::Committing => Fate::Commit { ended: false },
            Status::Committed => Fate::Commit { ended: true },
            // So it says where its store has no record, and a branch is registered before anything of
            // it runs.
            Status::RollingBack(RollbackCause::Unrecorded)
            | Status::RolledBack(RollbackCause::Unrecorded) => Fate::Amiss(LOST),
            Status::RollingBack(_) => Fate::Rollback { ended: false },
            Status::RolledBack(_) => Fate::Rollback { ended: true },
        }),
        Err(error) => match error.code() {
            Some(ErrorCode::UnknownTransaction) => Ok(Fate::Amiss(LOST)),
            Some(ErrorCode::Foreign) => Ok(Fate::Amiss(FOREIGN)),
            Some(ErrorCode::Expired) => Ok(Fate::Expired),
            // Whatever else it says, it does not say what became of it.
            Some(_) | None => Err(error),
        },
    }
}
