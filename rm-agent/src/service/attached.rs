//! What an application holds: a service without a database, and the steps registered on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{Malformed, ResourceId};
use pactum_core::transaction::BranchMode;

use super::ServiceStep;
use super::erased::{Erased, Handler};
use super::participant::ServiceParticipant;
use crate::action::Registry;
use crate::agent::Agent;
use crate::session::{CallError, Session};

/// A service whose steps take part in declared sagas without a database of its own. Cheap to clone.
///
/// Register every step at start, right after [`ActionService::attach`]: work of sagas from before a
/// restart comes at once, and finds its handler by name.
#[derive(Clone)]
pub struct ActionService {
    session: Session,
    resource: ResourceId,
    steps: Arc<Registry<dyn Handler>>,
}

/// The limits of a service's steps.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    pub(super) handlers_at_once: u32,
    pub(super) handler_wait_max: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        ServiceOptions { handlers_at_once: 64, handler_wait_max: Duration::from_secs(30) }
    }
}

impl ServiceOptions {
    /// How many actions run side by side, and as many compensations. Default 64: they mostly wait for
    /// somebody else.
    #[must_use]
    pub fn handlers_at_once(mut self, handlers: u32) -> Self {
        self.handlers_at_once = handlers;
        self
    }

    /// How long one call of a compensation may take; beyond, it is dropped and called again later. Default
    /// 30 s, at most 5 min. The time of an action is its definition's to say.
    #[must_use]
    pub fn handler_wait_max(mut self, wait: Duration) -> Self {
        self.handler_wait_max = wait;
        self
    }

    fn fault(&self) -> Option<&'static str> {
        if self.handlers_at_once == 0 || self.handlers_at_once > HANDLERS_MOST {
            return Some("handlers_at_once must be between 1 and 10,000");
        }
        if self.handler_wait_max.is_zero() || self.handler_wait_max > HANDLER_WAIT_MOST {
            return Some("handler_wait_max must be longer than zero and at most 5 min");
        }
        None
    }
}

/// Each has a task that waits for work.
const HANDLERS_MOST: u32 = 10_000;
/// The session gives up a compensation after 10 min.
const HANDLER_WAIT_MOST: Duration = Duration::from_secs(5 * 60);

/// Why a service is not attached, or a step not registered.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The resource id is none.
    #[error("the resource id is none: {0}")]
    ResourceId(#[source] Malformed),
    /// A limit is out of its bounds.
    #[error("the options are wrong: {0}")]
    Options(&'static str),
    /// A step's name cannot be one.
    #[error("the step cannot be called `{name}`: {why}")]
    Name {
        /// The name.
        name: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The coordinator refused it, or did not answer.
    #[error("the coordinator did not attach the service: {0}")]
    Coordinator(#[source] CallError),
}

impl ActionService {
    /// Attaches a service to the agent under its declared id.
    ///
    /// # Errors
    /// [`ServiceError::Coordinator`] if the id is bound to a database.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the service attached or not; attach it again.
    pub async fn attach(
        agent: &Agent,
        resource: &str,
        options: ServiceOptions,
    ) -> Result<Self, ServiceError> {
        let resource: ResourceId = resource.parse().map_err(ServiceError::ResourceId)?;
        if let Some(fault) = options.fault() {
            return Err(ServiceError::Options(fault));
        }
        let session = agent.session().clone();
        let steps: Arc<Registry<dyn Handler>> = Arc::default();
        let participant = ServiceParticipant { steps: Arc::clone(&steps), options };
        let attached =
            session.attach(resource.clone(), None, vec![(BranchMode::Saga, Arc::new(participant))]);
        attached.await.map_err(ServiceError::Coordinator)?;
        Ok(ActionService { session, resource, steps })
    }

    /// Registers a step, and offers it to declared sagas.
    ///
    /// # Errors
    /// [`ServiceError::Name`] if the name cannot be one, or is in use.
    pub fn saga<S: ServiceStep>(&self, step: S) -> Result<(), ServiceError> {
        let named = self.steps.add(S::NAME, Arc::new(Erased(step)));
        named.map_err(|why| ServiceError::Name { name: S::NAME, why })?;
        self.session.offer(&self.resource);
        Ok(())
    }

    /// The declared id of the service.
    #[must_use]
    pub fn resource(&self) -> &ResourceId {
        &self.resource
    }
}

impl fmt::Debug for ActionService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionService").field("resource", &self.resource).finish_non_exhaustive()
    }
}
