//! Phase two of AT: what the coordinator decided, done to the rows.
//!
//! A parked branch comes again with what an operator decided: look again, overwrite what is there with
//! the before images, or keep the rows as they are.
//!
//! Each answer is given after the local transaction that did the work has committed. Every task may
//! arrive again, and then finds its work done. A rollback that cannot be done exactly changes
//! nothing and parks the branch.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pactum_core::transaction::Resolution;
use pactum_proto::v1::{ParkReason, ParkReport};
use tracing::warn;

use super::report::Report;
use super::restore::{Dialect, DirtyRows, Stopped, restore};
use super::undo::{self, Unreadable};
use crate::barrier::{self, FindError, FoundRow, Mode, State};
use crate::branch::Environment;
use crate::branch::{Answer, BranchKey, Task, Work};
use crate::db::{DbError, Failure, LocalDatabase, LocalTransaction};
use crate::session::Participant;

/// When to come again to a database that somebody else is writing to. 100 ms: a few local
/// transactions.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How many rollbacks run side by side where the database has many writers. 4: enough that one which
/// waits for a row does not hold up the others, and few beside what serves the application.
const ROLLBACKS_AT_ONCE: u32 = 4;
/// What phase two needs of such a database: a connection for each rollback, one for the commits,
/// which must pass them, and one to look up what became of a local commit.
pub(super) const CONNECTIONS: u32 = ROLLBACKS_AT_ONCE + 2;

/// The largest undo log that is read, if none larger may be written. 64 MiB: a limit that was lowered
/// after a log was written must not keep it from being undone.
const READ_BYTES_MIN: usize = 64 << 20;

/// A database in AT mode, as the session calls it.
pub(super) struct AtParticipant {
    pub(super) database: Arc<dyn LocalDatabase>,
    pub(super) dialect: &'static dyn Dialect,
    pub(super) environment: Environment,
    /// How many local transactions may write at the same time.
    pub(super) writers: usize,
    /// The largest undo log that is written.
    pub(super) undo_log_bytes_max: usize,
}

/// What a piece of work ends with, before its local transaction does.
enum Verdict {
    /// Commit the local transaction, then answer.
    Keep(Answer),
    /// Leave the database as it was.
    Leave(Answer),
}

/// Dropped at an await, the local transaction under way rolls back, and the work is asked for again.
#[async_trait]
impl Participant for AtParticipant {
    fn rollbacks_at_once(&self) -> usize {
        self.writers.clamp(1, usize::try_from(ROLLBACKS_AT_ONCE).unwrap_or(1))
    }

    /// Deletes the undo logs of a batch with one statement.
    async fn commit(&self, mut batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        // In one order everywhere, so that two agents with the same work do not block each other.
        batch.sort_by(|a, b| (a.store, &a.key).cmp(&(b.store, &b.key)));
        let mut answers = Vec::with_capacity(batch.len());
        // Stores are never mixed in practice; each gets its own statement if they are.
        for works in batch.chunk_by(|a, b| a.store == b.store) {
            let keys: Vec<BranchKey> = works.iter().map(|work| work.key.clone()).collect();
            let left = self.delete_open(works[0].store, &keys).await;
            let left = left.map_err(|error| later(&error));
            answers.extend(works.iter().map(|work| {
                let answer = match &left {
                    Ok(left) if left.contains(&work.key) => committed_but_kept(work),
                    Ok(_) => Answer::Done,
                    Err(later) => later.clone(),
                };
                (work.key.clone(), answer)
            }));
        }
        answers
    }

    async fn settle(&self, work: Work) -> Answer {
        self.one(&work).await.unwrap_or_else(|error| later(&error))
    }
}

impl AtParticipant {
    async fn delete_open(
        &self,
        store: pactum_core::id::StoreId,
        keys: &[BranchKey],
    ) -> Result<Vec<BranchKey>, DbError> {
        // Each statement is whole by itself, and may be repeated.
        let mut alone = self.database.alone().await?;
        match barrier::delete_open(&mut *alone, store, Mode::At, keys).await {
            // The connection may have been gone before it was used: the long way tries others.
            Err(error) if error.failure == Failure::Other => drop(alone),
            deleted => return deleted,
        }
        let mut local = self.database.begin().await?;
        let left = barrier::delete_open(&mut *local, store, Mode::At, keys).await?;
        local.commit().await?;
        Ok(left)
    }

    async fn one(&self, work: &Work) -> Result<Answer, DbError> {
        // Rows may be locked or changed until a statement meets them: no opinion before.
        if work.task == Task::CanCommit {
            return Ok(Answer::Done);
        }
        let mut local = self.database.begin().await?;
        let found = match barrier::find(&mut *local, &work.key).await {
            Ok(found) => Ok(found),
            Err(FindError::Db(error)) => return Err(error),
            Err(FindError::Malformed) => Err("it has an unknown form"),
        };
        let verdict = match (work.task, work.resolution) {
            (Task::Rollback { .. }, Some(Resolution::Keep)) => {
                self.keep(&mut *local, work, found).await?
            }
            (
                Task::Rollback { .. }
                | Task::AskPhaseOne
                | Task::Commit
                | Task::CanCommit
                | Task::Act,
                _,
            ) => match found {
                Ok(found) => self.judge(&mut *local, work, found).await?,
                Err(why) => Verdict::Leave(tampered(why)),
            },
        };
        match verdict {
            Verdict::Leave(answer) => {
                local.rollback().await;
                Ok(answer)
            }
            Verdict::Keep(answer) => match local.commit().await {
                Ok(()) => Ok(answer),
                // Deferred keys of restored rows are looked at here.
                Err(error) if matches!(error.failure, Failure::Constraint | Failure::Unique) => {
                    Ok(refused(&error))
                }
                Err(error) => Err(error),
            },
        }
    }

    async fn judge(
        &self,
        local: &mut dyn LocalTransaction,
        work: &Work,
        found: Option<FoundRow>,
    ) -> Result<Verdict, DbError> {
        if let Some(row) = &found
            && !row.belongs_to(work.store, Mode::At)
        {
            let why = "it belongs to another coordinator's store or another mode";
            return Ok(Verdict::Leave(tampered(why)));
        }
        match (work.task, found) {
            (Task::Commit, _) => unreachable!("the session gives commits to `commit`"),
            (Task::CanCommit, _) => unreachable!("it is answered before the database is asked"),
            (Task::Act, _) => unreachable!("the session gives actions to saga mode alone"),
            (Task::Rollback { phase_one_done: true }, None) => {
                Ok(Verdict::Leave(parked(ParkReason::EvidenceLost, EVIDENCE_LOST)))
            }
            (Task::Rollback { phase_one_done: false }, None) => {
                self.bury(local, work, Answer::Done).await
            }
            (Task::AskPhaseOne, None) => self.bury(local, work, Answer::Failed).await,
            (Task::Rollback { .. }, Some(row)) => match row.state {
                State::Open => self.roll_back(local, work, &row).await,
                State::Undone | State::Tombstone => Ok(Verdict::Leave(Answer::Done)),
                State::Spent => {
                    Ok(Verdict::Leave(parked(ParkReason::Invariant, "its barrier row is spent")))
                }
            },
            (Task::AskPhaseOne, Some(row)) => match row.state {
                State::Open | State::Spent => Ok(Verdict::Leave(Answer::Done)),
                State::Undone | State::Tombstone => Ok(Verdict::Leave(Answer::Failed)),
            },
        }
    }

    /// An operator decided that the rows stay as they are. The barrier row becomes undone, so that a
    /// repeat without the operator's word finds its work done. A row that is not provably of this
    /// branch is left alone: it may be another store's evidence.
    async fn keep(
        &self,
        local: &mut dyn LocalTransaction,
        work: &Work,
        found: Result<Option<FoundRow>, &'static str>,
    ) -> Result<Verdict, DbError> {
        let wall = (self.environment.wall)();
        match found {
            Ok(None) => return self.bury(local, work, Answer::Done).await,
            Ok(Some(row)) if row.state == State::Open && row.belongs_to(work.store, Mode::At) => {
                barrier::mark_undone(local, &work.key, wall).await?;
            }
            Ok(Some(_)) | Err(_) => {}
        }
        warn!(txn.xid = %work.key.xid, txn.branch_id = %work.key.branch,
            "the rows of a branch stay as they are: an operator decided so");
        Ok(Verdict::Keep(Answer::Done))
    }

    /// Nothing was committed, and from here on nothing will be.
    async fn bury(
        &self,
        local: &mut dyn LocalTransaction,
        work: &Work,
        answer: Answer,
    ) -> Result<Verdict, DbError> {
        let wall = (self.environment.wall)();
        barrier::insert_tombstone(local, &work.key, work.store, Mode::At, wall).await?;
        Ok(Verdict::Keep(answer))
    }

    async fn roll_back(
        &self,
        local: &mut dyn LocalTransaction,
        work: &Work,
        row: &FoundRow,
    ) -> Result<Verdict, DbError> {
        if !row.is_intact(&work.key) {
            return Ok(Verdict::Leave(tampered("its checksum does not fit its content")));
        }
        let bytes_max = self.undo_log_bytes_max.max(READ_BYTES_MIN);
        let log = match undo::decode(row.format, &row.body, bytes_max) {
            Ok(log) => log,
            Err(Unreadable::Version(version)) => {
                let why = format!("its format {version} is not known to this version of the agent");
                return Ok(Verdict::Leave(tampered(&why)));
            }
            Err(Unreadable::Malformed(why)) => return Ok(Verdict::Leave(tampered(&why))),
        };
        let dirty = match work.resolution {
            Some(Resolution::Restore) => DirtyRows::Overwrite,
            None | Some(Resolution::Retry | Resolution::Keep) => DirtyRows::Park,
        };
        match restore(local, self.dialect, &log, dirty).await {
            Ok(()) => {}
            Err(Stopped::Db(error)) => return Err(error),
            Err(Stopped::Parked(report)) => return Ok(Verdict::Leave(Answer::Parked(*report))),
        }
        let wall = (self.environment.wall)();
        if barrier::mark_undone(local, &work.key, wall).await? {
            Ok(Verdict::Keep(Answer::Done))
        } else {
            let why = "its barrier row went away while it was used";
            Ok(Verdict::Leave(parked(ParkReason::Invariant, why)))
        }
    }
}

const EVIDENCE_LOST: &str = "phase one was done, but the undo log is not there: somebody deleted \
                             it, or the database was restored from a backup; there is nothing to \
                             restore from, so put the rows right by hand and resolve it with `keep`";

fn parked(reason: ParkReason, message: &str) -> Answer {
    Answer::Parked(report(reason, message))
}

fn report(reason: ParkReason, message: &str) -> ParkReport {
    Report::new(reason, message.to_owned()).finish()
}

fn tampered(why: &str) -> Answer {
    let message = format!(
        "the undo log cannot be trusted: {why}; it is not restored from, so put the rows right by \
         hand and resolve it with `keep`"
    );
    parked(ParkReason::EvidenceTampered, &message)
}

fn refused(error: &DbError) -> Answer {
    let message = format!(
        "the database refuses the restored rows ({}): rows written behind the global lock refer to \
         them, or they to rows that are gone; nothing was restored",
        error.chain()
    );
    parked(ParkReason::DirtyWrite, &message)
}

fn committed_but_kept(work: &Work) -> Answer {
    if work.resolution == Some(Resolution::Keep) {
        // The rows are the branch's own or an operator's; the odd row stays as evidence.
        return Answer::Done;
    }
    let why = format!(
        "branch {} committed, but its barrier row is not an open one of this coordinator's: it was \
         undone, buried, or written by another",
        work.key.branch
    );
    parked(ParkReason::Invariant, &why)
}

fn later(error: &DbError) -> Answer {
    let after = (error.failure == Failure::Busy).then_some(BUSY_PAUSE);
    Answer::Later { after, reason: error.chain() }
}
