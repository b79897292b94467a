//! The transfer service: has the banks do the legs of an order, all or none, and answers how it ended.
//!
//! - [`in_code`]: it is the transaction manager, and calls the banks.
//! - [`declared`]: the order is a saga that the coordinator drives.
//!
//! It has no database.

mod declared;
mod in_code;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Args;
use pactum_agent::{Agent, AgentOptions};

use super::order::{Answer, Order};
use super::serve;
use super::tell::Teller;

/// The transfer service.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// The coordinator.
    #[arg(long)]
    tc: String,
    /// A bank, as `name=http://address`; once for each.
    #[arg(long = "bank", value_name = "NAME=URL", value_parser = parse_bank)]
    banks: Vec<(String, String)>,
    /// Every transfer is a declared saga of this name, of which the coordinator calls the banks.
    #[arg(long, value_name = "NAME", requires = "resources")]
    saga: Option<String>,
    /// What the coordinator knows a bank as, as `name=resource`; once for each.
    #[arg(long = "resource", value_name = "NAME=RESOURCE", value_parser = parse_bank)]
    resources: Vec<(String, String)>,
    /// Who is told each step.
    #[arg(long)]
    story: Option<String>,
}

fn parse_bank(text: &str) -> Result<(String, String)> {
    let (name, of_it) = text.split_once('=').context("write it like a=http://127.0.0.1:8001")?;
    Ok((name.to_owned(), of_it.to_owned()))
}

/// How an order is run.
enum Transfers {
    InCode(in_code::Transfers),
    Declared(declared::Transfers),
}

/// Runs the service until it is told to end.
pub(crate) async fn run(args: TransferArgs) -> Result<()> {
    serve::log();
    let agent = Agent::connect(AgentOptions::new(args.tc)).await.context("connect the agent")?;
    let teller = Teller::new(args.story);
    let transfers = match args.saga {
        Some(name) => {
            let resources = args.resources.into_iter().collect();
            let defined = declared::Transfers::define(agent.sagas(), name, &resources, teller);
            Transfers::Declared(defined.await?)
        }
        None => Transfers::InCode(in_code::Transfers {
            agent: agent.clone(),
            client: reqwest::Client::new(),
            banks: args.banks.into_iter().collect(),
            teller,
        }),
    };
    let transfers = Arc::new(transfers);
    let router = Router::new().route("/transfer", post(transfer)).with_state(transfers);
    let served = serve::serve(router, args.listen).await;
    agent.shutdown().await;
    served
}

async fn transfer(
    State(transfers): State<Arc<Transfers>>,
    Json(order): Json<Order>,
) -> (StatusCode, Json<Answer>) {
    let answer = match &*transfers {
        Transfers::InCode(transfers) => transfers.run(&order).await,
        Transfers::Declared(transfers) => transfers.run(&order).await,
    };
    let status = match &answer {
        Answer::Committed { .. } => StatusCode::OK,
        Answer::RolledBack { .. } => StatusCode::CONFLICT,
        Answer::InDoubt { .. } => StatusCode::ACCEPTED,
        Answer::NotBegun { .. } => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(answer))
}
