//! Phase two of AT: what the coordinator decided, done to the rows.
//!
//! Each answer is given after the local transaction that did the work has committed. Every task may
//! arrive again, and then finds its work done. A rollback that cannot be done exactly changes
//! nothing and parks the branch.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pactum_proto::v1::{ParkReason, ParkReport};
use tracing::debug;

use super::options::Environment;
use super::report::Report;
use super::restore::{Dialect, Stopped, restore};
use super::undo::{self, Unreadable};
use crate::barrier::{self, FindError, FoundRow, Mode, State};
use crate::branch::{Answer, BranchKey, Task, Work};
use crate::db::{DbError, Failure, LocalDatabase, LocalTransaction};
use crate::session::Participant;

/// When to come again to a database that somebody else is writing to. 100 ms: a few local
/// transactions.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// A database in AT mode, as the session calls it.
pub(super) struct AtParticipant {
    database: Arc<dyn LocalDatabase>,
    dialect: &'static dyn Dialect,
    environment: Environment,
}

impl AtParticipant {
    pub(super) fn new(
        database: Arc<dyn LocalDatabase>,
        dialect: &'static dyn Dialect,
        environment: Environment,
    ) -> Self {
        AtParticipant { database, dialect, environment }
    }
}

/// What a piece of work ends with, before its local transaction does.
enum Verdict {
    /// Commit the local transaction, then answer.
    Keep(Answer),
    /// Leave the database as it was.
    Leave(Answer),
}

#[async_trait]
impl Participant for AtParticipant {
    /// Dropped at an await, the local transaction under way rolls back, and the work is asked for
    /// again.
    async fn work(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        let (commits, others): (Vec<Work>, Vec<Work>) =
            batch.into_iter().partition(|work| work.task == Task::Commit);
        let mut answers = self.commit_all(commits).await;
        for work in others {
            let answer = match self.one(&work).await {
                Ok(answer) => answer,
                Err(error) => later(&error),
            };
            log(&work, &answer);
            answers.push((work.key, answer));
        }
        answers
    }
}

impl AtParticipant {
    /// Deletes the undo logs of a batch with one statement.
    async fn commit_all(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        let mut answers = Vec::with_capacity(batch.len());
        // Stores are never mixed in practice; each gets its own statement if they are.
        for works in batch.chunk_by(|a, b| a.store == b.store) {
            let keys: Vec<BranchKey> = works.iter().map(|work| work.key.clone()).collect();
            let left = self.delete_open(works[0].store, &keys).await;
            let left = left.map_err(|error| later(&error));
            answers.extend(keys.into_iter().map(|key| {
                let answer = match &left {
                    Ok(left) if left.contains(&key) => committed_but_kept(&key),
                    Ok(_) => Answer::Done,
                    Err(later) => later.clone(),
                };
                (key, answer)
            }));
        }
        answers
    }

    async fn delete_open(
        &self,
        store: pactum_core::id::StoreId,
        keys: &[BranchKey],
    ) -> Result<Vec<BranchKey>, DbError> {
        let mut local = self.database.begin().await?;
        let left = barrier::delete_open(&mut *local, store, Mode::At, keys).await?;
        local.commit().await?;
        Ok(left)
    }

    async fn one(&self, work: &Work) -> Result<Answer, DbError> {
        let mut local = self.database.begin().await?;
        let verdict = match barrier::find(&mut *local, &work.key).await {
            Ok(found) => self.judge(&mut *local, work, found).await?,
            Err(FindError::Db(error)) => return Err(error),
            Err(FindError::Malformed) => Verdict::Leave(tampered("it has an unknown form")),
        };
        match verdict {
            Verdict::Leave(answer) => {
                local.rollback().await;
                Ok(answer)
            }
            Verdict::Keep(answer) => match local.commit().await {
                Ok(()) => Ok(answer),
                // Foreign keys of restored rows are looked at here.
                Err(error) if error.failure == Failure::Constraint => Ok(refused(&error)),
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
            (Task::Commit, _) => unreachable!("commits are taken out of the batch first"),
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
        let log = match undo::decode(row.format, &row.body) {
            Ok(log) => log,
            Err(Unreadable::Version(version)) => {
                let why = format!("its format {version} is not known to this version of the agent");
                return Ok(Verdict::Leave(tampered(&why)));
            }
            Err(Unreadable::Malformed(why)) => return Ok(Verdict::Leave(tampered(&why))),
        };
        match restore(local, self.dialect, &log).await {
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
                             it, or the database was restored from a backup";

fn parked(reason: ParkReason, message: &str) -> Answer {
    Answer::Parked(report(reason, message))
}

fn report(reason: ParkReason, message: &str) -> ParkReport {
    Report::new(reason, message.to_owned()).finish()
}

fn tampered(why: &str) -> Answer {
    parked(ParkReason::EvidenceTampered, &format!("the undo log cannot be trusted: {why}"))
}

fn refused(error: &DbError) -> Answer {
    let message = format!(
        "the database refuses the restored rows ({}): rows written behind the global lock refer to \
         them, or they to rows that are gone; nothing was restored",
        error.chain()
    );
    parked(ParkReason::DirtyWrite, &message)
}

fn committed_but_kept(key: &BranchKey) -> Answer {
    let why = format!(
        "branch {} committed, but its barrier row is not an open one of this coordinator's: it was \
         undone, buried, or written by another",
        key.branch
    );
    parked(ParkReason::Invariant, &why)
}

fn later(error: &DbError) -> Answer {
    let after = (error.failure == Failure::Busy).then_some(BUSY_PAUSE);
    Answer::Later { after, reason: error.chain() }
}

fn log(work: &Work, answer: &Answer) {
    let BranchKey { xid, branch } = &work.key;
    match answer {
        Answer::Done | Answer::Failed => {
            debug!(txn.xid = %xid, txn.branch_id = %branch, txn.attempt = work.attempt,
                "branch settled");
        }
        Answer::Later { after: _, reason } => {
            debug!(txn.xid = %xid, txn.branch_id = %branch, txn.attempt = work.attempt,
                error = reason, "branch not settled yet");
        }
        // The session says that, for every mode.
        Answer::Parked(_) => {}
    }
}
