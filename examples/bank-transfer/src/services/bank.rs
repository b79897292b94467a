//! A bank: accounts and a ledger in a database of its own.
//!
//! Its handlers are ordinary: a local transaction with ordinary SQL. That they take part in a global
//! one is seen in two places only: the layer around the router, which takes the XID from the
//! request's headers, and the pool, which is the agent's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use pactum_agent::web::ServerLayer;
use pactum_agent::{
    Agent, AgentOptions, AtError, AtOptions, AtPool, AtTransaction, TransactionContext,
};
use sqlx::Sqlite;

use super::order::{Entry, Leg, Refusal, chain};
use super::serve;
use super::tell::{Step, Teller};
use crate::books;

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
    /// The database's file; made if it is not there.
    #[arg(long)]
    db: PathBuf,
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

struct Bank {
    name: String,
    pool: AtPool<Sqlite>,
    teller: Teller,
}

/// Runs the bank until it is told to end.
pub(crate) async fn run(args: BankArgs) -> Result<()> {
    serve::log();
    books::open_accounts(&args.db, args.accounts, args.opening).await?;
    let agent = Agent::connect(AgentOptions::new(args.tc)).await.context("connect the agent")?;
    let options = AtOptions::default().create_tables(true);
    let pool = books::pool(&args.db).await?;
    let pool = AtPool::attach(&agent, &args.resource, pool, options).await;
    let pool = pool.context("attach the bank's database")?;
    let bank = Arc::new(Bank { name: args.name, pool, teller: Teller::new(args.story) });
    let router = Router::new()
        .route("/debit", post(debit))
        .route("/credit", post(credit))
        .route("/balances", get(balances))
        .layer(ServerLayer::new(&agent))
        .with_state(bank);
    let served = serve::serve(router, args.listen).await;
    agent.shutdown().await;
    served
}

async fn debit(bank: State<Arc<Bank>>, Json(entry): Json<Entry>) -> Result<(), Failure> {
    let leg = Leg::new(&bank.name, entry.account, -entry.amount);
    book(&bank, entry.transfer, leg).await
}

async fn credit(bank: State<Arc<Bank>>, Json(entry): Json<Entry>) -> Result<(), Failure> {
    let leg = Leg::new(&bank.name, entry.account, entry.amount);
    book(&bank, entry.transfer, leg).await
}

/// One leg, as a local transaction. It may run again: after another transaction has let go of the
/// row.
async fn book(bank: &Arc<Bank>, transfer: String, leg: Leg) -> Result<(), Failure> {
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
async fn balances(State(bank): State<Arc<Bank>>) -> Result<Json<Vec<(i64, i64)>>, Failure> {
    let query = sqlx::query_as("SELECT id, balance FROM account ORDER BY id");
    Ok(Json(query.fetch_all(&bank.pool).await?))
}

impl Bank {
    async fn write(
        &self,
        tx: &mut AtTransaction<Sqlite>,
        transfer: &str,
        leg: &Leg,
    ) -> Result<(), Failure> {
        let balance: Option<i64> = sqlx::query_scalar(
            "UPDATE account SET balance = balance + ?1
              WHERE id = ?2 AND balance + ?1 >= 0 RETURNING balance",
        )
        .bind(leg.amount)
        .bind(leg.account)
        .fetch_optional(&mut **tx)
        .await?;
        let Some(balance) = balance else {
            self.tell(transfer, || Step::Refused { leg: leg.clone() }).await;
            return Err(Failure::Short(leg.clone()));
        };
        sqlx::query("INSERT INTO ledger (transfer, account, amount) VALUES (?, ?, ?)")
            .bind(transfer)
            .bind(leg.account)
            .bind(leg.amount)
            .execute(&mut **tx)
            .await?;
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
