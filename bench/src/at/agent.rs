//! The real thing: both banks behind one agent, a coordinator in a process of its own.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use pactum_agent::{Agent, AgentOptions, AtError, AtOptions, AtPool, TransactionContext, Wait};
use tokio::time::{Duration, Instant, sleep};

use super::books::{AMOUNT, Bank, Books};
use super::drive::{Transfer, drive};
use super::speak::Transacts;
use super::{Round, name_of};
use crate::child::Child;
use crate::report::Line;

/// How long the undo rows of the last transfers may take to go.
const CLEAN_MAX: Duration = Duration::from_secs(30);
const CLEAN_LOOK: Duration = Duration::from_millis(10);

pub(super) async fn measure<DB: Transacts>(round: &Round<'_>, wait: Wait) -> Result<Line> {
    let folder = round.options.folder()?;
    let data_dir = folder.path().to_str().context("the folder's name is not UTF-8")?;
    let coordinator = Child::start(&["serve", "--data-dir", data_dir]).await?;
    let books = Books::<DB>::open(round.places().await?).await?;
    let agent = Agent::connect(AgentOptions::new(&coordinator.url)).await.context("connect")?;
    let from = attach(&agent, "bank-from", &books.from).await?;
    let to = attach(&agent, "bank-to", &books.to).await?;
    let through = Arc::new(Through { agent: agent.clone(), from, to, wait });
    let name = format!("agent, {}", name_of(wait));
    let (line, transfers) = drive(&name, through, round, Some(coordinator.pid)).await?;
    for bank in [&books.from, &books.to] {
        until_clean(bank).await?;
    }
    agent.shutdown().await;
    coordinator.end().await?;
    books.close(transfers).await?;
    Ok(line)
}

async fn attach<DB: Transacts>(agent: &Agent, id: &str, bank: &Bank<DB>) -> Result<AtPool<DB>> {
    let options = AtOptions::default().create_tables(true);
    let pool = AtPool::attach(agent, id, bank.pool.clone(), options).await;
    pool.with_context(|| format!("attach {id}"))
}

async fn until_clean<DB: Transacts>(bank: &Bank<DB>) -> Result<()> {
    let until = Instant::now() + CLEAN_MAX;
    loop {
        let left = bank.barrier_rows().await?;
        if left == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{left} undo rows are left");
        sleep(CLEAN_LOOK).await;
    }
}

struct Through<DB: Transacts> {
    agent: Agent,
    from: AtPool<DB>,
    to: AtPool<DB>,
    wait: Wait,
}

impl<DB: Transacts> Transfer for Through<DB> {
    async fn transfer(&self, account: i64) -> Result<()> {
        let global = self.agent.global("transfer").wait(self.wait);
        let done = global.run(async |context| {
            change(&self.from, &context, account, -AMOUNT).await?;
            change(&self.to, &context, account, AMOUNT).await
        });
        done.await.map(drop).context("transfer")
    }
}

async fn change<DB: Transacts>(
    pool: &AtPool<DB>,
    context: &TransactionContext,
    account: i64,
    amount: i64,
) -> Result<(), AtError> {
    let mut local = pool.begin_in(context).await?;
    <DB as Transacts>::change(&mut local, amount, account).await?;
    local.commit().await
}
