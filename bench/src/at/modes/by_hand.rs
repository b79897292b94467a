//! A floor: what a mode has to do, by hand, and no more.
//!
//! ```text
//! each bank     registration in the log, and the mode's phase one in the database
//! then          log: decision ──▶ answered: decided
//!               the mode's phase two in both databases, side by side ─ log: end
//!                                                                  ──▶ answered: completed
//! ```
//!
//! The statements are those that the agent really sends, through the same driver; the log is that of
//! AT's floor. No locks, no messages, no coordinator: nothing decides here.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Error, Result, bail};
use pactum_agent::Wait;
use sqlx::Transaction;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::speak::{Joins, insert_row, prepare};
use crate::at::Round;
use crate::at::books::{AMOUNT, Bank, Books};
use crate::at::drive::{Transfer, drive};
use crate::at::log::{self, Log, Sync};
use crate::at::speak::Branch;
use crate::report::Line;

/// When rows are dated.
pub(super) const NOW: i64 = 1 << 40;
/// More ends than can be under way at once with nobody waiting for them.
const ENDING_MAX: u32 = 1 << 20;

/// What a mode does in a database.
pub(super) trait ByHand<DB: Joins>: Send + 'static {
    /// How the coordinator calls it.
    const MODE: &'static str;
    /// Whether anything is left to do after the decision to commit.
    const HAS_PHASE_TWO: bool;

    /// From the registration until the branch can be committed.
    fn phase_one(party: &Party<DB>, work: Work) -> impl Future<Output = Result<()>> + Send;

    /// Commits it, if there is anything left to do.
    fn phase_two(party: &Party<DB>, work: Work) -> impl Future<Output = Result<()>> + Send;
}

/// One branch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) branch: Branch,
    pub(super) account: i64,
    pub(super) amount: i64,
}

/// A bank, and the log in which its branches are registered.
pub(super) struct Party<DB: Joins> {
    pub(super) name: &'static str,
    pub(super) bank: Bank<DB>,
    log: Log,
}

impl<DB: Joins> Party<DB> {
    pub(super) async fn register(&self, mode: &str, work: Work) -> Result<()> {
        self.log.append(record("registered", mode, work.branch)).await
    }

    /// A registered branch, and its local transaction with the barrier row in it. On SQLite one after
    /// the other: its only writer is not to wait for the log.
    pub(super) async fn opened(&self, mode: &str, work: Work) -> Result<Opened<DB>> {
        if DB::TEXTS.writers == 1 {
            self.register(mode, work).await?;
            return self.open(mode, work).await;
        }
        let (registered, opened) = tokio::join!(self.register(mode, work), self.open(mode, work));
        registered.and(opened)
    }

    async fn open(&self, mode: &str, work: Work) -> Result<Opened<DB>> {
        let (turn, mut local) = self.bank.begin().await?;
        insert_row::<DB>(&mut local, mode, work).await?;
        Ok((turn, local))
    }
}

/// A local transaction, and the turn to write that is kept with it.
type Opened<DB> = (OwnedSemaphorePermit, Transaction<'static, DB>);

pub(super) async fn measure<DB: Joins, M: ByHand<DB>>(
    round: &Round<'_>,
    wait: Wait,
) -> Result<Line> {
    let books = Books::<DB>::open(round.places().await?).await?;
    let (log, writer) = Log::open(books.places.folder.path(), Sync::Yes)?;
    for bank in [&books.from, &books.to] {
        prepare(bank).await?;
        bank.make_undo_tables().await?;
    }
    let party = |name, bank: &Bank<DB>| Party { name, bank: bank.clone(), log: log.clone() };
    let floor = Arc::new(Floor::<DB> {
        from: party("from", &books.from),
        to: party("to", &books.to),
        log: log.clone(),
        next: AtomicI64::new(1),
        ending: Arc::new(Semaphore::new(ENDING_MAX as usize)),
        failed: OnceLock::new(),
    });
    drop(log);
    let transfers = Arc::new(Through::<DB, M> {
        floor: Arc::clone(&floor),
        wait,
        mode: std::marker::PhantomData,
    });
    let (line, count) = drive("", transfers, round, None).await?;
    floor.ended().await?;
    drop(floor);
    log::ended(writer)?;
    books.close(count).await?;
    Ok(line)
}

struct Floor<DB: Joins> {
    from: Party<DB>,
    to: Party<DB>,
    log: Log,
    next: AtomicI64,
    /// One permit for each end that nobody waits for.
    ending: Arc<Semaphore>,
    failed: OnceLock<Error>,
}

struct Through<DB: Joins, M> {
    floor: Arc<Floor<DB>>,
    wait: Wait,
    mode: std::marker::PhantomData<fn() -> M>,
}

impl<DB: Joins, M: ByHand<DB>> Transfer for Through<DB, M> {
    async fn transfer(&self, account: i64) -> Result<()> {
        let floor = &self.floor;
        let branch = Branch(floor.next.fetch_add(1, Relaxed));
        let from = Work { branch, account, amount: -AMOUNT };
        let to = Work { branch, account, amount: AMOUNT };
        M::phase_one(&floor.from, from).await.map_err(|error| floor.explained(error))?;
        M::phase_one(&floor.to, to).await.map_err(|error| floor.explained(error))?;
        floor.log.append(record("committed", M::MODE, branch)).await?;
        if !M::HAS_PHASE_TWO {
            return Ok(());
        }
        match self.wait {
            Wait::Completed => floor.end::<M>(from, to).await,
            Wait::Decided => {
                let permit = Arc::clone(&floor.ending).acquire_owned().await;
                let (floor, permit) = (Arc::clone(floor), permit.context("end a transfer")?);
                tokio::spawn(async move {
                    if let Err(error) = floor.end::<M>(from, to).await {
                        // The first one is told at the end.
                        floor.failed.set(error).ok();
                    }
                    drop(permit);
                });
                Ok(())
            }
        }
    }
}

impl<DB: Joins> Floor<DB> {
    async fn end<M: ByHand<DB>>(&self, from: Work, to: Work) -> Result<()> {
        let ended = tokio::join!(M::phase_two(&self.from, from), M::phase_two(&self.to, to));
        ended.0.and(ended.1)?;
        self.log.append(record("ended", M::MODE, from.branch)).await
    }

    /// What is locked by a transfer that did not end stops others.
    fn explained(&self, error: Error) -> Error {
        match self.failed.get() {
            None => error,
            Some(earlier) => error.context(format!("after a transfer did not end: {earlier:#}")),
        }
    }

    /// Waits for the ends that nobody has waited for.
    async fn ended(&self) -> Result<()> {
        let all = self.ending.acquire_many(ENDING_MAX).await;
        drop(all.context("wait for what is under way")?);
        match self.failed.get() {
            None => Ok(()),
            Some(error) => bail!("a transfer did not end: {error:#}"),
        }
    }
}

/// About what a coordinator stores of a move.
fn record(what: &str, mode: &str, branch: Branch) -> String {
    let (xid, id) = (branch.xid(), branch.id());
    format!(
        "{xid} {what} branch {id} at bank, mode {mode}, phase one done, action change-account, \
         name transfer, timeout 60000, begun {NOW}, changed {NOW}, undo order 1\n"
    )
}
