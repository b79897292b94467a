//! The real thing, in TCC, saga and XA: both banks behind one agent, a coordinator in a process of its
//! own.

use std::error::Error;
use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use pactum_agent::{
    ActionOptions, ActionPool, Agent, AgentOptions, Handled, PhaseOneError, SagaStep, Step,
    TccAction, TransactionContext, Wait, XaError, XaOptions, XaPool,
};
use serde::{Deserialize, Serialize};
use sqlx::SqlStr;
use tokio::time::{Duration, Instant, sleep};

use super::speak::{Joins, book_reserved, change, prepare, reserve, run};
use crate::at::Round;
use crate::at::books::{AMOUNT, Bank, Books};
use crate::at::drive::{Transfer, drive};
use crate::child::Child;
use crate::report::Line;

/// How long phase two of the last transfers may take.
const SETTLE_MAX: Duration = Duration::from_secs(30);
const SETTLE_LOOK: Duration = Duration::from_millis(10);

/// How a bank takes part.
pub(super) trait Way<DB: Joins>: Sized + Send + Sync + 'static {
    type Error: Error + Send + Sync + 'static;

    fn attach(
        agent: &Agent,
        id: &str,
        bank: &Bank<DB>,
    ) -> impl Future<Output = Result<Self>> + Send;

    fn change(
        &self,
        context: &TransactionContext,
        call: Call,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What is asked of a bank.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Call {
    account: i64,
    amount: i64,
}

pub(super) async fn measure<DB: Joins, W: Way<DB>>(round: &Round<'_>, wait: Wait) -> Result<Line> {
    let folder = round.options.folder()?;
    let data_dir = folder.path().to_str().context("the folder's name is not UTF-8")?;
    let coordinator = Child::start(&["serve", "--data-dir", data_dir]).await?;
    let books = Books::<DB>::open(round.places().await?).await?;
    for bank in [&books.from, &books.to] {
        prepare(bank).await?;
    }
    let before = (total(&books.from).await?, total(&books.to).await?);
    let agent = Agent::connect(AgentOptions::new(&coordinator.url)).await.context("connect")?;
    let from = W::attach(&agent, "bank-from", &books.from).await?;
    let to = W::attach(&agent, "bank-to", &books.to).await?;
    let through = Through { agent: agent.clone(), from, to, wait, database: PhantomData };
    let (line, transfers) = drive("", Arc::new(through), round, Some(coordinator.pid)).await?;
    let moved = i64::try_from(transfers).context("count the transfers")? * AMOUNT;
    until_total(&books.from, before.0 - moved).await?;
    until_total(&books.to, before.1 + moved).await?;
    agent.shutdown().await;
    coordinator.end().await?;
    books.close(transfers).await?;
    Ok(line)
}

/// What is decided comes about a moment later.
async fn until_total<DB: Joins>(bank: &Bank<DB>, expected: i64) -> Result<()> {
    let until = Instant::now() + SETTLE_MAX;
    loop {
        let found = total(bank).await?;
        if found == expected {
            return Ok(());
        }
        ensure!(Instant::now() < until, "a bank holds {found} and should hold {expected}");
        sleep(SETTLE_LOOK).await;
    }
}

async fn total<DB: Joins>(bank: &Bank<DB>) -> Result<i64> {
    let mut connection = bank.pool.acquire().await.context("have a connection")?;
    let rows = run::<DB>(&mut connection, SqlStr::from_static(DB::TEXTS.total), vec![]).await?;
    DB::number(rows.first().context("a sum has a row")?, 0)
}

struct Through<DB, W> {
    agent: Agent,
    from: W,
    to: W,
    wait: Wait,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Joins, W: Way<DB>> Transfer for Through<DB, W> {
    async fn transfer(&self, account: i64) -> Result<()> {
        let global = self.agent.global("transfer").wait(self.wait);
        let done = global.run(async |context| {
            self.from.change(&context, Call { account, amount: -AMOUNT }).await?;
            self.to.change(&context, Call { account, amount: AMOUNT }).await
        });
        done.await.map(drop).context("transfer")
    }
}

async fn actions<DB: Joins>(agent: &Agent, id: &str, bank: &Bank<DB>) -> Result<ActionPool<DB>> {
    let options = ActionOptions::default().create_tables(true);
    let pool = ActionPool::attach(agent, id, bank.pool.clone(), options).await;
    pool.with_context(|| format!("attach {id}"))
}

/// TCC.
pub(super) struct Tcc<DB: Joins>(pactum_agent::Tcc<DB, Reserved>);

/// What TCC's try reserves.
pub(super) struct Reserved;

impl<DB: Joins> TccAction<DB> for Reserved {
    const NAME: &'static str = "change-account";
    type Context = Call;
    type Output = ();
    type Error = anyhow::Error;

    async fn try_phase(&self, connection: &mut DB::Connection, call: &mut Call) -> Result<()> {
        reserve::<DB>(connection, call.account, call.amount).await
    }

    async fn confirm(&self, connection: &mut DB::Connection, call: Call) -> Result<Handled> {
        book_reserved::<DB>(connection, call.account, call.amount).await?;
        Ok(Handled::Done)
    }

    async fn cancel(&self, connection: &mut DB::Connection, call: Call) -> Result<Handled> {
        reserve::<DB>(connection, call.account, -call.amount).await?;
        Ok(Handled::Done)
    }
}

impl<DB: Joins> Way<DB> for Tcc<DB> {
    type Error = PhaseOneError<anyhow::Error>;

    async fn attach(agent: &Agent, id: &str, bank: &Bank<DB>) -> Result<Self> {
        let pool = actions(agent, id, bank).await?;
        Ok(Tcc(pool.tcc(Reserved).context("register the action")?))
    }

    async fn change(&self, context: &TransactionContext, call: Call) -> Result<(), Self::Error> {
        self.0.try_in(context, call).await
    }
}

/// A saga.
pub(super) struct Saga<DB: Joins>(Step<DB, Booked>);

/// What a saga's step books.
pub(super) struct Booked;

impl<DB: Joins> SagaStep<DB> for Booked {
    const NAME: &'static str = "change-account";
    type Input = Call;
    type Output = ();
    type Error = anyhow::Error;

    async fn action(&self, connection: &mut DB::Connection, call: &Call) -> Result<()> {
        change::<DB>(connection, call.account, call.amount).await
    }

    async fn compensate(
        &self,
        connection: &mut DB::Connection,
        call: Call,
        _output: (),
    ) -> Result<Handled> {
        change::<DB>(connection, call.account, -call.amount).await?;
        Ok(Handled::Done)
    }
}

impl<DB: Joins> Way<DB> for Saga<DB> {
    type Error = PhaseOneError<anyhow::Error>;

    async fn attach(agent: &Agent, id: &str, bank: &Bank<DB>) -> Result<Self> {
        let pool = actions(agent, id, bank).await?;
        Ok(Saga(pool.saga(Booked).context("register the step")?))
    }

    async fn change(&self, context: &TransactionContext, call: Call) -> Result<(), Self::Error> {
        self.0.run_in(context, call).await
    }
}

/// XA.
pub(super) struct Xa<DB: Joins>(XaPool<DB>);

impl<DB: Joins> Way<DB> for Xa<DB> {
    type Error = XaError;

    async fn attach(agent: &Agent, id: &str, bank: &Bank<DB>) -> Result<Self> {
        let options = XaOptions::default().create_tables(true);
        let pool = XaPool::attach(agent, id, bank.pool.clone(), options).await;
        Ok(Xa(pool.with_context(|| format!("attach {id}"))?))
    }

    async fn change(&self, context: &TransactionContext, call: Call) -> Result<(), Self::Error> {
        let mut branch = self.0.begin_in(context).await?;
        DB::change_in_xa(&mut branch, call.amount, call.account).await?;
        branch.commit().await
    }
}
