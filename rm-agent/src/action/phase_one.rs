//! Phase one of a try or an action: one local transaction, with the barrier row first.
//!
//! ```text
//! register ┐ on SQLite one after the other: its only writer is not to wait for the coordinator
//! BEGIN, barrier row ┴─▶ handler ─▶ (body) ─▶ COMMIT ──▶ phase one done
//!    │ a row is there       │ error, panic, limit   │ error
//!    ▼                      ▼                       ▼
//! what the fence says    local rollback, failed  look the row up: done, failed or veto
//! ```
//!
//! The handler runs only when the registration is durable and the barrier row is in its local
//! transaction. The row is inserted and never looked for first: under REPEATABLE READ a look at a row
//! that is not there locks the gap on MySQL, and two of them that then insert wait for each other.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::fence::{self, Verdict, judge};
use sqlx::Pool;
use sqlx::pool::PoolConnection;
use sqlx_core::transaction::TransactionManager as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::ActionError;
use super::pool::{ActionDatabase, Shared};
use crate::barrier::{self, FoundRow, Mode, OpenRow};
use crate::branch::phase_one::{PhaseOne, Settled};
use crate::context::TransactionContext;
use crate::db::{Failure, is_passing};
use crate::session::Registration;

/// A local transaction for a handler.
///
/// Dropped before it was ended, it closes its connection, with which the database ends it too: in the
/// middle of a statement a connection may be of no more use, and back in the pool it would keep its
/// locks. Field order is drop order: then the next writer has its turn.
pub(crate) struct Local<DB: ActionDatabase> {
    connection: PoolConnection<DB>,
    is_ended: bool,
    is_cut_short: bool,
    _turn: OwnedSemaphorePermit,
}

impl<DB: ActionDatabase> Drop for Local<DB> {
    fn drop(&mut self) {
        if !self.is_ended {
            self.connection.close_on_drop();
        }
    }
}

/// What came of the attempt to begin.
pub(crate) enum Opened<DB: ActionDatabase> {
    /// The barrier row is written; the handler may run.
    Run(Local<DB>),
    /// There is a row already, and this is what the fence says about it.
    Found(Verdict, Option<FoundRow>),
}

/// Why a local commit did not take place.
pub(crate) enum NotCommitted {
    /// Nothing was committed, and another attempt may be made.
    ThisTime(ActionError),
    /// Nothing was or will be committed, or nobody knows.
    ForGood(ActionError),
}

impl<DB: ActionDatabase> Local<DB> {
    /// Begins one in its turn, on a connection of `pool`.
    pub(crate) async fn begin(
        pool: &Pool<DB>,
        writer: &Arc<Semaphore>,
        wait: Duration,
        left: Duration,
    ) -> Result<Self, ActionError> {
        let until = Instant::now() + wait;
        let busy = |_| ActionError::Busy("other local transactions keep it for too long".into());
        // The connection comes before the turn: who has the turn must not wait for the pool.
        let connection = timeout_at(until, pool.acquire()).await.map_err(busy)?;
        let connection = connection.map_err(failed::<DB>)?;
        let turn = timeout_at(until, Arc::clone(writer).acquire_owned());
        let turn = turn.await.map_err(busy)?.expect("the semaphore is never closed");
        let mut local = Local { connection, is_ended: false, is_cut_short: false, _turn: turn };
        let begin = Some(DB::begin(Some(left)));
        let begun = DB::TransactionManager::begin(&mut local.connection, begin).await;
        begun.map_err(|error| match DB::was_left_open(&error) {
            true => ActionError::LeftOpen,
            false => failed::<DB>(error),
        })?;
        Ok(local)
    }

    /// What a handler gets.
    pub(crate) fn connection(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let committed = DB::commit(&mut self.connection).await;
        self.is_ended = committed.is_ok();
        committed
    }

    /// A handler was stopped in the middle: a statement of it may still be under way.
    pub(crate) fn cut_short(&mut self) {
        self.is_cut_short = true;
    }

    /// What was cut short is dropped: the rollback would wait for its last statement.
    pub(crate) async fn rollback(mut self) {
        if self.is_cut_short {
            return;
        }
        let rolled_back = DB::TransactionManager::rollback(&mut self.connection).await;
        self.is_ended = rolled_back.is_ok();
    }
}

pub(super) fn failed<DB: ActionDatabase>(error: sqlx::Error) -> ActionError {
    match DB::classify(&error) {
        Failure::Busy => ActionError::Busy(Box::new(error)),
        Failure::Unique | Failure::Constraint | Failure::Statement | Failure::Other => {
            ActionError::Database(Box::new(error))
        }
    }
}

impl<DB: ActionDatabase> Shared<DB> {
    /// Registers the branch and opens its local transaction with the barrier row in it.
    pub(crate) async fn register_and_open(
        &self,
        context: &TransactionContext,
        registration: &Registration,
        call: fence::Call,
        row: &OpenRow,
    ) -> Result<(PhaseOne, Opened<DB>), ActionError> {
        let register = PhaseOne::register(Arc::clone(&self.link), context, registration);
        if DB::WRITERS == 1 {
            let phase_one = register.await?;
            let opened = self.open(context, call, row).await?;
            return Ok((phase_one, opened));
        }
        // Both are waited for, whatever the other brings. What was opened is dropped before what was
        // registered, so that it is rolled back when its failure is told.
        let (phase_one, opened) = tokio::join!(register, self.open(context, call, row));
        Ok((phase_one?, opened?))
    }

    /// Opens a local transaction with the barrier row in it.
    pub(crate) async fn open(
        &self,
        context: &TransactionContext,
        call: fence::Call,
        row: &OpenRow,
    ) -> Result<Opened<DB>, ActionError> {
        let left = context.remaining();
        if left.is_zero() {
            return Err(ActionError::DeadlinePassed);
        }
        let wait = self.options.local_lock_wait_max.min(left);
        let mut local = Local::<DB>::begin(&self.pool, &self.writer, wait, left).await?;
        let (condition, values) = DB::at_the_barrier(self.barrier_place.as_deref(), 9);
        let written = {
            let mut sql = DB::sql(local.connection());
            let wall = (self.options.environment.wall)();
            barrier::insert_open(&mut *sql, row, wall, (&condition, &values)).await
        };
        match written {
            Ok(true) => Ok(Opened::Run(local)),
            Ok(false) => {
                local.rollback().await;
                Err(ActionError::Elsewhere)
            }
            Err(error) if error.failure == Failure::Unique => {
                local.rollback().await;
                self.found(call, row).await
            }
            Err(error) => {
                local.rollback().await;
                Err(ActionError::from_db(error))
            }
        }
    }

    /// What the row that is there already means for this call.
    async fn found(&self, call: fence::Call, row: &OpenRow) -> Result<Opened<DB>, ActionError> {
        let mut own = self.own.begin().await.map_err(ActionError::from_db)?;
        let looked = barrier::look(&mut *own, &row.key, row.store, row.mode).await;
        own.rollback().await;
        let (state, found) = looked.map_err(ActionError::from_db)?;
        Ok(Opened::Found(judge(state, call), found))
    }

    /// The local commit, whose outcome is reported, or looked up where the database did not say it.
    pub(crate) async fn commit(
        &self,
        phase_one: &mut PhaseOne,
        local: Local<DB>,
        mode: Mode,
    ) -> Result<(), NotCommitted> {
        if phase_one.context.remaining().is_zero() {
            local.rollback().await;
            return Err(NotCommitted::ForGood(ActionError::DeadlinePassed));
        }
        phase_one.sent();
        let Err(error) = local.commit().await else {
            phase_one.done();
            return Ok(());
        };
        let refused = match DB::classify(&error) {
            Failure::Unique | Failure::Constraint => true,
            // A statement that makes no sense now: a handler may have ended the local transaction by itself.
            Failure::Statement | Failure::Busy | Failure::Other => is_passing(&error),
        };
        if refused {
            phase_one.not_sent();
            return Err(NotCommitted::ThisTime(ActionError::LocalCommit(Box::new(error))));
        }
        let wall = self.options.environment.wall;
        match phase_one.settle(&*self.own, mode, wall, &error).await {
            Settled::Done => Ok(()),
            Settled::Failed => {
                Err(NotCommitted::ForGood(ActionError::LocalCommit(Box::new(error))))
            }
            Settled::Unknown => Err(NotCommitted::ForGood(ActionError::OutcomeUnknown)),
        }
    }
}

/// Gives the barrier row the body that the handler made of it.
pub(crate) async fn write_body<DB: ActionDatabase>(
    local: &mut Local<DB>,
    row: &OpenRow,
    action: &'static str,
    body: &str,
) -> Result<(), ActionError> {
    let owner = (&row.key, row.store, row.mode);
    let mut sql = DB::sql(local.connection());
    match barrier::replace_body(&mut *sql, owner, row.format, body).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ActionError::LocalTransactionEnded { action }),
        Err(error) => Err(ActionError::from_db(error)),
    }
}
