//! The agent: one a process.

use std::time::Duration;

use pactum_core::id::StoreId;

use crate::context::{TransactionContext, waiting_xid};
use crate::sagas::Sagas;
use crate::session::{CallError, DialEndpoint, Environment, Session};
use crate::tm::{
    BeginError, BeginOptions, CanCommit, Global, GlobalTransaction, HookList, Hooks, NestedScope,
    Question, can_commit,
};

/// How an agent reaches its coordinator, and how patient it is.
///
/// ```
/// use std::time::Duration;
/// use pactum_agent::AgentOptions;
///
/// let options = AgentOptions {
///     answer_wait_max: Duration::from_secs(5),
///     ..AgentOptions::new("http://127.0.0.1:8091")
/// };
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The coordinator's address, such as `http://127.0.0.1:8091`.
    pub coordinator: String,
    /// How long [`Agent::connect`] waits for the first session. Default 10 s: a coordinator that
    /// starts beside the service is up by then. Zero does not wait: the agent connects when it can.
    pub connect_wait_max: Duration,
    /// How long a call waits for an answer that should come at once, over any number of reconnects;
    /// for a commit, how long until it is in doubt. Default 10 s: longer than the coordinator's own
    /// waits for phase one (5 s) and completion (2 s), and long enough for a restart.
    pub answer_wait_max: Duration,
    /// How long [`Agent::shutdown`] waits for background work. Default 5 s.
    pub shutdown_wait_max: Duration,
}

impl AgentOptions {
    /// The defaults, for a coordinator at `coordinator`.
    #[must_use]
    pub fn new(coordinator: impl Into<String>) -> Self {
        AgentOptions {
            coordinator: coordinator.into(),
            connect_wait_max: Duration::from_secs(10),
            answer_wait_max: Duration::from_secs(10),
            shutdown_wait_max: Duration::from_secs(5),
        }
    }
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not one.
    #[error(
        "the coordinator's address `{address}` is not one: write it like http://127.0.0.1:8091"
    )]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
    /// No call could ever be answered.
    #[error("answer_wait_max must be longer than zero")]
    NoPatience,
    /// No session within `connect_wait_max`.
    #[error("no session with the coordinator at `{address}`")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What happened.
        #[source]
        source: CallError,
    },
}

/// The agent of this process: begins global transactions, and speaks to the coordinator for all its
/// resources. Cheap to clone; make one and keep it.
#[derive(Clone, Debug)]
pub struct Agent {
    session: Session,
    shutdown_wait_max: Duration,
    hooks: HookList,
}

impl Agent {
    /// Connects to the coordinator, and stays connected: a lost session is opened again by itself.
    ///
    /// # Errors
    ///
    /// The options are wrong, or no session came up within `connect_wait_max`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn connect(options: AgentOptions) -> Result<Self, ConnectError> {
        let address = options.coordinator.clone();
        let dial = DialEndpoint::new(address.clone())
            .map_err(|source| ConnectError::Address { address, source })?;
        Agent::connect_in(Environment::real(dial), options).await
    }

    /// As [`Agent::connect`], in a given environment.
    pub(crate) async fn connect_in(
        environment: Environment,
        options: AgentOptions,
    ) -> Result<Self, ConnectError> {
        if options.answer_wait_max.is_zero() {
            return Err(ConnectError::NoPatience);
        }
        let session = Session::start(environment, options.answer_wait_max);
        if !options.connect_wait_max.is_zero()
            && let Err(source) = session.connected(options.connect_wait_max).await
        {
            return Err(ConnectError::Unreachable { address: options.coordinator, source });
        }
        let hooks = HookList::default();
        Ok(Agent { session, shutdown_wait_max: options.shutdown_wait_max, hooks })
    }

    /// The same agent, and `hooks` hear of every transaction that is begun through it or its clones.
    #[must_use]
    pub fn with_hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks.push(hooks);
        self
    }

    /// A global transaction to be run as a closure.
    pub fn global<'a>(&'a self, name: &'a str) -> Global<'a> {
        Global::new(&self.session, &self.hooks, name)
    }

    /// Begins a global transaction that the caller ends. Inside another one it is independent of it
    /// (REQUIRES_NEW: to join, pass the context on, and end nothing), and the coordinator is told, so
    /// that waiting for the suspended one fails at once.
    ///
    /// # Errors
    ///
    /// The coordinator refused, or did not answer within `answer_wait_max`.
    pub async fn begin(
        &self,
        name: &str,
        options: BeginOptions,
    ) -> Result<GlobalTransaction, BeginError> {
        let outer = waiting_xid();
        let hooks = self.hooks.clone();
        GlobalTransaction::begin(&self.session, hooks, name, options, outer.as_ref()).await
    }

    /// Opens a scope inside a global transaction, which its owner keeps or rolls back without the
    /// rest. Asks nobody.
    ///
    /// # Errors
    ///
    /// 16 scopes lie in each other already.
    pub fn begin_nested(&self, outer: &TransactionContext) -> Result<NestedScope, BeginError> {
        NestedScope::open(&self.session, outer)
    }

    /// Declared sagas: processes that the coordinator drives.
    #[must_use]
    pub fn sagas(&self) -> Sagas {
        Sagas::new(&self.session)
    }

    /// Asks the participants of the actions that a transaction is about to try whether these have a
    /// chance as things are, so that a hopeless one ends before it reserves anything. Advice: nothing
    /// is reserved or promised by a [`CanCommit::Yes`], and an [`CanCommit::Unknown`] is no *no*.
    ///
    /// # Errors
    ///
    /// The coordinator refused the question: there are too many, or they are too large.
    pub async fn can_commit(
        &self,
        context: &TransactionContext,
        questions: &[Question],
    ) -> Result<CanCommit, CallError> {
        can_commit(&self.session, context, questions).await
    }

    /// The store of the coordinator that was last heard; `None` before the first session.
    #[must_use]
    pub fn store(&self) -> Option<StoreId> {
        self.session.store()
    }

    /// Finishes what runs in the background, at most for `shutdown_wait_max`, and closes the session.
    /// Transactions that are still open get no more answers; their deadline rolls them back.
    pub async fn shutdown(&self) {
        self.session.close(self.shutdown_wait_max).await;
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }
}
