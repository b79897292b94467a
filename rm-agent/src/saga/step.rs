//! A registered step, and one that is begun: its branch is registered, and its action may be attempted.
//!
//! All attempts have one key, (xid, branch id). So whichever of them commits is the only one, and any
//! that comes after it returns its kept output.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pactum_core::fence::{self, Refusal, Verdict};
use pactum_core::time::WallTime;
use pactum_core::transaction::{Action, BranchMode};
use tokio::time::sleep;

use super::{SagaStep, kept};
use crate::action::{
    ActionDatabase, ActionError, ActionPool, Call, Kept, Local, NotCommitted, Opened,
    PhaseOneError, Stopped, call, write_body,
};
use crate::barrier::{FoundRow, Mode, OpenRow};
use crate::branch::BranchKey;
use crate::branch::phase_one::PhaseOne;
use crate::context::TransactionContext;
use crate::session::Registration;

/// The longest pause between two attempts.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// A saga step registered on its resource. Cheap to clone.
pub struct Step<DB: ActionDatabase, S: SagaStep<DB>> {
    pool: ActionPool<DB>,
    step: Arc<S>,
}

/// A step whose compensation is registered, and whose action may be attempted.
///
/// Dropped before an attempt succeeded, it tells the coordinator that the step did not take place.
pub struct BegunStep<DB: ActionDatabase, S: SagaStep<DB>> {
    of: Step<DB, S>,
    input: S::Input,
    row: OpenRow,
    /// After this, nothing more is attempted: the compensation takes the step for over.
    until: WallTime,
    /// What was opened while it was registered. Before `phase_one`, to be dropped before it.
    opened: Option<Opened<DB>>,
    phase_one: PhaseOne,
}

impl<DB: ActionDatabase, S: SagaStep<DB>> Step<DB, S> {
    pub(super) fn new(pool: ActionPool<DB>, step: Arc<S>) -> Self {
        Step { pool, step }
    }

    /// Runs the step as a branch of the running task's global transaction.
    ///
    /// # Errors
    /// Those of [`Step::run_in`], and [`ActionError::NoTransaction`].
    ///
    /// # Cancel safety
    /// That of [`Step::run_in`].
    pub async fn run(&self, input: S::Input) -> Result<S::Output, PhaseOneError<S::Error>> {
        let transaction = TransactionContext::current().ok_or(ActionError::NoTransaction)?;
        self.run_in(&transaction, input).await
    }

    /// Runs the step as a branch of `transaction`, in up to [`SagaStep::ATTEMPTS`] attempts. When it
    /// returns, the action's effect is committed locally, and is compensated if `transaction` rolls
    /// back.
    ///
    /// # Errors
    /// [`PhaseOneError::Handler`] with the action's own error. After any error the step did not take
    /// place, but for [`ActionError::OutcomeUnknown`], after which the global transaction rolls back.
    ///
    /// # Cancel safety
    /// Dropping the future before a local commit leaves nothing. Dropped while it commits, the branch
    /// is what the database made of it: the coordinator asks before it decides.
    pub async fn run_in(
        &self,
        transaction: &TransactionContext,
        input: S::Input,
    ) -> Result<S::Output, PhaseOneError<S::Error>> {
        let mut begun = self.begun(transaction, input, First::OpenToo).await?;
        let mut pause = S::BACK_OFF;
        let mut attempts = S::ATTEMPTS;
        loop {
            attempts = attempts.saturating_sub(1);
            let error = match begun.run().await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            let passes = match &error {
                PhaseOneError::Handler(error) => self.step.retries(error),
                PhaseOneError::Action(error) => error.is_retryable(),
            };
            if !passes || attempts == 0 || transaction.remaining() <= pause {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// Registers the step's compensation, for a caller that attempts the action by itself.
    ///
    /// # Errors
    /// The coordinator's refusal, or an input that is too large.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing.
    pub async fn begin_in(
        &self,
        transaction: &TransactionContext,
        input: S::Input,
    ) -> Result<BegunStep<DB, S>, ActionError> {
        self.begun(transaction, input, First::RegisterOnly).await
    }

    async fn begun(
        &self,
        transaction: &TransactionContext,
        input: S::Input,
        first: First,
    ) -> Result<BegunStep<DB, S>, ActionError> {
        let shared = &self.pool.0;
        let body =
            kept::write::<DB, S>(&input, kept::Output::None, shared.options.context_bytes_max)?;
        let time = attempts_time::<DB, S>().min(transaction.remaining());
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let until = WallTime((shared.options.environment.wall)().0.saturating_add(time));
        let payload = kept::payload::<DB, S>(&input, until)?;
        let branch = shared.link.next_branch_id().await?;
        let registration = Registration {
            branch,
            resource: shared.resource.clone(),
            mode: BranchMode::Saga,
            action: Some(Action { name: S::NAME.into(), payload: payload.into() }),
            locks: Vec::new(),
            wait: Duration::ZERO,
            holds_local_locks: false,
            lock_only: false,
            claim: None,
        };
        let row = OpenRow {
            key: BranchKey { xid: transaction.xid_here().clone(), branch },
            store: transaction.store_id(),
            mode: Mode::Saga,
            format: S::VERSION,
            body,
        };
        let (phase_one, opened) = match first {
            First::OpenToo => {
                let act = fence::Call::Act;
                let opened = shared.register_and_open(transaction, &registration, act, &row);
                let (phase_one, opened) = opened.await?;
                (phase_one, Some(opened))
            }
            First::RegisterOnly => {
                let link = Arc::clone(&shared.link);
                (PhaseOne::register(link, transaction, &registration).await?, None)
            }
        };
        Ok(BegunStep { of: self.clone(), input, row, until, opened, phase_one })
    }
}

/// What is done beside the registration.
#[derive(Clone, Copy)]
enum First {
    /// The first attempt's local transaction is opened.
    OpenToo,
    RegisterOnly,
}

/// How long all attempts may take together.
fn attempts_time<DB: ActionDatabase, S: SagaStep<DB>>() -> Duration {
    let attempts = S::ATTEMPTS.max(1);
    let mut pauses = Duration::ZERO;
    let mut pause = S::BACK_OFF;
    for _ in 1..attempts {
        pauses = pauses.saturating_add(pause);
        pause = (pause * 2).min(BACK_OFF_MAX);
    }
    S::ATTEMPT_WAIT_MAX.saturating_mul(attempts).saturating_add(pauses)
}

impl<DB: ActionDatabase, S: SagaStep<DB>> BegunStep<DB, S> {
    /// Attempts the action once. It may be called again after an error, and after a success returns
    /// the kept output.
    ///
    /// # Errors
    /// As [`Step::run_in`]; [`ActionError::DeadlinePassed`] once the time of all attempts is over,
    /// and [`ActionError::RolledBack`] if the step is rolled back already.
    ///
    /// # Cancel safety
    /// That of [`Step::run_in`]; afterwards it may be called again.
    pub async fn run(&mut self) -> Result<S::Output, PhaseOneError<S::Error>> {
        let shared = Arc::clone(&self.of.pool.0);
        let transaction = self.phase_one.context.clone();
        let left = self.until.0.saturating_sub((shared.options.environment.wall)().0);
        let left = Duration::from_millis(left).min(transaction.remaining());
        if left.is_zero() {
            self.opened = None;
            return Err(ActionError::DeadlinePassed.into());
        }
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => shared.open(&transaction, fence::Call::Act, &self.row).await?,
        };
        let mut local = match opened {
            Opened::Run(local) => local,
            Opened::Found(verdict, row) => return Ok(self.repeated(verdict, row)?),
        };
        let output = match self.act(&mut local, left.min(S::ATTEMPT_WAIT_MAX)).await {
            Ok(output) => output,
            Err(error) => {
                local.rollback().await;
                return Err(error);
            }
        };
        match shared.commit(&mut self.phase_one, local, Mode::Saga).await {
            Ok(()) => Ok(output),
            Err(NotCommitted::ThisTime(error) | NotCommitted::ForGood(error)) => Err(error.into()),
        }
    }

    async fn act(
        &self,
        local: &mut Local<DB>,
        limit: Duration,
    ) -> Result<S::Output, PhaseOneError<S::Error>> {
        let action = S::NAME;
        let acted = async { self.of.step.action(local.connection(), &self.input).await };
        let output = match call(limit, acted).await {
            Call::Returned(Ok(output)) => output,
            Call::Returned(Err(error)) => return Err(PhaseOneError::Handler(error)),
            Call::Panicked(message) => {
                local.cut_short();
                return Err(ActionError::Panicked { action, message }.into());
            }
            Call::TimedOut => {
                local.cut_short();
                return Err(ActionError::TimedOut { action, limit }.into());
            }
        };
        let bytes_max = self.of.pool.0.options.context_bytes_max;
        let body = kept::write::<DB, S>(&self.input, kept::Output::Returned(&output), bytes_max)?;
        if body != self.row.body {
            write_body(local, &self.row, action, &body).await?;
        }
        Ok(output)
    }

    /// An attempt that met a row.
    fn repeated(
        &mut self,
        verdict: Verdict,
        row: Option<FoundRow>,
    ) -> Result<S::Output, ActionError> {
        let action = S::NAME;
        match (verdict, row) {
            (Verdict::AlreadyDone, Some(row)) => {
                self.phase_one.sent();
                self.phase_one.done();
                let kept = Kept { format: row.format, body: &row.body, told: &[] };
                let (_, output) = kept::read::<DB, S>(kept).map_err(unreadable::<DB, S>)?;
                // Only the steps of declared sagas go on elsewhere.
                output.ok_or(ActionError::Duplicate { action })
            }
            (Verdict::Refuse(Refusal::RolledBack), _) => Err(ActionError::RolledBack { action }),
            (Verdict::Refuse(Refusal::Duplicate | Refusal::Untrusted), _) => {
                // Another's row: nothing about it is this step's to report.
                self.phase_one.sent();
                Err(ActionError::Duplicate { action })
            }
            (
                Verdict::Run
                | Verdict::AlreadyDone
                | Verdict::NotDone
                | Verdict::Bury
                | Verdict::Later
                | Verdict::Park(_),
                _,
            ) => Err(ActionError::Busy("its barrier row came and went".into())),
        }
    }
}

fn unreadable<DB: ActionDatabase, S: SagaStep<DB>>(stopped: Stopped) -> ActionError {
    let why = match stopped {
        Stopped::Unreadable(why) => why,
        Stopped::Newer(version) => format!("version {version} is newer than this instance's"),
        Stopped::Failed(error) => error.to_string(),
    };
    ActionError::UnreadableResult { action: S::NAME, why }
}

impl<DB: ActionDatabase, S: SagaStep<DB>> Clone for Step<DB, S> {
    fn clone(&self) -> Self {
        Step { pool: self.pool.clone(), step: Arc::clone(&self.step) }
    }
}

impl<DB: ActionDatabase, S: SagaStep<DB>> fmt::Debug for Step<DB, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("pool", &self.pool).field("step", &S::NAME).finish()
    }
}

impl<DB: ActionDatabase, S: SagaStep<DB>> fmt::Debug for BegunStep<DB, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BegunStep").field("of", &self.of).field("key", &self.row.key).finish()
    }
}
