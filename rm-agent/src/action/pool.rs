//! What an application holds: a database, and the TCC and saga actions registered on it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use pactum_core::fence::Step;
use pactum_core::id::ResourceId;
use pactum_core::transaction::BranchMode;
use pactum_proto::v1::OfferedAction;
use sqlx::{Database, Pool};
use tokio::sync::Semaphore;

use super::error::ActionError;
use super::handler::Handler;
use super::options::ActionOptions;
use super::participant::ActionParticipant;
use super::upkeep::Upkeep;
use crate::agent::Agent;
use crate::barrier::{Mode, tables};
use crate::db::{Driver, LocalDatabase, OwnConnections};
use crate::link::Link;
use crate::session::Participant;

/// A database that TCC and saga actions work on. Implemented here, for the databases named in the
/// documentation.
pub trait ActionDatabase: Database + Driver {}

impl<DB: Database + Driver> ActionDatabase for DB {}

/// A database whose TCC and saga actions take part in global transactions. Cheap to clone.
///
/// Register every action at start, right after [`ActionPool::attach`]: phase two of a transaction
/// from before a restart comes at once, and finds its handler by name.
pub struct ActionPool<DB: ActionDatabase>(pub(crate) Arc<Shared<DB>>);

/// What all users of a resource share.
pub(crate) struct Shared<DB: ActionDatabase> {
    pub(crate) resource: ResourceId,
    /// The application's.
    pub(crate) pool: Pool<DB>,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) options: ActionOptions,
    /// See [`Driver::barrier_place`](crate::db::Driver::barrier_place).
    pub(crate) barrier_place: Option<Arc<str>>,
    /// The queue for the database's write lock, shared with phase two.
    pub(crate) writer: Arc<Semaphore>,
    /// Connections that no application can use up.
    pub(crate) own: Arc<dyn LocalDatabase>,
    pub(crate) tcc: Arc<Registry<DB>>,
    pub(crate) saga: Arc<Registry<DB>>,
    /// Ends with the last pool.
    pub(super) upkeep: OnceLock<Upkeep>,
}

/// The actions of one mode, by name.
pub(crate) struct Registry<DB: ActionDatabase>(
    RwLock<BTreeMap<&'static str, Arc<dyn Handler<DB>>>>,
);

/// The longest name of an action, in bytes: the coordinator stores it with every branch.
pub(crate) const NAME_BYTES_MAX: usize = 64;

impl<DB: ActionDatabase> Registry<DB> {
    fn new() -> Arc<Self> {
        Arc::new(Registry(RwLock::default()))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<dyn Handler<DB>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The steps, as they are offered to declared sagas.
    pub(super) fn offers(&self) -> Vec<OfferedAction> {
        let actions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let offer = |(name, handler): (&&str, &Arc<dyn Handler<DB>>)| OfferedAction {
            name: (*name).to_owned(),
            compensable: handler.step() == Step::Compensable,
        };
        actions.iter().map(offer).collect()
    }

    pub(crate) fn add(
        &self,
        name: &'static str,
        handler: Arc<dyn Handler<DB>>,
    ) -> Result<(), ActionError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(ActionError::Name { name, why: "a name has 1 to 64 bytes" });
        }
        let mut actions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if actions.contains_key(name) {
            let why = "another action of this resource and mode has this name";
            return Err(ActionError::Name { name, why });
        }
        actions.insert(name, handler);
        Ok(())
    }
}

impl<DB: ActionDatabase> ActionPool<DB> {
    /// Attaches a database to the agent: checks the agent's tables in it, learns which database it
    /// is, and offers it to the coordinator under the declared id. A database that is attached in
    /// another mode too has the same id in both.
    ///
    /// # Errors
    /// [`ActionError::Tables`] with the DDL if the agent's tables are missing;
    /// [`ActionError::Coordinator`] if the id is bound to another database.
    pub async fn attach(
        agent: &Agent,
        resource: &str,
        pool: Pool<DB>,
        options: ActionOptions,
    ) -> Result<Self, ActionError> {
        let resource = resource.parse().map_err(ActionError::ResourceId)?;
        let link = Arc::new(agent.session().clone());
        let pool = ActionPool::attach_over(link, resource, pool, options).await?;
        pool.keep_up();
        Ok(pool)
    }

    pub(crate) async fn attach_over(
        link: Arc<dyn Link>,
        resource: ResourceId,
        pool: Pool<DB>,
        options: ActionOptions,
    ) -> Result<Self, ActionError> {
        if let Some(fault) = options.fault() {
            return Err(ActionError::Options(fault));
        }
        let writer = Arc::new(Semaphore::new(DB::WRITERS));
        let connections = OwnConnections {
            count: options.handlers_at_once,
            local_lock_wait_max: options.local_lock_wait_max,
        };
        let own = DB::own_connections(&pool, &writer, &connections);
        let mut local = own.begin().await.map_err(ActionError::from_db)?;
        let suitable = DB::check_suitable(&mut *local).await.map_err(ActionError::from_db)?;
        suitable.map_err(ActionError::Unsuitable)?;
        let fresh = (options.environment.random_uid)();
        let uid = tables::ensure(&mut *local, options.create_tables, fresh).await?;
        let barrier_place = DB::barrier_place(&mut *local).await.map_err(ActionError::from_db)?;
        local.commit().await.map_err(ActionError::from_db)?;

        let (tcc, saga) = (Registry::new(), Registry::new());
        let modes = [
            (BranchMode::Tcc, Mode::Tcc, Arc::clone(&tcc)),
            (BranchMode::Saga, Mode::Saga, Arc::clone(&saga)),
        ];
        let handlers = ActionParticipant::<DB>::handlers_pool(&pool, &options);
        let participant = |(mode, barrier_mode, registry)| {
            let participant = ActionParticipant {
                mode: barrier_mode,
                registry,
                pool: handlers.clone(),
                writer: Arc::clone(&writer),
                own: Arc::clone(&own),
                barrier_place: barrier_place.clone(),
                options: options.clone(),
            };
            (mode, Arc::new(participant) as Arc<dyn Participant>)
        };
        let participants = modes.into_iter().map(participant).collect();
        link.attach(resource.clone(), uid, participants).await?;
        Ok(ActionPool(Arc::new(Shared {
            resource,
            pool,
            link,
            options,
            barrier_place,
            writer,
            own,
            tcc,
            saga,
            upkeep: OnceLock::new(),
        })))
    }

    /// The declared id of the resource.
    #[must_use]
    pub fn resource(&self) -> &ResourceId {
        &self.0.resource
    }
}

impl<DB: ActionDatabase> Clone for ActionPool<DB> {
    fn clone(&self) -> Self {
        ActionPool(Arc::clone(&self.0))
    }
}

impl<DB: ActionDatabase> fmt::Debug for ActionPool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionPool").field("resource", &self.0.resource).finish_non_exhaustive()
    }
}
