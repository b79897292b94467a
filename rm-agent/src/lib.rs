//! What a service links to take part in global transactions.
//!
//! An [`Agent`] is one a process. It keeps a session to the coordinator; over it a transaction
//! manager begins and ends global transactions, and participants register their branches and are
//! told the decision. The transaction travels with calls between services: see [`web`].
//!
//! ```no_run
//! use pactum_agent::web::RequestBuilderExt as _;
//! use pactum_agent::{Agent, AgentOptions, RunError};
//!
//! # async fn transfer() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::connect(AgentOptions::new("http://127.0.0.1:8091")).await?;
//! let http = reqwest::Client::new();
//! let transfer = agent.global("transfer").run(async |context| {
//!     http.post("http://bank-a/take/30").send_in(&context).await?.error_for_status()?;
//!     http.post("http://bank-b/give/30").send_in(&context).await?.error_for_status()?;
//!     Ok::<_, reqwest::Error>(())
//! });
//! match transfer.await {
//!     Ok(finished) => println!("done: {:?}", finished.outcome()),
//!     Err(RunError::InDoubt(in_doubt)) => println!("decided: {:?}", in_doubt.ask().await?),
//!     Err(rolled_back) => println!("nothing happened: {rolled_back}"),
//! }
//! agent.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! A participant attaches its database, and its handlers run inside the caller's transaction:
//!
//! ```no_run
//! use axum::routing::post;
//! use axum::{Json, Router, extract::State, http::StatusCode};
//! use pactum_agent::web::ServerLayer;
//! use pactum_agent::{Agent, AtError, AtOptions, AtPool};
//! use sqlx::{Sqlite, SqlitePool};
//!
//! # async fn serve(agent: Agent) -> Result<Router, Box<dyn std::error::Error>> {
//! let pool = SqlitePool::connect("sqlite://bank-a.db").await?;
//! let pool = AtPool::attach(&agent, "bank-a", pool, AtOptions::default().create_tables(true)).await?;
//! let app = Router::new()
//!     .route("/withdraw", post(withdraw))
//!     .with_state(pool)
//!     .layer(ServerLayer::new(&agent));
//! # Ok(app)
//! # }
//!
//! async fn withdraw(State(pool): State<AtPool<Sqlite>>, Json(amount): Json<i64>) -> StatusCode {
//!     // Runs again by itself if it has to wait for a global lock.
//!     let taken = pool.transaction(|tx| {
//!         Box::pin(async move {
//!             sqlx::query("UPDATE account SET balance = balance - ? WHERE id = ?")
//!                 .bind(amount)
//!                 .bind(1)
//!                 .execute(&mut **tx)
//!                 .await?;
//!             Ok::<_, AtError>(())
//!         })
//!     });
//!     match taken.await {
//!         Ok(_) => StatusCode::OK,
//!         Err(error) if error.is_retryable() => StatusCode::CONFLICT,
//!         Err(_) => StatusCode::INTERNAL_SERVER_ERROR, // a 5xx vetoes the global transaction
//!     }
//! }
//! ```
//!
//! Beside AT there are TCC and sagas ([`ActionPool`], [`TccAction`], [`SagaStep`]) and XA ([`XaPool`]).
//! How a run relates to the transaction around it is [`Propagation`]; an `async fn` is run as a whole
//! by [`global_transaction`].

mod action;
mod agent;
mod at;
mod barrier;
mod branch;
mod chain;
mod context;
mod db;
mod link;
mod saga;
pub mod sagas;
mod service;
mod session;
mod tcc;
mod tm;
pub mod web;
mod xa;

pub use action::{
    ActionDatabase, ActionError, ActionOptions, ActionPool, Chance, Handled, PhaseOneError,
};
pub use agent::{Agent, AgentOptions, ConnectError};
pub use at::{
    AtConnection, AtDatabase, AtError, AtOptions, AtPool, AtSavepoint, AtTransaction,
    CheckedStatement, Evidence, Fallback, Refused, SavepointMark, Told, UnreadableUndo, Verdict,
    check_sql, evidence, read_undo,
};
pub use context::{Suspended, TransactionContext};
/// ```
/// use pactum_agent::{Agent, AtError, AtPool, TransactionError, global_transaction};
/// use sqlx::Sqlite;
///
/// struct Bank {
///     agent: Agent,
///     accounts: AtPool<Sqlite>,
/// }
///
/// #[derive(Debug, thiserror::Error)]
/// enum BankError {
///     #[error(transparent)]
///     Database(#[from] AtError),
///     #[error(transparent)]
///     Transaction(#[from] TransactionError),
/// }
///
/// impl Bank {
///     #[global_transaction(agent = self.agent, timeout = "30s")]
///     async fn withdraw(&self, amount: i64) -> Result<(), BankError> {
///         let mut tx = self.accounts.begin().await?;
///         let statement = sqlx::query("UPDATE account SET balance = balance - ? WHERE id = 1");
///         statement.bind(amount).execute(&mut *tx).await.map_err(AtError::from)?;
///         Ok(tx.commit().await?)
///     }
/// }
/// ```
///
/// What cannot be run is refused by the compiler, with what to write:
///
/// ```compile_fail
/// # use pactum_agent::{Agent, TransactionError, global_transaction};
/// #[global_transaction(agent = agent)]
/// fn not_async(agent: &Agent) -> Result<(), TransactionError> {
///     Ok(())
/// }
/// ```
///
/// ```compile_fail
/// # use pactum_agent::{TransactionError, global_transaction};
/// #[global_transaction(name = "nobody runs it")]
/// async fn without_an_agent() -> Result<(), TransactionError> {
///     Ok(())
/// }
/// ```
///
/// ```compile_fail
/// # use pactum_agent::{Agent, global_transaction};
/// #[global_transaction(agent = agent)]
/// async fn no_way_to_say_in_doubt(agent: &Agent) -> Result<(), u32> {
///     Ok(())
/// }
/// ```
pub use pactum_macros::global_transaction;
pub use saga::{Acted, BegunStep, SagaStep, Step, StepCall, StepError};
pub use sagas::{SagaError, Sagas};
pub use service::{ActionService, ServiceError, ServiceOptions, ServiceStep};
pub use session::CallError;
pub use tcc::{Tcc, TccAction};
pub use tm::{
    BeginError, BeginOptions, CanCommit, Decision, Ended, ErrorRules, Fate, Finished, Global,
    GlobalTransaction, Hooks, InDoubt, NestedScope, Outcome, Propagation, Question, QuestionError,
    RollBackAlways, RunError, ScopeUndo, ScopeVetoed, TransactionError, TransactionHandle, Wait,
};
pub use xa::{XaConnection, XaError, XaOptions, XaPool, XaTransaction};
