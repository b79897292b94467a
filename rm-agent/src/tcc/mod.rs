//! TCC: try reserves, confirm uses the reservation, cancel frees it.
//!
//! ```text
//! phase one   try_phase.rs   register, then the barrier row and the handler in one local transaction
//! both        context.rs     the context in the barrier row, with its version
//! phase two   erased.rs      the action as phase two calls it; the rest is `crate::action`'s
//! ```
//!
//! See `docs/tcc.md`.

mod context;
mod erased;
mod try_phase;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::{ActionDatabase, ActionError, ActionPool, Chance, Handled, PhaseOneError};
use crate::context::TransactionContext;
use erased::Erased;

/// An action in three parts, each of which runs in a local transaction of its own on the resource's
/// database, with the barrier row in it.
///
/// A handler gets the connection of that local transaction. It must not end it (COMMIT, ROLLBACK, on
/// MySQL any DDL), must return the errors that the database gives it, and may be called again after
/// anything but `Done`; what it wrote then is rolled back.
///
/// ```
/// use pactum_agent::{Handled, TccAction};
/// use sqlx::{Sqlite, SqliteConnection};
///
/// struct ReserveMoney;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Reservation {
///     account: i64,
///     amount: i64,
/// }
///
/// impl TccAction<Sqlite> for ReserveMoney {
///     const NAME: &'static str = "reserve-money";
///     type Context = Reservation;
///     type Output = ();
///     type Error = sqlx::Error;
///
///     async fn try_phase(
///         &self,
///         connection: &mut SqliteConnection,
///         context: &mut Reservation,
///     ) -> Result<(), sqlx::Error> {
///         let sql = "UPDATE account SET free = free - ? WHERE id = ? AND free >= ?";
///         let reserved = sqlx::query(sql)
///             .bind(context.amount)
///             .bind(context.account)
///             .bind(context.amount)
///             .execute(connection)
///             .await?;
///         if reserved.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
///     }
///
///     async fn confirm(
///         &self,
///         connection: &mut SqliteConnection,
///         context: Reservation,
///     ) -> Result<Handled, sqlx::Error> {
///         let sql = "UPDATE account SET balance = balance - ? WHERE id = ?";
///         sqlx::query(sql).bind(context.amount).bind(context.account).execute(connection).await?;
///         Ok(Handled::Done)
///     }
///
///     async fn cancel(
///         &self,
///         connection: &mut SqliteConnection,
///         context: Reservation,
///     ) -> Result<Handled, sqlx::Error> {
///         let sql = "UPDATE account SET free = free + ? WHERE id = ?";
///         sqlx::query(sql).bind(context.amount).bind(context.account).execute(connection).await?;
///         Ok(Handled::Done)
///     }
/// }
/// ```
pub trait TccAction<DB: ActionDatabase>: Send + Sync + 'static {
    /// By which phase two finds it, also after a restart and on another instance: 1 to 64 bytes, one a
    /// resource, and never given to another action while branches of this one may be unfinished.
    const NAME: &'static str;
    /// The version of [`TccAction::Context`]'s form. Raise it with every change that would not read
    /// what was written before, and say in [`TccAction::migrate`] how to read that.
    const VERSION: u8 = 1;
    /// What try hands over to confirm and cancel, as JSON in the barrier row.
    type Context: Serialize + DeserializeOwned + Send + Sync;
    /// What try returns to its caller.
    type Output: Send;
    /// What goes wrong in a handler.
    type Error: Into<Box<dyn Error + Send + Sync>> + Send;

    /// Checks and reserves. It may add to the context; what it leaves there is what confirm and cancel
    /// get. An error leaves nothing, and goes to the caller.
    fn try_phase(
        &self,
        connection: &mut DB::Connection,
        context: &mut Self::Context,
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// Uses the reservation. It cannot refuse any more: an error is rolled back and called again.
    fn confirm(
        &self,
        connection: &mut DB::Connection,
        context: Self::Context,
    ) -> impl Future<Output = Result<Handled, Self::Error>> + Send;

    /// Frees the reservation. Only called for a try that took place.
    fn cancel(
        &self,
        connection: &mut DB::Connection,
        context: Self::Context,
    ) -> impl Future<Output = Result<Handled, Self::Error>> + Send;

    /// Whether the action has a chance with this context, asked before the first try by
    /// [`Agent::can_commit`](crate::Agent::can_commit). Advice: whatever it writes is rolled back. The
    /// default sees nothing in the way.
    fn can_commit(
        &self,
        connection: &mut DB::Connection,
        context: &Self::Context,
    ) -> impl Future<Output = Result<Chance, Self::Error>> + Send {
        let _ = (connection, context);
        std::future::ready(Ok(Chance::Good))
    }

    /// Reads a context of an older version.
    ///
    /// # Errors
    /// Why it cannot be read: the branch then parks, and a person reads this. The default knows no
    /// older version.
    fn migrate(version: u8, context: serde_json::Value) -> Result<Self::Context, String> {
        drop(context);
        Err(format!("version {version} of its context is not known any more"))
    }
}

/// A TCC action registered on its resource. Cheap to clone.
pub struct Tcc<DB: ActionDatabase, A: TccAction<DB>> {
    pool: ActionPool<DB>,
    action: Arc<A>,
}

impl<DB: ActionDatabase> ActionPool<DB> {
    /// Registers a TCC action, for phase two to find it by its name.
    ///
    /// # Errors
    /// [`ActionError::Name`] if the name cannot be one, or is in use.
    pub fn tcc<A: TccAction<DB>>(&self, action: A) -> Result<Tcc<DB, A>, ActionError> {
        let action = Arc::new(action);
        let named = self.0.tcc.add(A::NAME, Arc::new(Erased::<DB, A>::new(Arc::clone(&action))));
        named.map_err(|why| ActionError::Name { name: A::NAME, why })?;
        Ok(Tcc { pool: self.clone(), action })
    }
}

impl<DB: ActionDatabase, A: TccAction<DB>> Tcc<DB, A> {
    /// Tries the action as a branch of the running task's global transaction.
    ///
    /// # Errors
    /// Those of [`Tcc::try_in`], and [`ActionError::NoTransaction`].
    ///
    /// # Cancel safety
    /// That of [`Tcc::try_in`].
    pub async fn try_phase(
        &self,
        context: A::Context,
    ) -> Result<A::Output, PhaseOneError<A::Error>> {
        let transaction = TransactionContext::current().ok_or(ActionError::NoTransaction)?;
        self.try_in(&transaction, context).await
    }

    /// Tries the action as a branch of `transaction`. When it returns, what it reserved is committed
    /// locally, and exactly one of confirm and cancel will take effect, once.
    ///
    /// # Errors
    /// [`PhaseOneError::Handler`] with the handler's own error. After any error nothing is reserved,
    /// but for [`ActionError::OutcomeUnknown`], after which the global transaction rolls back.
    ///
    /// # Cancel safety
    /// Dropping the future before the local commit leaves nothing. Dropped while it commits, the
    /// branch is what the database made of it: the coordinator asks before it decides.
    pub async fn try_in(
        &self,
        transaction: &TransactionContext,
        context: A::Context,
    ) -> Result<A::Output, PhaseOneError<A::Error>> {
        try_phase::try_in(&self.pool.0, &self.action, transaction, context).await
    }
}

impl<DB: ActionDatabase, A: TccAction<DB>> Clone for Tcc<DB, A> {
    fn clone(&self) -> Self {
        Tcc { pool: self.pool.clone(), action: Arc::clone(&self.action) }
    }
}

impl<DB: ActionDatabase, A: TccAction<DB>> fmt::Debug for Tcc<DB, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcc").field("pool", &self.pool).field("action", &A::NAME).finish()
    }
}
