//! The prepared transactions of a database, over connections of our own: looked for, finished, buried.
//!
//! ```text
//! commit                    COMMIT PREPARED, and only where that is refused: look
//! rollback, how did it end  look ──▶ finish or bury ──▶ look again ──▶ answer
//! ```
//!
//! What is seen is judged by [`pactum_core::xa`]. Everything here may be done any number of times, by
//! several agents at once.
//!
//! Easy to get wrong: a branch whose preparing connection still lives. MariaDB lists it and lets
//! nobody finish it; that is *later*, never an outcome.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::time::WallTime;
use pactum_core::xa::{Asked, Heuristic, Seen, Verdict, judge};
use tokio::time::sleep;

use super::dialect::{Dialect, Refusal};
use super::name::{DatabaseMark, Name};
use crate::barrier::{self, FindError, Mode, State};
use crate::db::{DbError, Failure, LocalDatabase};

/// How often it is looked again before *later* is answered. 8 with pauses that double from 2 ms make
/// half a second: a connection that was closed is gone by then.
const LOOKS_MAX: u32 = 8;
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// A database's prepared transactions.
pub(crate) struct Prepared {
    pub(super) database: Arc<dyn LocalDatabase>,
    pub(super) dialect: Dialect,
    pub(super) mark: DatabaseMark,
    pub(super) wall: fn() -> WallTime,
}

/// How a branch stands, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// As was asked, or phase one is done.
    Done,
    Failed,
    Heuristic(Heuristic),
}

/// Why it could not be told, or done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsettled {
    #[error("{}", .0.chain())]
    Db(#[from] DbError),
    /// Its row is there, but is none of ours.
    #[error("its barrier row {0}")]
    Tampered(&'static str),
    #[error(
        "it is listed as prepared and could not be finished yet: the connection that prepared it may \
         still be open"
    )]
    Kept,
}

impl From<FindError> for Unsettled {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Db(error) => Unsettled::Db(error),
            FindError::Malformed => Unsettled::Tampered("has an unknown form"),
        }
    }
}

impl Prepared {
    /// Finds out how a branch stands, after it was finished as is asked.
    pub(super) async fn settle(&self, asked: Asked, name: &Name) -> Result<Settled, Unsettled> {
        // A commit comes after its phase one is known to be done, so it is listed.
        if asked == Asked::Commit && self.finish(asked, name).await? {
            return Ok(Settled::Done);
        }
        for look in 0..LOOKS_MAX {
            match judge(asked, self.look(name).await?) {
                Verdict::Done => return Ok(Settled::Done),
                Verdict::Failed => return Ok(Settled::Failed),
                Verdict::Heuristic(how) => return Ok(Settled::Heuristic(how)),
                Verdict::Finish => {
                    if self.finish(asked, name).await? {
                        continue;
                    }
                }
                Verdict::Bury => match self.bury(name).await {
                    Ok(()) => continue,
                    // It was committed, or buried, between the look and this.
                    Err(error) if error.failure == Failure::Unique => {}
                    Err(error) => return Err(error.into()),
                },
            }
            sleep(LOOK_PAUSE * 2_u32.pow(look)).await;
        }
        Err(Unsettled::Kept)
    }

    /// Commits or rolls back the prepared transaction. Whether the database said so; if not, what that
    /// means is to be found out.
    async fn finish(&self, asked: Asked, name: &Name) -> Result<bool, DbError> {
        let text = match asked {
            Asked::Commit => self.dialect.commit(name),
            Asked::Rollback => self.dialect.roll_back(name),
            Asked::PhaseOne => unreachable!("a question finishes nothing"),
        };
        let mut alone = self.database.alone().await?;
        match alone.run(&text).await {
            Ok(_) => Ok(true),
            Err(error) => match self.dialect.refusal(&error) {
                Refusal::Unknown => Ok(false),
                // A connection that lay in the pool may have been gone, before or after.
                Refusal::Passing if is_lost(&error) => Ok(false),
                Refusal::Passing => Err(error),
            },
        }
    }

    /// What the database shows of a branch: the list first, then its row.
    pub(super) async fn look(&self, name: &Name) -> Result<Seen, Unsettled> {
        let mut local = self.database.begin().await?;
        // Whoever waited for the row of a listed branch would wait for us.
        if self.dialect.listed(&mut *local, self.mark).await?.contains(name) {
            local.rollback().await;
            return Ok(Seen::Listed);
        }
        let found = barrier::find(&mut *local, &name.key).await;
        local.rollback().await;
        let Some(row) = found? else { return Ok(Seen::Nothing) };
        if !row.belongs_to(name.store, Mode::Xa) {
            return Err(Unsettled::Tampered("belongs to another coordinator's store or mode"));
        }
        Ok(match row.state {
            State::Open | State::Spent => Seen::Committed,
            State::Undone | State::Tombstone => Seen::Buried,
        })
    }

    /// Makes sure that nothing can be prepared any more: waits for a branch that is still open, for as
    /// long as the database's own locks may be waited for.
    async fn bury(&self, name: &Name) -> Result<(), DbError> {
        let mut local = self.database.begin().await?;
        let wall = (self.wall)();
        barrier::insert_tombstone(&mut *local, &name.key, name.store, Mode::Xa, wall).await?;
        local.commit().await
    }

    /// All branches of ours that are listed as prepared.
    pub(super) async fn listed(&self) -> Result<Vec<Name>, DbError> {
        let mut alone = self.database.alone().await?;
        self.dialect.listed(&mut *alone, self.mark).await
    }
}

fn is_lost(error: &DbError) -> bool {
    let source = error.source.downcast_ref::<sqlx::Error>();
    source.is_some_and(|error| error.as_database_error().is_none())
}
