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
use pactum_core::xa::Asked;
use tracing::{info, warn};

use super::name::Name;
use super::prepared::{Prepared, Settled, Unsettled};
use crate::barrier::leftovers::{Page, Place, open_before};
use crate::barrier::{self, Mode};
use crate::branch::BranchKey;
use crate::branch::fate::{EXPIRED, FOREIGN, Fate, LOST};
use crate::db::DbError;
use crate::link::Link;
use crate::session::CallError;

/// Prepared transactions, and barrier rows, that one round asks about.
pub(super) const ROUND_MAX: usize = 1000;

/// Looks after one database.
pub(crate) struct Janitor {
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
                // A delegated branch is the one that decides.
                Fate::Undecided => continue,
                Fate::Committing | Fate::Committed => Ok(Asked::Commit),
                Fate::RollingBack | Fate::RolledBack => Ok(Asked::Rollback),
                // A branch is registered before anything of it runs.
                Fate::Unrecorded | Fate::Unknown => Err(LOST),
                Fate::Expired => Err(EXPIRED),
                Fate::Foreign => Err(FOREIGN),
            };
            let asked = match asked {
                Ok(asked) => asked,
                Err(why) => {
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
        let before = (self.prepared.wall)().earlier_by(self.barrier_keep);
        let mut local = self.prepared.database.begin().await?;
        let page = open_before(&mut *local, Mode::Xa, before, self.after.as_ref(), ROUND_MAX).await;
        local.rollback().await;
        let Page { rows, is_last } = page?;
        let mut ended: Vec<(StoreId, BranchKey)> = Vec::new();
        for row in &rows {
            let Some((key, store)) = &row.owner else { continue };
            match self.fate(&key.xid, *store).await? {
                // Nobody will ask for it any more.
                Fate::Committed | Fate::RolledBack | Fate::Expired => {
                    ended.push((*store, key.clone()));
                }
                Fate::Undecided
                | Fate::Committing
                | Fate::RollingBack
                | Fate::Unrecorded
                | Fate::Unknown
                | Fate::Foreign => {}
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
        Fate::read(self.link.outcome_of(xid, store).await)
    }
}
