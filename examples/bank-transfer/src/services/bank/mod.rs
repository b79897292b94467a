//! A bank: accounts and a ledger in a database of its own.
//!
//! - [`business`]: what it does to them, in ordinary SQL, the same in every mode.
//! - [`at`], [`tcc`], [`saga`], [`xa`]: what a mode adds: which of it is done when, through what.
//!
//! That its handlers take part in a global transaction is seen in two places only: the layer around
//! the router, which takes the XID from the request's headers, and the mode's file.

mod at;
mod business;
mod saga;
mod tcc;
mod xa;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use clap::Args;
use futures_util::future::BoxFuture;
use pactum_agent::web::ServerLayer;
use pactum_agent::{
    ActionOptions, ActionPool, Agent, AgentOptions, AtConnection, AtError, PhaseOneError,
    TransactionContext, XaConnection,
};
use serde::{Deserialize, Serialize};
use sqlx::{MySql, Pool, Postgres, Sqlite};

use super::order::{BranchMode, Entry, Leg, Refusal, chain};
use super::serve;
use super::tell::{Settling, Step, Teller};
use crate::books;
use business::{BankDatabase, Business};

/// The variable that holds the URL of its database.
pub(crate) const DB_URL: &str = "BANK_DB_URL";

/// A bank.
#[derive(Debug, Args)]
pub(crate) struct BankArgs {
    /// Its name.
    name: String,
    /// How it takes part in transfers; of several modes it takes each in turn.
    #[arg(long = "mode", value_enum, required = true)]
    modes: Vec<BranchMode>,
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

/// A leg of a transfer: what is asked of the bank.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Booking {
    transfer: String,
    leg: Leg,
    /// Whose branch it is; empty outside of a global transaction, and in a declared saga, of which the
    /// mapping cannot say it.
    #[serde(default)]
    xid: String,
}

/// How a bank takes part: one implementor a mode.
trait Mode: Send + Sync {
    /// Does a leg as a branch of the task's global transaction.
    fn book(&self, booking: Booking) -> BoxFuture<'_, Result<(), Failure>>;
}

struct Bank {
    name: String,
    modes: Vec<Box<dyn Mode>>,
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

async fn open<DB>(args: BankArgs) -> Result<()>
where
    DB: BankDatabase,
    AtConnection<DB>: Business,
    XaConnection<DB>: Business,
{
    let agent = Agent::connect(AgentOptions::new(&args.tc)).await.context("connect the agent")?;
    let pool = Pool::<DB>::connect(&args.db_url).await.context("connect to the bank's database")?;
    let teller = Teller::new(args.story);
    let actions = ActionOptions::default().create_tables(true);
    let actions = ActionPool::attach(&agent, &args.resource, pool.clone(), actions).await;
    let actions = actions.context("attach the bank's database for actions")?;
    let mut modes: Vec<Box<dyn Mode>> = Vec::new();
    for mode in args.modes {
        modes.push(match mode {
            BranchMode::At => at::attach(&agent, &args.resource, &pool, &teller).await?,
            BranchMode::Tcc => tcc::attach(&actions, &teller)?,
            BranchMode::Saga => saga::attach(&actions, &teller)?,
            BranchMode::Xa => xa::attach(&agent, &args.resource, &pool, &teller).await?,
        });
    }
    let bank = Arc::new(Bank { name: args.name, modes });
    let router = Router::new()
        .route("/debit", post(debit))
        .route("/credit", post(credit))
        .layer(ServerLayer::new(&agent))
        .with_state(bank);
    let served = serve::serve(router, args.listen).await;
    agent.shutdown().await;
    served
}

async fn debit(bank: State<Arc<Bank>>, Json(entry): Json<Entry>) -> Result<(), Failure> {
    let leg = Leg::new(&bank.name, entry.account, -entry.amount);
    bank.book(entry.transfer, leg).await
}

async fn credit(bank: State<Arc<Bank>>, Json(entry): Json<Entry>) -> Result<(), Failure> {
    let leg = Leg::new(&bank.name, entry.account, entry.amount);
    bank.book(entry.transfer, leg).await
}

impl Bank {
    /// Of several modes a transfer always gets the same one.
    async fn book(&self, transfer: String, leg: Leg) -> Result<(), Failure> {
        let number: usize = transfer.bytes().map(usize::from).sum();
        let context = TransactionContext::current();
        let xid = context.map_or_else(String::new, |context| context.xid().to_string());
        self.modes[number % self.modes.len()].book(Booking { transfer, leg, xid }).await
    }
}

/// Tells one step of a leg.
async fn tell(teller: &Teller, booking: &Booking, step: impl FnOnce(Leg) -> Step) {
    teller.tell(&booking.transfer, &booking.xid, || step(booking.leg.clone())).await;
}

/// Tells what the bank's statements did, inside the local transaction in which they ran.
async fn tell_worked(
    teller: &Teller,
    tx: &mut impl Business,
    mode: BranchMode,
    booking: &Booking,
) -> Result<(), sqlx::Error> {
    if teller.is_heard() {
        let holding = tx.holding(booking.leg.account).await?;
        tell(teller, booking, |leg| Step::Worked { leg, mode, holding }).await;
    }
    Ok(())
}

/// Tells what the bank's own phase two did, inside the local transaction in which it ran.
async fn tell_settled(
    teller: &Teller,
    tx: &mut impl Business,
    how: Settling,
    booking: &Booking,
) -> Result<(), sqlx::Error> {
    if teller.is_heard() {
        let holding = tx.holding(booking.leg.account).await?;
        tell(teller, booking, |leg| Step::Settled { leg, how, holding }).await;
    }
    Ok(())
}

/// Why a bank did not do its leg.
#[derive(Debug)]
enum Failure {
    /// The account is short, or there is none.
    Short(Leg),
    /// The branch could not, or must not, stand.
    Branch { why: String, retryable: bool },
}

impl Failure {
    async fn short(booking: &Booking, mode: BranchMode, teller: &Teller) -> Self {
        tell(teller, booking, |leg| Step::Refused { leg, mode }).await;
        Failure::Short(booking.leg.clone())
    }

    fn branch(error: &dyn std::error::Error, retryable: bool) -> Self {
        Failure::Branch { why: chain(error), retryable }
    }
}

impl From<PhaseOneError<Failure>> for Failure {
    fn from(error: PhaseOneError<Failure>) -> Self {
        match error {
            PhaseOneError::Handler(failure) => failure,
            PhaseOneError::Action(error) => Failure::branch(&error, error.is_retryable()),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        AtError::from(error).into()
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Short(Leg { bank, account, amount }) => {
                write!(f, "account {account} of bank {bank} is short of {}", -amount)
            }
            Failure::Branch { why, .. } => f.write_str(why),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let why = self.to_string();
        let (status, refusal) = match self {
            // The bank's own business: the caller may do something else in the same transaction.
            Failure::Short(_) => (StatusCode::CONFLICT, Refusal { why, passing: false }),
            // A server error is a veto: whatever the caller thinks, it is not to be committed.
            Failure::Branch { retryable, .. } => {
                let status = match retryable {
                    true => StatusCode::LOCKED,
                    false => StatusCode::INTERNAL_SERVER_ERROR,
                };
                tracing::warn!(why, "a leg was not booked");
                (status, Refusal { why, passing: true })
            }
        };
        (status, Json(refusal)).into_response()
    }
}
