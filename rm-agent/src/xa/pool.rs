//! The pool that an application holds for a resource in XA mode.
//!
//! ```text
//! begin    register ∥ BEGIN and the barrier row     nothing of the application's runs before both
//! commit   PREPARE                                  phase one done
//!          or left open                            until the manager beside it ends it
//! ```

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_core::future::BoxFuture;
use pactum_core::id::{BranchId, ResourceId};
use pactum_core::transaction::BranchMode;
use sqlx::{Database, Pool};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::check;
use super::connection::XaConnection;
use super::dialect::Limits;
use super::error::XaError;
use super::held::Held;
use super::name::Name;
use super::one_phase::OpenBranches;
use super::options::XaOptions;
use super::phase_two;
use super::support::Support;
use super::texts::Texts;
use super::transaction::XaTransaction;
use super::upkeep::Upkeep;
use crate::agent::Agent;
use crate::at::AtDatabase;
use crate::barrier::{self, Mode, tables};
use crate::branch::BranchKey;
use crate::branch::phase_one::{PhaseOne, Unregistered};
use crate::context::TransactionContext;
use crate::db::{DbError, Failure, OwnConnections};
use crate::link::Link;
use crate::session::Registration;

/// A resource in XA mode. Cheap to clone.
pub struct XaPool<DB: AtDatabase>(pub(super) Arc<Shared<DB>>);

/// What all users of a resource share.
pub(super) struct Shared<DB: Database> {
    pub(super) resource: ResourceId,
    pub(super) pool: Pool<DB>,
    pub(super) link: Arc<dyn Link>,
    pub(super) options: XaOptions,
    /// The prepared transactions, over connections that no application can use up.
    pub(super) support: Support,
    pub(super) texts: Texts,
    /// The branches that keep a connection of `pool` until their manager ends them.
    pub(super) open: Arc<OpenBranches>,
    /// Ends with the last pool.
    pub(super) upkeep: OnceLock<Upkeep>,
}

impl<DB: AtDatabase> XaPool<DB> {
    /// Attaches a database to the agent: checks that it can prepare transactions, checks the agent's
    /// tables in it, learns which database it is, and offers it to the coordinator under the declared
    /// id. From then on phase two comes to it, over connections of its own.
    ///
    /// # Errors
    /// [`XaError::Unsuitable`] with what to change if the database cannot prepare transactions (SQLite
    /// never can); [`XaError::Tables`] with the DDL if the agent's tables are missing;
    /// [`XaError::Coordinator`] if the id is bound to another database.
    pub async fn attach(
        agent: &Agent,
        resource: &str,
        pool: Pool<DB>,
        options: XaOptions,
    ) -> Result<Self, XaError> {
        let resource = resource.parse().map_err(XaError::ResourceId)?;
        let link = Arc::new(agent.session().clone());
        let pool = XaPool::attach_over(link, resource, pool, options).await?;
        pool.keep_up();
        Ok(pool)
    }

    pub(super) async fn attach_over(
        link: Arc<dyn Link>,
        resource: ResourceId,
        pool: Pool<DB>,
        options: XaOptions,
    ) -> Result<Self, XaError> {
        let writer = Arc::new(Semaphore::new(DB::WRITERS));
        let own = OwnConnections {
            count: phase_two::CONNECTIONS,
            local_lock_wait_max: options.local_lock_wait_max,
        };
        let database = DB::own_connections(&pool, &writer, &own);
        let mut local = database.begin().await.map_err(XaError::from_db)?;
        // First of all: of a database that never can, nothing else matters.
        check::dialect(&mut *local).await?;
        let suitable = DB::check_suitable(&mut *local).await.map_err(XaError::from_db)?;
        suitable.map_err(XaError::Unsuitable)?;
        let fresh = (options.environment.random_uid)();
        let uid = tables::ensure(&mut *local, options.create_tables, fresh).await?;
        let (kind, wall) = (local.kind(), options.environment.wall);
        let support = Support::check(&mut *local, Arc::clone(&database), uid, wall).await?;
        local.commit().await.map_err(XaError::from_db)?;

        link.attach(resource.clone(), uid, vec![support.participant()]).await?;
        let texts = Texts::new(kind);
        let open = OpenBranches::new(pool.options().get_max_connections());
        let upkeep = OnceLock::new();
        let shared = Shared { resource, pool, link, options, support, texts, open, upkeep };
        Ok(XaPool(Arc::new(shared)))
    }

    /// The declared id of the resource.
    #[must_use]
    pub fn resource(&self) -> &ResourceId {
        &self.0.resource
    }

    /// The bare pool of sqlx. What is changed through it belongs to no global transaction.
    #[must_use]
    pub fn bypass(&self) -> &Pool<DB> {
        &self.0.pool
    }

    /// Begins a branch of the running task's global transaction.
    ///
    /// # Errors
    /// [`XaError::NoGlobalTransaction`] outside of one; those of [`XaPool::begin_in`].
    ///
    /// # Cancel safety
    /// As [`XaPool::begin_in`].
    pub async fn begin(&self) -> Result<XaTransaction<DB>, XaError> {
        let context = TransactionContext::current().ok_or(XaError::NoGlobalTransaction)?;
        self.begin_in(&context).await
    }

    /// Begins a branch of `context`: registers it, and writes its barrier row as the first thing in
    /// its local transaction.
    ///
    /// # Errors
    /// [`XaError::Busy`] if there is no connection to be had in time; [`XaError::Coordinator`] if the
    /// branch may not join; [`XaError::RolledBack`] if its rollback was here before;
    /// [`XaError::LeftOpen`] if the pool's connection was not free.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing but a branch that is reported as failed.
    pub async fn begin_in(
        &self,
        context: &TransactionContext,
    ) -> Result<XaTransaction<DB>, XaError> {
        let shared = &self.0;
        let left = context.remaining();
        if left.is_zero() {
            return Err(XaError::DeadlinePassed);
        }
        let lock_wait = shared.options.local_lock_wait_max.min(left);
        let branch = shared.link.next_branch_id().await?;
        let connection = timeout(lock_wait, shared.pool.acquire()).await;
        let connection = connection
            .map_err(|_| XaError::Busy("no connection of the pool became free in time".into()))?;
        let mut held = Held::new(connection.map_err(XaError::Database)?);
        let key = BranchKey { xid: context.xid_here().clone(), branch };
        let name = shared.support.name(context, key);

        // The agent named the branch, so its row can be written while the coordinator makes the
        // registration durable. Both are waited for, whatever the other brings.
        let (registered, begun) = tokio::join!(
            self.register(context, branch),
            self.write_first(&mut held, &name, Limits { lock_wait, left }),
        );
        // Dropped here, `held` closes its connection, and `registered` says that the branch failed.
        begun?;
        let connection = XaConnection {
            shared: Arc::clone(shared),
            context: context.clone(),
            name,
            held,
            only_read: true,
            broken: None,
        };
        match registered {
            Ok(phase_one) => Ok(XaTransaction { connection, phase_one }),
            Err(error) => {
                connection.abandon().await;
                Err(error)
            }
        }
    }

    async fn register(
        &self,
        context: &TransactionContext,
        branch: BranchId,
    ) -> Result<PhaseOne, XaError> {
        let Shared { link, resource, .. } = &*self.0;
        let registration = Registration {
            branch,
            resource: resource.clone(),
            mode: BranchMode::Xa,
            action: None,
            locks: Vec::new(),
            wait: Duration::ZERO,
            holds_local_locks: false,
            lock_only: false,
            claim: None,
        };
        let registered = PhaseOne::register(Arc::clone(link), context, &registration).await;
        registered.map_err(|unregistered| match unregistered {
            Unregistered::Call(error) => error.into(),
            Unregistered::DeadlinePassed => XaError::DeadlinePassed,
        })
    }

    async fn write_first(
        &self,
        held: &mut Held<DB>,
        name: &Name,
        limits: Limits,
    ) -> Result<(), XaError> {
        let Support { prepared, table } = &self.0.support;
        let wall = (prepared.wall)();
        let row = barrier::insert_open_text(table, &name.key, name.store, Mode::Xa, wall);
        let text = prepared.dialect.begin(name, limits, &row);
        let begun = DB::sql(held).run(&text).await;
        begun.map(drop).map_err(begin_failed::<DB>)
    }

    /// Runs `body` as a branch of the running task's global transaction, and prepares it if `body`
    /// returns `Ok`. It runs once.
    ///
    /// # Errors
    /// What `body` returns, after a local rollback; otherwise an [`XaError`].
    ///
    /// # Cancel safety
    /// As [`XaTransaction::commit`].
    pub async fn transaction<F, R, E>(&self, body: F) -> Result<R, E>
    where
        F: for<'t> FnOnce(&'t mut XaTransaction<DB>) -> BoxFuture<'t, Result<R, E>> + Send,
        R: Send,
        E: From<XaError> + Send,
    {
        let context = TransactionContext::current().ok_or(XaError::NoGlobalTransaction)?;
        self.transaction_in(&context, body).await
    }

    /// Runs `body` as a branch of `context`, like [`XaPool::transaction`].
    ///
    /// # Errors
    /// Those of [`XaPool::transaction`].
    pub async fn transaction_in<F, R, E>(
        &self,
        context: &TransactionContext,
        body: F,
    ) -> Result<R, E>
    where
        F: for<'t> FnOnce(&'t mut XaTransaction<DB>) -> BoxFuture<'t, Result<R, E>> + Send,
        R: Send,
        E: From<XaError> + Send,
    {
        let mut transaction = self.begin_in(context).await?;
        match body(&mut transaction).await {
            Ok(value) => {
                transaction.commit().await?;
                Ok(value)
            }
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }
}

fn begin_failed<DB: AtDatabase>(error: DbError) -> XaError {
    if error.source.downcast_ref().is_some_and(DB::was_left_open) {
        return XaError::LeftOpen;
    }
    match error.failure {
        Failure::Unique => XaError::RolledBack,
        Failure::Busy | Failure::Constraint | Failure::Statement | Failure::Other => {
            XaError::from_db(error)
        }
    }
}

impl<DB: AtDatabase> Clone for XaPool<DB> {
    fn clone(&self) -> Self {
        XaPool(Arc::clone(&self.0))
    }
}

impl<DB: AtDatabase> fmt::Debug for XaPool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XaPool").field("resource", &self.0.resource).finish_non_exhaustive()
    }
}
