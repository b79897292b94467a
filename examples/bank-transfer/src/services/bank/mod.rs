//! A bank: accounts and a ledger in a database of its own.
//!
//! Its handlers are ordinary: a local transaction with ordinary SQL, which is in a file for each
//! database. That they take part in a global one is seen in two places only: the layer around the
//! router, which takes the XID from the request's headers, and the pool, which is the agent's.

mod mysql;
mod postgres;
mod sqlite;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use futures_util::future::BoxFuture;
use pactum_agent::web::ServerLayer;
use pactum_agent::{
    Agent, AgentOptions, AtDatabase, AtError, AtOptions, AtPool, AtTransaction, TransactionContext,
};
use sqlx::{MySql, Pool, Postgres, Sqlite};

use super::order::{Entry, Leg, Refusal, chain};
use super::serve;
use super::tell::{Step, Teller};
use crate::books;

/// The variable that holds the URL of its database.
pub(crate) const DB_URL: &str = "BANK_DB_URL";

/// A bank.
#[derive(Debug, Args)]
pub(crate) struct BankArgs {
    /// Its name.
    name: String,
    /// What the coordinator knows its database as.
    #[arg(long)]
    resource: String,
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// The coordinator.
    #[arg(long)]
    tc: String,
    /// Its database. In the environment, because everybody may read the arguments of a process, and
    /// a URL may hold a password.
    #[arg(long, env = DB_URL, hide_env_values = true)]
    db_url: String,
    /// How many accounts are opened.
    #[arg(long)]
    accounts: u32,
    /// What each holds when it is opened.
    #[arg(long)]
    opening: i64,
    /// Who is told each step.
    #[arg(long)]
    story: Option<String>,
}

/// What the handlers ask of a database.
trait Accounts: AtDatabase {
    /// Books a leg, in `tx`: account and ledger. The new balance, or none if the account is short.
    fn book<'t>(
        tx: &'t mut AtTransaction<Self>,
        transfer: &'t str,
        leg: &'t Leg,
    ) -> BoxFuture<'t, Result<Option<i64>, sqlx::Error>>;

    /// All balances by account, in order.
    fn balances(pool: &AtPool<Self>) -> BoxFuture<'_, Result<Vec<(i64, i64)>, sqlx::Error>>;
}

struct Bank<DB: Accounts> {
    name: String,
    pool: AtPool<DB>,
    teller: Teller,
}

/// Runs the bank until it is told to end.
pub(crate) async fn run(args: BankArgs) -> Result<()> {
    serve::log();
    books::open_accounts(&args.db_url, args.accounts, args.opening).await?;
    match args.db_url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => open::<Postgres>(args).await,
        Some(("mysql" | "mariadb", _)) => open::<MySql>(args).await,
        Some(_) | None => open::<Sqlite>(args).await,
    }
}

async fn open<DB: Accounts>(args: BankArgs) -> Result<()> {
    let agent = Agent::connect(AgentOptions::new(args.tc)).await.context("connect the agent")?;
    let options = AtOptions::default().create_tables(true);
    let pool = Pool::<DB>::connect(&args.db_url).await.context("connect to the bank's database")?;
    let pool = AtPool::attach(&agent, &args.resource, pool, options).await;
    let pool = pool.context("attach the bank's database")?;
    let bank = Arc::new(Bank { name: args.name, pool, teller: Teller::new(args.story) });
    let router = Router::new()
        .route("/debit", post(debit::<DB>))
        .route("/credit", post(credit::<DB>))
        .route("/balances", get(balances::<DB>))
        .layer(ServerLayer::new(&agent))
        .with_state(bank);
    let served = serve::serve(router, args.listen).await;
    agent.shutdown().await;
    served
}

async fn debit<DB: Accounts>(
    bank: State<Arc<Bank<DB>>>,
    Json(entry): Json<Entry>,
) -> Result<(), Failure> {
    let leg = Leg::new(&bank.name, entry.account, -entry.amount);
    book(&bank, entry.transfer, leg).await
}

async fn credit<DB: Accounts>(
    bank: State<Arc<Bank<DB>>>,
    Json(entry): Json<Entry>,
) -> Result<(), Failure> {
    let leg = Leg::new(&bank.name, entry.account, entry.amount);
    book(&bank, entry.transfer, leg).await
}

/// One leg, as a local transaction. It may run again: after another transaction has let go of the
/// row.
async fn book<DB: Accounts>(
    bank: &Arc<Bank<DB>>,
    transfer: String,
    leg: Leg,
) -> Result<(), Failure> {
    let work = (Arc::clone(bank), transfer.clone(), leg.clone());
    let booked = bank.pool.transaction(move |tx| {
        let (bank, transfer, leg) = work.clone();
        Box::pin(async move { bank.write(tx, &transfer, &leg).await })
    });
    booked.await?;
    bank.tell(&transfer, || Step::CommittedLocally(leg)).await;
    Ok(())
}

/// Balances by account, as anybody may read them: also those that may still be undone.
async fn balances<DB: Accounts>(
    State(bank): State<Arc<Bank<DB>>>,
) -> Result<Json<Vec<(i64, i64)>>, Failure> {
    Ok(Json(DB::balances(&bank.pool).await?))
}

impl<DB: Accounts> Bank<DB> {
    async fn write(
        &self,
        tx: &mut AtTransaction<DB>,
        transfer: &str,
        leg: &Leg,
    ) -> Result<(), Failure> {
        let Some(balance) = DB::book(tx, transfer, leg).await? else {
            self.tell(transfer, || Step::Refused { leg: leg.clone() }).await;
            return Err(Failure::Short(leg.clone()));
        };
        self.tell(transfer, || Step::Worked { leg: leg.clone(), balance }).await;
        Ok(())
    }

    async fn tell(&self, transfer: &str, step: impl FnOnce() -> Step) {
        if let Some(context) = TransactionContext::current() {
            self.teller.tell(transfer, &context.xid().to_string(), step).await;
        }
    }
}

/// Why a bank did not do its leg.
#[derive(Debug)]
enum Failure {
    /// The account is short, or there is none.
    Short(Leg),
    /// The agent could not, or must not, let the local transaction commit.
    At(AtError),
}

impl From<AtError> for Failure {
    fn from(error: AtError) -> Self {
        Failure::At(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure::At(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, refusal) = match self {
            // The bank's own business: the caller may do something else in the same transaction.
            Failure::Short(leg) => {
                let Leg { bank, account, amount } = leg;
                let why = format!("account {account} of bank {bank} is short of {}", -amount);
                (StatusCode::CONFLICT, Refusal { why, passing: false })
            }
            // A server error is a veto: whatever the caller thinks, it is not to be committed.
            Failure::At(error) => {
                let status = if error.is_retryable() {
                    StatusCode::LOCKED
                } else {
                    StatusCode::INTERNAL_SERVER_ERROR
                };
                tracing::warn!(error = &error as &dyn std::error::Error, "a leg was not booked");
                (status, Refusal { why: chain(&error), passing: true })
            }
        };
        (status, Json(refusal)).into_response()
    }
}
