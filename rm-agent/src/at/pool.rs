//! The pool that an application holds instead of sqlx's.
//!
//! `&AtPool` runs single statements, [`AtPool::begin`] and [`AtPool::transaction`] local
//! transactions; inside a global transaction as its branches, outside guarded. There is no way from
//! it to the bare pool but by name: [`AtPool::bypass`].

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::TryStreamExt;
use pactum_core::id::ResourceId;
use pactum_core::transaction::BranchMode;
use sqlx::{Database, Execute, Executor, Pool, SqlStr};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::cache::{Cache, Ready};
use super::connection::{AtConnection, Gathered, Health, Turn};
use super::engine::{AtDatabase, Statement, Step};
use super::error::AtError;
use super::held::Held;
use super::options::{AtOptions, Fallback};
use super::phase_two::{AtParticipant, CONNECTIONS};
use super::plan::{Plan, Refused};
use super::ready::make_ready;
use super::transaction::AtTransaction;
use super::upkeep::Upkeep;
use crate::agent::Agent;
use crate::barrier::tables;
use crate::context::TransactionContext;
use crate::db::{Failure, Kind, LocalDatabase, OwnConnections};
use crate::link::Link;
use crate::session::{Claim, Participant};
use crate::xa::Support;

const SQLITE_CANNOT_FALL_BACK: &str = "SQLite has no prepared transactions, so nothing can fall back to \
     XA there: leave `AtOptions::fallback` out";

/// A resource in AT mode. Cheap to clone.
pub struct AtPool<DB: AtDatabase>(pub(super) Arc<Shared<DB>>, Begins);

/// As what local transactions of a global one begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Undoable,
    /// So that they can be prepared, where that must be known at the begin.
    FallingBack,
}

/// What all users of a resource share.
pub(super) struct Shared<DB: AtDatabase> {
    pub(super) resource: ResourceId,
    pub(super) pool: Pool<DB>,
    pub(super) link: Arc<dyn Link>,
    pub(super) options: AtOptions,
    pub(super) cache: Cache,
    /// See [`Driver::barrier_place`](crate::db::Driver::barrier_place).
    pub(super) barrier_place: Option<Arc<str>>,
    /// The queue for the database's write lock, shared with phase two. First come, first served.
    pub(super) writer: Arc<Semaphore>,
    /// How many local transactions may hold a connection of the pool, so that waiting writers never
    /// use up what readers need.
    pub(super) entrants: Arc<Semaphore>,
    /// How many local transactions may wait for global locks with a connection in hand: half of the
    /// pool, so that the other half goes on.
    pub(super) waits: Arc<Semaphore>,
    /// Connections that no application can use up.
    pub(super) own: Arc<dyn LocalDatabase>,
    /// Where statements that AT cannot undo fall back to it.
    pub(super) xa: Option<Support>,
    /// Ends with the last pool.
    pub(super) upkeep: OnceLock<Upkeep>,
}

impl<DB: AtDatabase> AtPool<DB> {
    /// Attaches a database to the agent: checks the agent's tables in it, learns which database it
    /// is, and offers it to the coordinator under the declared id. From then on phase two comes to
    /// it, over connections of its own.
    ///
    /// # Errors
    /// [`AtError::Tables`] with the DDL if the agent's tables are missing; [`AtError::Coordinator`]
    /// if the id is bound to another database.
    pub async fn attach(
        agent: &Agent,
        resource: &str,
        pool: Pool<DB>,
        options: AtOptions,
    ) -> Result<Self, AtError> {
        let resource = resource.parse().map_err(AtError::ResourceId)?;
        let link = Arc::new(agent.session().clone());
        let pool = AtPool::attach_over(link, resource, pool, options).await?;
        pool.keep_up();
        Ok(pool)
    }

    pub(super) async fn attach_over(
        link: Arc<dyn Link>,
        resource: ResourceId,
        pool: Pool<DB>,
        options: AtOptions,
    ) -> Result<Self, AtError> {
        let writer = Arc::new(Semaphore::new(DB::WRITERS));
        let connections =
            OwnConnections { count: CONNECTIONS, local_lock_wait_max: options.local_lock_wait_max };
        let own = DB::own_connections(&pool, &writer, &connections);
        let mut local = own.begin().await.map_err(AtError::from_db)?;
        let suitable = DB::check_suitable(&mut *local).await.map_err(AtError::from_db)?;
        suitable.map_err(AtError::Unsuitable)?;
        let fresh = (options.environment.random_uid)();
        let uid = tables::ensure(&mut *local, options.create_tables, fresh).await?;
        let barrier_place = DB::barrier_place(&mut *local).await.map_err(AtError::from_db)?;
        let xa = match options.fallback {
            Fallback::Refuse => None,
            Fallback::Xa | Fallback::XaWithoutLocks => {
                if local.kind() == Kind::Sqlite {
                    return Err(AtError::Unsuitable(SQLITE_CANNOT_FALL_BACK));
                }
                let (database, wall) = (Arc::clone(&own), options.environment.wall);
                let support = Support::check(&mut *local, database, uid, wall).await;
                Some(support.map_err(AtError::from_xa)?)
            }
        };
        local.commit().await.map_err(AtError::from_db)?;

        let participant = AtParticipant {
            database: Arc::clone(&own),
            dialect: DB::dialect(),
            environment: options.environment,
            writers: DB::WRITERS,
            undo_log_bytes_max: options.undo_log_bytes_max,
        };
        let mut modes: Vec<(BranchMode, Arc<dyn Participant>)> =
            vec![(BranchMode::At, Arc::new(participant))];
        modes.extend(xa.as_ref().map(Support::participant));
        link.attach(resource.clone(), uid, modes).await?;
        let cache = Cache::default();
        let connections = usize::try_from(pool.options().get_max_connections()).unwrap_or(1);
        let half = (connections / 2).max(1);
        let entrants = Arc::new(Semaphore::new(if DB::WRITERS == 1 { half } else { connections }));
        let waits = Arc::new(Semaphore::new(half));
        let upkeep = OnceLock::new();
        let shared = Shared {
            resource,
            pool,
            link,
            options,
            cache,
            barrier_place,
            writer,
            entrants,
            waits,
            own,
            xa,
            upkeep,
        };
        Ok(AtPool::of(Arc::new(shared)))
    }

    pub(super) fn of(shared: Arc<Shared<DB>>) -> Self {
        AtPool(shared, Begins::Undoable)
    }

    /// The same resource, for local transactions in which any statement may fall back to XA.
    ///
    /// MySQL and MariaDB must be told at its begin that a local transaction will be prepared, so there
    /// each one of this pool in a global transaction is an XA branch, whatever runs in it. From the pool
    /// itself only a *first* statement can fall back. On PostgreSQL both are the same.
    ///
    /// # Errors
    /// [`AtError::Refused`] if the resource was attached without [`AtOptions::fallback`].
    pub fn with_fallback(&self) -> Result<Self, AtError> {
        if self.0.xa.is_none() {
            let why = "the resource was attached without a fallback";
            let instead = "attach it with `AtOptions::fallback`";
            return Err(Refused::new("local transaction", why, instead).into());
        }
        Ok(AtPool(Arc::clone(&self.0), Begins::FallingBack))
    }

    /// The declared id of the resource.
    #[must_use]
    pub fn resource(&self) -> &ResourceId {
        &self.0.resource
    }

    /// The bare pool of sqlx. **What is changed through it is not undone**, not locked, and may make
    /// a rollback park.
    #[must_use]
    pub fn bypass(&self) -> &Pool<DB> {
        &self.0.pool
    }

    /// Begins a local transaction: a branch of the running task's global transaction, or, outside of
    /// one, a local transaction whose changes are checked against the global locks before they
    /// are committed.
    ///
    /// It fails with [`AtError::LockConflict`] at the commit if a lock is taken, without waiting:
    /// see [`AtPool::transaction`] for the form that waits.
    ///
    /// # Errors
    /// [`AtError::Busy`] if other local transactions keep the database for too long.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing.
    pub async fn begin(&self) -> Result<AtTransaction<DB>, AtError> {
        self.open(TransactionContext::current(), None).await
    }

    /// Begins a local transaction as a branch of `context`.
    ///
    /// # Errors
    /// Those of [`AtPool::begin`].
    pub async fn begin_in(
        &self,
        context: &TransactionContext,
    ) -> Result<AtTransaction<DB>, AtError> {
        self.open(Some(context.clone()), None).await
    }

    pub(super) async fn open(
        &self,
        context: Option<TransactionContext>,
        claim: Option<Claim>,
    ) -> Result<AtTransaction<DB>, AtError> {
        let shared = &self.0;
        let mut wait = shared.options.local_lock_wait_max;
        if let Some(context) = &context {
            wait = wait.min(context.remaining());
            if wait.is_zero() {
                return Err(AtError::DeadlinePassed);
            }
        }
        let branch = match (&context, self.1) {
            (Some(context), Begins::FallingBack) => shared.branch(context).await?,
            (Some(_) | None, Begins::Undoable) | (None, Begins::FallingBack) => None,
        };
        let until = Instant::now() + wait;
        let busy = |_| {
            let why = "other local transactions keep it for too long";
            AtError::Busy(why.into()).or_late(context.as_ref())
        };
        let failed = |error| begin_failed::<DB>(error).or_late(context.as_ref());
        // The connection comes before the turn: phase two, which has connections of its own, must
        // never queue behind one who has the turn and waits for the pool.
        let entrant = timeout_at(until, Arc::clone(&shared.entrants).acquire_owned());
        let entrant = entrant.await.map_err(busy)?.expect("the semaphore is never closed");
        let connection = timeout_at(until, shared.pool.acquire()).await.map_err(busy)?;
        let connection = connection.map_err(failed)?;
        let writer = timeout_at(until, Arc::clone(&shared.writer).acquire_owned());
        let writer = writer.await.map_err(busy)?.expect("the semaphore is never closed");
        let local = match branch {
            Some(branch) => Held::begin_branch(connection, branch).await,
            None => {
                let left = context.as_ref().map(TransactionContext::remaining);
                Held::begin(connection, DB::begin(left)).await
            }
        };
        let local = local.map_err(failed)?;
        let turn = Turn { _writer: writer, _entrant: entrant };
        let connection = AtConnection {
            shared: Arc::clone(shared),
            context,
            local,
            turn,
            gathered: Gathered::default(),
            health: Health::Sound,
            conflict: None,
            again: None,
            savepoints: 0,
            outermost: None,
            is_untouched: true,
            abandoned: None,
        };
        Ok(AtTransaction { connection, claim })
    }

    /// A connection outside of any local transaction.
    async fn hold(&self) -> Result<Held<DB>, sqlx::Error> {
        self.0.pool.acquire().await.map(Held::new)
    }

    /// Whether a statement changes nothing and asks for no locks. Refuses what cannot be undone.
    async fn is_plain_read(&self, sql: &str) -> Result<bool, AtError> {
        let shared = &self.0;
        match shared.cache.find(sql) {
            Some(Ready::Read) => Ok(true),
            Some(Ready::LockingRead(_) | Ready::Change(_)) => Ok(false),
            None => match DB::plan(sql) {
                Ok(Plan::Read) => {
                    let mut connection = self.hold().await.map_err(AtError::Database)?;
                    connection.sending();
                    let ready = make_ready::<DB>(&mut connection, sql).await;
                    connection.answered();
                    match ready {
                        Ok(ready) => {
                            shared.cache.insert(sql, ready);
                            Ok(true)
                        }
                        Err(AtError::Refused(_)) if shared.xa.is_some() => Ok(false),
                        Err(error) => Err(error),
                    }
                }
                Ok(Plan::LockingRead(_) | Plan::Change(_)) => Ok(false),
                // In a branch of its own, which falls back to XA.
                Err(_) if shared.xa.is_some() => Ok(false),
                Err(refused) => Err(refused.into()),
            },
        }
    }
}

/// Why a local transaction did not begin.
pub(super) fn begin_failed<DB: AtDatabase>(error: sqlx::Error) -> AtError {
    if DB::was_left_open(&error) {
        return AtError::LeftOpen;
    }
    match DB::classify(&error) {
        Failure::Busy => AtError::Busy(Box::new(error)),
        Failure::Unique | Failure::Constraint | Failure::Statement | Failure::Other => {
            AtError::Database(error)
        }
    }
}

impl<DB: AtDatabase> Clone for AtPool<DB> {
    fn clone(&self) -> Self {
        AtPool(Arc::clone(&self.0), self.1)
    }
}

impl<DB: AtDatabase> fmt::Debug for AtPool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtPool").field("resource", &self.0.resource).finish_non_exhaustive()
    }
}

/// One statement as its own branch; it waits outside of the database for taken locks.
impl<'p, DB: AtDatabase> Executor<'p> for &'p AtPool<DB> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step<DB>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let statement = Statement::take(query);
        Box::pin(async_stream::try_stream! {
            let mut statement = statement?;
            if self.is_plain_read(statement.sql.as_str()).await? {
                let mut connection = self.hold().await?;
                let mut steps = connection.read(statement);
                while let Some(step) = steps.try_next().await? {
                    yield step;
                }
            } else {
                let context = TransactionContext::current();
                for step in self.single(context, &mut statement).await? {
                    yield step;
                }
            }
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let mut rows = self.fetch(query);
        Box::pin(async move { rows.try_next().await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<<DB as Database>::Statement, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut connection = self.hold().await?;
            connection.sending();
            let prepared = DB::prepare(&mut connection, sql, parameters).await;
            connection.answered();
            prepared
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<DB>, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut connection = self.hold().await?;
            connection.sending();
            let described = DB::describe(&mut connection, sql).await;
            connection.answered();
            described
        })
    }
}
