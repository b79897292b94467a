//! Phase two of TCC and saga: what the coordinator decided, done by the application's handlers.
//!
//! ```text
//! a handler may be called    take the open row, handler, COMMIT ──▶ done
//!    │ no such row, later, attention, error, panic, limit: rolled back
//!    ▼
//! what the fence says of the row, on connections of the agent's own: done, tombstone, later, parked
//! ```
//!
//! Each answer is given after the local transaction that did the work has committed. Every task may
//! arrive again, and then finds its work done. Handlers run on connections configured as the
//! application's own are: what they mean by a statement is what they meant in phase one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pactum_core::fence::{self, Attempt, Step, Verdict, judge};
use pactum_core::time::WallTime;
use pactum_core::transaction::Resolution;
use pactum_proto::v1::{OfferedAction, ParkReason};
use sqlx::Pool;
use tokio::sync::Semaphore;
use tracing::warn;

use super::calling::{Call, call};
use super::error::ActionError;
use super::handler::{Chance, Direction, Handler, Kept, Stopped};
use super::options::ActionOptions;
use super::phase_one::Local;
use super::pool::ActionDatabase;
use super::registry::Registry;
use super::report::{
    BUSY_PAUSE, fault, handled_answer, later, not_begun, parked, stopped_answer, unknown,
};
use crate::barrier::{self, FoundRow, Mode, State};
use crate::branch::{Answer, BranchKey, Task, Work};
use crate::db::{DbError, Failure, LocalDatabase, is_passing};
use crate::saga::attempts_end;
use crate::session::Participant;

/// The actions of one mode on a database, as the session calls them.
pub(crate) struct ActionParticipant<DB: ActionDatabase> {
    pub(super) mode: Mode,
    pub(super) registry: Arc<Registry<dyn Handler<DB>>>,
    /// For handlers of phase two.
    pub(super) pool: Pool<DB>,
    /// For actions of declared sagas, which may take long: nothing that is decided waits for them.
    pub(super) actions: Pool<DB>,
    pub(super) writer: Arc<Semaphore>,
    /// For everything else.
    pub(super) own: Arc<dyn LocalDatabase>,
    /// See [`Driver::barrier_place`](crate::db::Driver::barrier_place).
    pub(super) barrier_place: Option<Arc<str>>,
    pub(super) options: ActionOptions,
}

/// What came of the attempt to call a handler.
enum Handling {
    Answered(Answer),
    /// There is no open and trusted row; nothing was called.
    NotOpen,
}

/// Dropped at an await, the local transaction under way rolls back, and the work is asked for again.
#[async_trait]
impl<DB: ActionDatabase> Participant for ActionParticipant<DB> {
    fn rollbacks_at_once(&self) -> usize {
        usize::try_from(self.options.handlers_at_once).unwrap_or(1).clamp(1, DB::WRITERS)
    }

    fn actions_at_once(&self) -> usize {
        match self.mode {
            Mode::Saga => self.rollbacks_at_once(),
            Mode::Tcc | Mode::At | Mode::Xa => 0,
        }
    }

    fn offers(&self) -> Vec<OfferedAction> {
        match self.mode {
            Mode::Saga => self.registry.tell(|name, handler| OfferedAction {
                name: name.to_owned(),
                compensable: handler.step() == Step::Compensable,
            }),
            Mode::Tcc | Mode::At | Mode::Xa => Vec::new(),
        }
    }

    async fn commit(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        self.commit_all(batch).await
    }

    async fn settle(&self, work: Work) -> Answer {
        self.one(&work).await
    }
}

impl<DB: ActionDatabase> ActionParticipant<DB> {
    /// Connections like the application's own, but none that it can use up.
    pub(super) fn handlers_pool(pool: &Pool<DB>, options: &ActionOptions) -> Pool<DB> {
        let connections = if DB::WRITERS == 1 { 1 } else { options.handlers_at_once };
        let like = pool.options().clone().min_connections(0).max_connections(connections);
        like.acquire_timeout(options.local_lock_wait_max)
            .test_before_acquire(false)
            .connect_lazy_with((*pool.connect_options()).clone())
    }

    pub(super) async fn one(&self, work: &Work) -> Answer {
        self.settled(work).await.unwrap_or_else(|error| {
            let after = (error.failure == Failure::Busy).then_some(BUSY_PAUSE);
            later(after, &error.chain())
        })
    }

    async fn settled(&self, work: &Work) -> Result<Answer, DbError> {
        let direction = match work.task {
            Task::Commit => Direction::Confirm,
            Task::Rollback { .. } => Direction::Undo,
            Task::AskPhaseOne => return self.by_the_row(work, Step::Compensable).await,
            Task::CanCommit => return Ok(self.opinion(work).await),
            Task::Act => return Ok(self.act(work).await),
        };
        if work.resolution == Some(Resolution::Keep) {
            return self.keep(work, direction).await;
        }
        let name = work.action_name();
        let forward_only = work.is_forward_only();
        let declared = if forward_only { Step::ForwardOnly } else { Step::Compensable };
        let Some(handler) = self.registry.find_soon(name).await else {
            // Whether there is anything to call for is the row's to say.
            return Ok(match self.by_the_row(work, declared).await? {
                Answer::Later { .. } => unknown(name),
                answer => answer,
            });
        };
        let step = if forward_only { declared } else { handler.step() };
        if direction == Direction::Confirm || step == Step::Compensable {
            match self.handled(work, direction, &*handler).await {
                Handling::Answered(answer) => return Ok(answer),
                Handling::NotOpen => {}
            }
        }
        self.by_the_row(work, step).await
    }

    /// Begins a local transaction for a handler. Connections are not tested before they are used: each
    /// that went stale in the pool, or on which a handler left a transaction open, costs a try.
    pub(super) async fn begin(&self) -> Result<Local<DB>, ActionError> {
        let wait = self.options.local_lock_wait_max;
        self.begin_on(&self.pool, wait, wait + self.options.handler_wait_max).await
    }

    /// As [`Self::begin`], for a handler that has `left` from now on, of which its turn may take `wait`.
    pub(super) async fn begin_on(
        &self,
        pool: &Pool<DB>,
        wait: Duration,
        left: Duration,
    ) -> Result<Local<DB>, ActionError> {
        let mut tries = 0;
        loop {
            match Local::begin(pool, &self.writer, wait, left).await {
                Err(ActionError::Database(_) | ActionError::LeftOpen)
                    if tries < self.options.handlers_at_once =>
                {
                    tries += 1;
                }
                begun => return begun,
            }
        }
    }

    /// Calls the handler on the branch's open row, in a local transaction of its own.
    async fn handled(
        &self,
        work: &Work,
        direction: Direction,
        handler: &dyn Handler<DB>,
    ) -> Handling {
        let mut local = match self.begin().await {
            Ok(local) => local,
            Err(error) => return Handling::Answered(not_begun(&error)),
        };
        match self.in_local(work, direction, handler, &mut local).await {
            Ok(None) => {
                local.rollback().await;
                Handling::NotOpen
            }
            Ok(Some(Answer::Done)) => Handling::Answered(match local.commit().await {
                Ok(()) => Answer::Done,
                Err(error) => self.not_committed(&error),
            }),
            Ok(Some(answer)) => {
                local.rollback().await;
                Handling::Answered(answer)
            }
            Err(error) => {
                local.rollback().await;
                let after = (error.failure == Failure::Busy).then_some(BUSY_PAUSE);
                Handling::Answered(later(after, &error.chain()))
            }
        }
    }

    /// What the action thinks of its chances. Its local transaction is rolled back in any case.
    async fn opinion(&self, work: &Work) -> Answer {
        let name = work.action_name();
        let Some(handler) = self.registry.find_soon(name).await else { return unknown(name) };
        let mut local = match self.begin().await {
            Ok(local) => local,
            Err(error) => return not_begun(&error),
        };
        let asked = handler.can_commit(local.connection(), work.payload());
        let opinion = match call(self.options.handler_wait_max, asked).await {
            Call::Returned(Ok(Chance::Good)) => Answer::Done,
            Call::Returned(Ok(Chance::None(why))) => parked(ParkReason::HandlerFatal, &why),
            Call::Returned(Err(Stopped::Unreadable(why))) => later(None, &why),
            Call::Returned(Err(stopped)) => stopped_answer(name, &stopped),
            Call::Panicked(message) => {
                local.cut_short();
                later(None, &format!("`{name}` panicked: {message}"))
            }
            Call::TimedOut => {
                local.cut_short();
                later(None, &format!("`{name}` did not say in time"))
            }
        };
        local.rollback().await;
        opinion
    }

    /// The open row, the handler, and the row's mark. Whatever is not `Done` is to be rolled back;
    /// `None` if there is no open row.
    pub(super) async fn in_local(
        &self,
        work: &Work,
        direction: Direction,
        handler: &dyn Handler<DB>,
        local: &mut Local<DB>,
    ) -> Result<Option<Answer>, DbError> {
        let state = end_state(direction);
        let wall = self.wall();
        let row = {
            let mut sql = DB::sql(local.connection());
            let to = (state, wall);
            barrier::take_open::<DB>(&mut *sql, &work.key, work.store, self.mode, to).await?
        };
        let Some(FoundRow { format, body, .. }) = row else { return Ok(None) };
        let kept = Kept { format, body: &body, told: work.told() };
        let name = work.action_name();
        let called = handler.run(direction, local.connection(), kept);
        let answer = match call(self.options.handler_wait_max, called).await {
            Call::Returned(Ok(handled)) => handled_answer(name, handled),
            Call::Returned(Err(stopped)) => stopped_answer(name, &stopped),
            Call::Panicked(message) => {
                local.cut_short();
                later(None, &format!("`{name}` panicked: {message}"))
            }
            Call::TimedOut => {
                local.cut_short();
                let limit = self.options.handler_wait_max;
                later(None, &format!("`{name}` did not end within {limit:?}"))
            }
        };
        if answer != Answer::Done || DB::UPDATES_RETURN {
            return Ok(Some(answer));
        }
        let mut sql = DB::sql(local.connection());
        if barrier::mark(&mut *sql, &work.key, state, wall).await? {
            return Ok(Some(Answer::Done));
        }
        let why = format!(
            "`{name}` ended the local transaction that it was given, so its barrier row went away: a \
             handler must not run COMMIT, ROLLBACK or DDL"
        );
        Ok(Some(parked(ParkReason::Invariant, &why)))
    }

    /// What the fence says where no handler is called.
    pub(super) async fn by_the_row(&self, work: &Work, step: Step) -> Result<Answer, DbError> {
        let mut own = self.own.begin().await?;
        let (row, _) = barrier::look(&mut *own, &work.key, work.store, self.mode).await?;
        let name = work.action_name();
        let answer = match judge(row, self.fence_call(work, step)) {
            // It came after the look for an open one.
            Verdict::Run => later(Some(BUSY_PAUSE), "its barrier row has just been written"),
            Verdict::AlreadyDone => Answer::Done,
            Verdict::NotDone => Answer::Failed,
            Verdict::Later => {
                let left = self.attempt_left(work);
                later(Some(left), "an attempt of the step may still be under way")
            }
            Verdict::Refuse(_) => unreachable!("only phase one is refused"),
            Verdict::Park(why) => fault(why, name),
            Verdict::Bury => {
                let wall = self.wall();
                barrier::insert_tombstone(&mut *own, &work.key, work.store, self.mode, wall)
                    .await?;
                own.commit().await?;
                return Ok(match work.task {
                    Task::AskPhaseOne => Answer::Failed,
                    Task::Rollback { .. } | Task::Commit | Task::CanCommit | Task::Act => {
                        Answer::Done
                    }
                });
            }
        };
        own.rollback().await;
        Ok(answer)
    }

    fn fence_call(&self, work: &Work, step: Step) -> fence::Call {
        let attempt =
            if self.attempt_left(work).is_zero() { Attempt::Over } else { Attempt::MayRun };
        match (work.task, self.mode) {
            (Task::Commit, _) => fence::Call::Confirm,
            (Task::Act, _) => fence::Call::Act,
            (Task::AskPhaseOne | Task::CanCommit, _) => fence::Call::Ask { attempt },
            (Task::Rollback { phase_one_done }, Mode::Saga) => {
                fence::Call::Compensate { phase_one_done, attempt, step }
            }
            (Task::Rollback { phase_one_done }, Mode::Tcc | Mode::At | Mode::Xa) => {
                fence::Call::Cancel { phase_one_done }
            }
        }
    }

    /// What is left of the time in which a saga step's action may be attempted. The tombstone keeps a
    /// late attempt of a declared saga's step out, which is given its input alone.
    fn attempt_left(&self, work: &Work) -> Duration {
        let in_code = self.mode == Mode::Saga && work.step.is_none();
        let end = in_code.then(|| attempts_end(work.payload())).flatten();
        let left = end.map_or(0, |end| end.0.saturating_sub(self.wall().0));
        Duration::from_millis(left)
    }

    /// An operator has settled the branch by hand: nothing is called, and the row is used up, so that
    /// a repeat without the operator's word finds its work done.
    async fn keep(&self, work: &Work, direction: Direction) -> Result<Answer, DbError> {
        let mut own = self.own.begin().await?;
        let (row, _) = barrier::look(&mut *own, &work.key, work.store, self.mode).await?;
        let wall = self.wall();
        match (row, direction) {
            (fence::Row::Open, _) => {
                barrier::mark(&mut *own, &work.key, end_state(direction), wall).await?;
            }
            (fence::Row::None, Direction::Undo) => {
                barrier::insert_tombstone(&mut *own, &work.key, work.store, self.mode, wall)
                    .await?;
            }
            (fence::Row::None, Direction::Confirm)
            | (
                fence::Row::Spent
                | fence::Row::Undone
                | fence::Row::Tombstone
                | fence::Row::Untrusted,
                _,
            ) => {}
        }
        own.commit().await?;
        warn!(txn.xid = %work.key.xid, txn.branch_id = %work.key.branch,
            "a branch is settled without its handler: an operator decided so");
        Ok(Answer::Done)
    }

    fn not_committed(&self, error: &sqlx::Error) -> Answer {
        let after = is_passing(error).then_some(BUSY_PAUSE);
        later(after, &format!("the local commit failed: {error}"))
    }

    pub(super) fn wall(&self) -> WallTime {
        (self.options.environment.wall)()
    }
}

fn end_state(direction: Direction) -> State {
    match direction {
        Direction::Confirm => State::Spent,
        Direction::Undo => State::Undone,
    }
}
