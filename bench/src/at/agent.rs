//! The real thing: both banks behind one agent, a coordinator in a process of its own.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use pactum_agent::{Agent, AgentOptions, AtError, AtOptions, AtPool, TransactionContext, Wait};
use sqlx::Sqlite;
use tokio::time::{Duration, Instant, sleep};

use super::books::{AMOUNT, Bank, Books, CHANGE};
use super::drive::{Transfer, drive};
use super::{Options, name_of};
use crate::child::Child;
use crate::report::Line;

/// How long the undo rows of the last transfers may take to go.
const CLEAN_MAX: Duration = Duration::from_secs(30);
const CLEAN_LOOK: Duration = Duration::from_millis(10);

pub(super) async fn measure(options: &Options, workers: usize, wait: Wait) -> Result<Line> {
    let folder = options.folder()?;
    let data_dir = folder.path().to_str().context("the folder's name is not UTF-8")?;
    let coordinator = Child::start(&["serve", "--data-dir", data_dir]).await?;
    let books = Books::open(options).await?;
    let agent = Agent::connect(AgentOptions::new(&coordinator.url)).await.context("connect")?;
    let from = attach(&agent, "bank-from", &books.from).await?;
    let to = attach(&agent, "bank-to", &books.to).await?;
    let through = Arc::new(Through { agent: agent.clone(), from, to, wait });
    let name = format!("agent, {}", name_of(wait));
    let pid = Some(coordinator.pid);
    let (line, transfers) = drive(name, through, workers, options.duration(), pid).await?;
    for bank in [&books.from, &books.to] {
        until_clean(bank).await?;
    }
    agent.shutdown().await;
    coordinator.end().await?;
    books.close(transfers).await?;
    Ok(line)
}

async fn attach(agent: &Agent, id: &str, bank: &Bank) -> Result<AtPool<Sqlite>> {
    let options = AtOptions::default().create_tables(true);
    let pool = AtPool::attach(agent, id, bank.pool.clone(), options).await;
    pool.with_context(|| format!("attach {id}"))
}

async fn until_clean(bank: &Bank) -> Result<()> {
    let until = Instant::now() + CLEAN_MAX;
    loop {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pactum_barrier")
            .fetch_one(&bank.pool)
            .await
            .context("count the undo rows")?;
        if left == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{left} undo rows are left");
        sleep(CLEAN_LOOK).await;
    }
}

struct Through {
    agent: Agent,
    from: AtPool<Sqlite>,
    to: AtPool<Sqlite>,
    wait: Wait,
}

impl Transfer for Through {
    async fn transfer(&self, account: i64) -> Result<()> {
        let global = self.agent.global("transfer").wait(self.wait);
        let done = global.run(async |context| {
            change(&self.from, &context, account, -AMOUNT).await?;
            change(&self.to, &context, account, AMOUNT).await
        });
        done.await.map(drop).context("transfer")
    }
}

async fn change(
    pool: &AtPool<Sqlite>,
    context: &TransactionContext,
    account: i64,
    amount: i64,
) -> Result<(), AtError> {
    let mut local = pool.begin_in(context).await?;
    let changed = sqlx::query(CHANGE).bind(amount).bind(account).execute(&mut *local).await;
    changed.map_err(AtError::Database)?;
    local.commit().await
}
