//! Steps of a saga: an action now, and a compensation in case the whole rolls back. The saga is either
//! the code of a global transaction, or declared, and driven by the coordinator.
//!
//! ```text
//! in code     step.rs      a registered step: begun, and run until it is done or given up
//! declared    call.rs      which step it is, and what an action may answer
//!             error.rs     why an attempt came to nothing; `crate::action` makes the attempts
//! both        kept.rs      input and output in the barrier row, and what the coordinator keeps
//!             erased.rs    the step as the coordinator asks for it; the rest is `crate::action`'s
//! ```
//!
//! See `docs/saga-in-code.md` and `docs/saga.md`.

mod call;
mod erased;
mod error;
mod kept;
mod step;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::{ActionDatabase, ActionError, ActionPool, Chance, Handled};
use erased::Erased;

pub use call::{Acted, StepCall};
pub use error::StepError;
pub(crate) use kept::attempts_end;
pub use step::{BegunStep, Step};

/// The code of a step whose handler panicked.
pub(crate) const PANICKED_CODE: &str = "pactum-panicked";
/// The code of a step whose result cannot be kept.
pub(crate) const RESULT_CODE: &str = "pactum-result";
/// The code of a step whose handler did not end in its time.
pub(crate) const TIMED_OUT_CODE: &str = "pactum-timed-out";

/// A step of a saga: an action, and the compensation that reverses its effect.
///
/// Both run in local transactions of their own on the resource's database, with the barrier row in
/// them. The compensation is known durably before the action runs, so it is found by the step's
/// name, and with its input, whatever happens to the process that ran the action.
///
/// A registered step runs in code ([`Step::run`]), and is offered to declared sagas under its name. There
/// the definition says how often and for how long it is attempted: [`SagaStep::ATTEMPTS`],
/// [`SagaStep::ATTEMPT_WAIT_MAX`], [`SagaStep::BACK_OFF`] and [`SagaStep::retries`] are for steps in code.
///
/// A handler gets the connection of that local transaction. It must not end it (COMMIT, ROLLBACK, on
/// MySQL any DDL), must return the errors that the database gives it, and may be called again after
/// anything but success; what it wrote then is rolled back.
///
/// ```
/// use pactum_agent::{Handled, SagaStep};
/// use sqlx::{Sqlite, SqliteConnection};
///
/// struct BookHotel;
///
/// impl SagaStep<Sqlite> for BookHotel {
///     const NAME: &'static str = "book-hotel";
///     type Input = String;
///     type Output = i64;
///     type Error = sqlx::Error;
///
///     async fn action(
///         &self,
///         connection: &mut SqliteConnection,
///         guest: &String,
///     ) -> Result<i64, sqlx::Error> {
///         let booked = sqlx::query("INSERT INTO booking (guest) VALUES (?)").bind(guest);
///         Ok(booked.execute(connection).await?.last_insert_rowid())
///     }
///
///     async fn compensate(
///         &self,
///         connection: &mut SqliteConnection,
///         _guest: String,
///         booking: i64,
///     ) -> Result<Handled, sqlx::Error> {
///         sqlx::query("DELETE FROM booking WHERE id = ?").bind(booking).execute(connection).await?;
///         Ok(Handled::Done)
///     }
/// }
/// ```
pub trait SagaStep<DB: ActionDatabase>: Send + Sync + 'static {
    /// By which phase two finds it, also after a restart and on another instance: 1 to 64 bytes, one a
    /// resource, and never given to another step while branches of this one may be unfinished.
    const NAME: &'static str;
    /// The version of the form of input and output. Raise it with every change that would not read
    /// what was written before, and say in [`SagaStep::migrate`] how to read that.
    const VERSION: u8 = 1;
    /// Whether the step can be reversed. One that cannot goes forward only: if it took place and the
    /// global transaction rolls back, it is parked for a person, and older steps wait for it.
    const COMPENSABLE: bool = true;
    /// How often the action is tried by [`Step::run_in`], when what went wrong may pass.
    const ATTEMPTS: u32 = 1;
    /// How long one attempt may take. The compensation of a step that is not known to have run waits
    /// until all its attempts must be over.
    const ATTEMPT_WAIT_MAX: Duration = Duration::from_secs(10);
    /// The pause before the second attempt; each further one is twice as long, up to 5 s.
    const BACK_OFF: Duration = Duration::from_millis(100);
    /// What the action gets, as JSON at the coordinator and in the barrier row.
    type Input: Serialize + DeserializeOwned + Send + Sync;
    /// What the action returns, as JSON in the barrier row: a repeat of the step returns it again.
    type Output: Serialize + DeserializeOwned + Send + Sync;
    /// What goes wrong in a handler.
    type Error: Into<Box<dyn Error + Send + Sync>> + Send;

    /// Does it. An error leaves nothing, and goes to the caller.
    fn action(
        &self,
        connection: &mut DB::Connection,
        input: &Self::Input,
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// Does it as a step of a declared saga. The default is [`SagaStep::action`]. What it wrote is
    /// committed with either answer; one that was *ongoing* is called again on what it left, as often as it
    /// asks for it.
    fn act(
        &self,
        call: &StepCall,
        connection: &mut DB::Connection,
        input: &Self::Input,
    ) -> impl Future<Output = Result<Acted<Self::Output>, Self::Error>> + Send {
        let _ = call;
        async { Ok(Acted::Done(self.action(connection, input).await?)) }
    }

    /// Reverses it. Only called for an action that took place, with what it got and returned; never
    /// for a step that is not [`SagaStep::COMPENSABLE`]. An error is rolled back and called again.
    fn compensate(
        &self,
        connection: &mut DB::Connection,
        input: Self::Input,
        output: Self::Output,
    ) -> impl Future<Output = Result<Handled, Self::Error>> + Send;

    /// Reverses what an action left that is *ongoing*, and of which nobody has told how it ended. The
    /// default parks it for a person.
    fn compensate_ongoing(
        &self,
        connection: &mut DB::Connection,
        input: Self::Input,
    ) -> impl Future<Output = Result<Handled, Self::Error>> + Send {
        let _ = (connection, input);
        let words = "it goes on elsewhere, and its step does not say how to reverse that";
        std::future::ready(Ok(Handled::Attention(words.to_owned())))
    }

    /// Whether another attempt may cure this error of the action. The default: never. What the
    /// database itself calls passing, and an attempt that took too long, are tried again anyway.
    fn retries(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// What a declared saga is told of the action's error. The default: [`StepError::rolled_back`].
    fn step_error(&self, error: Self::Error) -> StepError {
        let error: Box<dyn Error + Send + Sync> = error.into();
        StepError::rolled_back(&*error)
    }

    /// Whether the step has a chance with this input, asked before the first step by
    /// [`Agent::can_commit`](crate::Agent::can_commit). Advice: whatever it writes is rolled back. The
    /// default sees nothing in the way.
    fn can_commit(
        &self,
        connection: &mut DB::Connection,
        input: &Self::Input,
    ) -> impl Future<Output = Result<Chance, Self::Error>> + Send {
        let _ = (connection, input);
        std::future::ready(Ok(Chance::Good))
    }

    /// Reads input and output of an older version.
    ///
    /// # Errors
    /// Why they cannot be read: the branch then parks, and a person reads this. The default knows no
    /// older version.
    fn migrate(
        version: u8,
        input: serde_json::Value,
        output: serde_json::Value,
    ) -> Result<(Self::Input, Self::Output), String> {
        drop((input, output));
        Err(format!("version {version} of its input is not known any more"))
    }
}

impl<DB: ActionDatabase> ActionPool<DB> {
    /// Registers a saga step, for phase two to find its compensation by its name, and offers it to
    /// declared sagas.
    ///
    /// # Errors
    /// [`ActionError::Name`] if the name cannot be one, or is in use.
    pub fn saga<S: SagaStep<DB>>(&self, step: S) -> Result<Step<DB, S>, ActionError> {
        let step = Arc::new(step);
        let named = self.0.saga.add(S::NAME, Arc::new(Erased::<DB, S>::new(Arc::clone(&step))));
        named.map_err(|why| ActionError::Name { name: S::NAME, why })?;
        self.0.link.offer(&self.0.resource);
        Ok(Step::new(self.clone(), step))
    }
}
