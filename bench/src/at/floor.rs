//! The floor: what AT has to do, by hand, and no more.
//!
//! ```text
//! each bank     BEGIN ─ before, change, after ─┬ INSERT undo      ┬─ COMMIT
//!                                              └ log: registration ┘
//! then          log: decision ──▶ answered: decided
//! meanwhile     BEGIN ─ DELETE the undo rows of all that ended ─ COMMIT ─ log: end
//!                                                        ──▶ answered: completed
//! ```
//!
//! The statements are those that AT really sends to this database, one round trip each, through the
//! same driver; the log is one file, a sync shared by all who wait. No parsing, no locks, no messages,
//! no coordinator: nothing decides here. Undo rows have the form and about the size of the agent's.
//! Not here, and so at the agent's charge: the check that no table changed its schema, which AT makes
//! in the statement that inserts the undo row.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use anyhow::{Context as _, Result, ensure};
use pactum_agent::Wait;
use sqlx::SqlStr;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Round;
use super::books::{AMOUNT, Bank, Books};
use super::drive::{Transfer, drive};
use super::log::{self, Log, Sync};
use super::name_of;
use super::speak::{Bind, Branch, Images, Speaks};
use crate::report::Line;

/// As many as the agent deletes at a time.
const BATCH_MAX: usize = 250;
/// When the rows are dated.
const NOW: i64 = 1 << 40;

pub(super) async fn measure<DB: Speaks>(round: &Round<'_>, wait: Wait, sync: Sync) -> Result<Line> {
    let books = Books::<DB>::open(round.places().await?).await?;
    let (log, writer) = Log::open(books.places.folder.path(), sync)?;
    let mut cleaners = JoinSet::new();
    for bank in [&books.from, &books.to] {
        bank.make_undo_tables().await?;
    }
    let [from, to] = [&books.from, &books.to].map(|bank| {
        let (ended, to_clean) = mpsc::unbounded_channel();
        cleaners.spawn(clean(bank.clone(), to_clean));
        Undoable { bank: bank.clone(), log: log.clone(), ended }
    });
    let floor = Arc::new(Floor { from, to, log, wait, next: AtomicI64::new(1) });
    let name = match sync {
        Sync::Yes => format!("floor, {}", name_of(wait)),
        Sync::NoLog => format!("floor, {}, no log", name_of(wait)),
    };
    let (line, transfers) = drive(&name, floor, round, None).await?;
    while let Some(cleaned) = cleaners.join_next().await {
        cleaned.context("a cleaner's task has failed")??;
    }
    log::ended(writer)?;
    for bank in [&books.from, &books.to] {
        let left = bank.barrier_rows().await?;
        ensure!(left == 0, "{left} undo rows are left");
    }
    books.close(transfers).await?;
    Ok(line)
}

struct Floor<DB: Speaks> {
    from: Undoable<DB>,
    to: Undoable<DB>,
    log: Log,
    wait: Wait,
    next: AtomicI64,
}

impl<DB: Speaks> Transfer for Floor<DB> {
    async fn transfer(&self, account: i64) -> Result<()> {
        let branch = Branch(self.next.fetch_add(1, Relaxed));
        self.from.change(account, -AMOUNT, branch).await?;
        self.to.change(account, AMOUNT, branch).await?;
        self.log.append(record("committed", branch)).await?;
        let (from, to) = (self.from.clean(branch)?, self.to.clean(branch)?);
        let log = self.log.clone();
        let end = async move {
            from.await.context("wait for the one undo row to go")?;
            to.await.context("wait for the other undo row to go")?;
            log.append(record("ended", branch)).await
        };
        match self.wait {
            Wait::Completed => end.await,
            Wait::Decided => {
                // Nobody waits for it; a cleaner that fails is found at the end.
                tokio::spawn(end);
                Ok(())
            }
        }
    }
}

/// About what a coordinator stores of a move.
fn record(what: &str, branch: Branch) -> String {
    let (xid, id) = (branch.xid(), branch.id());
    format!(
        "{xid} {what} branch {id} at bank, mode at, phase one done, lock account {id} exclusive, \
         name transfer, timeout 60000, begun {NOW}, changed {NOW}, undo order 1\n"
    )
}

/// An undo row that is not needed any more, and who waits for its end.
type Ended = (Branch, oneshot::Sender<()>);

/// A bank whose changes could be undone.
struct Undoable<DB: Speaks> {
    bank: Bank<DB>,
    log: Log,
    ended: mpsc::UnboundedSender<Ended>,
}

impl<DB: Speaks> Undoable<DB> {
    async fn change(&self, account: i64, amount: i64, branch: Branch) -> Result<()> {
        let (_turn, mut local) = self.bank.begin().await?;
        let (owner, before, after) = images::<DB>(&mut local, account, amount).await?;
        let undo = vec![
            Bind::Text(branch.xid()),
            Bind::Number(branch.id()),
            Bind::Text(body(account, &owner, before, after)),
            Bind::Number(NOW),
            Bind::Number(NOW),
        ];
        let (registered, written) = tokio::join!(
            self.log.append(record("registered", branch)),
            DB::run(&mut local, SqlStr::from_static(DB::TEXTS.undo), undo),
        );
        registered.and(written).context("write the undo row")?;
        local.commit().await.context("commit")
    }

    fn clean(&self, branch: Branch) -> Result<oneshot::Receiver<()>> {
        let (done, wait) = oneshot::channel();
        self.ended.send((branch, done)).context("the cleaner has ended")?;
        Ok(wait)
    }
}

/// Changes the balance; what the row held before, and holds now.
async fn images<DB: Speaks>(
    local: &mut DB::Connection,
    account: i64,
    amount: i64,
) -> Result<(String, i64, i64)> {
    let changed = || vec![Bind::Number(amount), Bind::Number(account)];
    let (before, after) = match DB::TEXTS.images {
        Images::Together(change) => {
            let row = one::<DB>(local, change, changed()).await?;
            return Ok((DB::text(&row, 0)?, DB::number(&row, 1)?, DB::number(&row, 2)?));
        }
        Images::ReadAndReturn { before, change } => {
            let before = one::<DB>(local, before, vec![Bind::Number(account)]).await?;
            (before, one::<DB>(local, change, changed()).await?)
        }
        Images::ReadTwice { before, change, after } => {
            let before = one::<DB>(local, before, vec![Bind::Number(account)]).await?;
            DB::run(local, SqlStr::from_static(change), changed()).await?;
            (before, one::<DB>(local, after, vec![Bind::Number(account)]).await?)
        }
    };
    let owner = DB::text(&before, 0)?;
    Ok((owner, DB::number(&before, 1)?, DB::number(&after, 1)?))
}

async fn one<DB: Speaks>(
    local: &mut DB::Connection,
    sql: &'static str,
    values: Vec<Bind>,
) -> Result<DB::Row> {
    let mut rows = DB::run(local, SqlStr::from_static(sql), values).await?;
    ensure!(rows.len() == 1, "one account was meant");
    rows.pop().context("it is there")
}

fn body(account: i64, owner: &str, before: i64, after: i64) -> String {
    format!(
        "{{\"v\":1,\"tables\":{{\"account\":{{\"fingerprint\":\"1a2b3c4d\",\"columns\":[\"id\",\
         \"owner\",\"balance\"],\"key\":[\"id\"]}}}},\"changes\":[{{\"table\":\"account\",\"rows\":\
         [{{\"updated\":{{\"before\":[{account},\"{owner}\",{before}],\"set\":{{\"balance\":{after}\
         }}}}}}]}}]}}"
    )
}

/// Deletes what has ended, all that is there at a time, until nobody can end anything any more.
async fn clean<DB: Speaks>(
    bank: Bank<DB>,
    mut ended: mpsc::UnboundedReceiver<Ended>,
) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while ended.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (turn, mut local) = bank.begin().await?;
        let branches: Vec<Branch> = batch.iter().map(|(branch, _)| *branch).collect();
        let (sql, values) = DB::delete(&branches);
        DB::run(&mut local, sql, values).await.context("delete undo rows")?;
        local.commit().await.context("commit")?;
        drop(turn);
        for (_, done) in batch.drain(..) {
            // Who does not wait does not mind.
            let _ = done.send(());
        }
    }
    Ok(())
}
