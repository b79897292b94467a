//! XA by hand: the barrier row, the change, the prepare; then the commit of what is prepared.
//!
//! ```text
//! phase one   log: registration ┬ BEGIN, barrier row ─┬─ change ─ PREPARE
//!                               └─────────────────────┘
//! phase two   COMMIT PREPARED
//! ```
//!
//! MariaDB gives what is prepared to nobody before the connection that prepared it is closed; so here,
//! as in the agent, it is, and the next branch has a new one.

use anyhow::{Context as _, Result};
use sqlx::Connection as _;
use tokio::time::{Duration, Instant, sleep};

use super::by_hand::{ByHand, Party, Work};
use super::speak::{Joins, XaWords, change};

const MODE: &str = "xa";
/// How long MariaDB may take to let go of what a closed connection has prepared. Until then it knows
/// no branch of that name.
const FREED_MAX: Duration = Duration::from_secs(3);
const FREED_PAUSE: Duration = Duration::from_millis(1);

/// XA's floor.
pub(super) struct Xa;

impl<DB: Joins> ByHand<DB> for Xa {
    const MODE: &'static str = MODE;
    const HAS_PHASE_TWO: bool = true;

    async fn phase_one(party: &Party<DB>, work: Work) -> Result<()> {
        let words = words::<DB>()?;
        let mut connection = party.bank.pool.acquire().await.context("have a connection")?;
        let begin = words.begin(party.name, work);
        let (registered, begun) =
            tokio::join!(party.register(MODE, work), DB::send(&mut connection, begin));
        registered.and(begun)?;
        change::<DB>(&mut connection, work.account, work.amount).await?;
        DB::send(&mut connection, words.prepare(party.name, work)).await?;
        if words.keeps_connection() {
            connection.detach().close().await.context("close the connection")?;
        }
        Ok(())
    }

    async fn phase_two(party: &Party<DB>, work: Work) -> Result<()> {
        let commit = words::<DB>()?.commit(party.name, work);
        let mut connection = party.bank.pool.acquire().await.context("have a connection")?;
        let until = Instant::now() + FREED_MAX;
        loop {
            match DB::send(&mut connection, commit.clone()).await {
                Err(_) if Instant::now() < until => sleep(FREED_PAUSE).await,
                sent => return sent,
            }
        }
    }
}

fn words<DB: Joins>() -> Result<XaWords> {
    DB::XA.context("this database prepares no transactions")
}
