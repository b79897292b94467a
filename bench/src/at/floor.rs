//! The floor: what AT has to do in the databases, by hand, and no more.
//!
//! ```text
//! BEGIN ─ SELECT before ─ UPDATE … RETURNING after ─ INSERT undo ─ COMMIT     twice a transfer
//! BEGIN ─ DELETE the undo rows of all that ended meanwhile ─ COMMIT           in batches
//! ```
//!
//! No parsing, no registration, no coordinator: nothing decides here. Undo rows have the form and
//! about the size of the agent's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use anyhow::{Context as _, Result, ensure};
use pactum_agent::Wait;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::books::{AMOUNT, Bank, Books};
use super::drive::{Transfer, drive};
use super::{Options, name_of};
use crate::report::Line;

/// As many as the agent deletes at a time.
const BATCH_MAX: usize = 250;

const BEFORE: &str = "SELECT id, owner, balance FROM account WHERE id = ?1";
const CHANGE: &str = "UPDATE account SET balance = balance + ?1 WHERE id = ?2 \
                      RETURNING id, owner, balance";
const UNDO: &str = "INSERT INTO pactum_barrier (xid, branch_id, store_id, mode, state, format, \
                    checksum, body, created_at, changed_at) \
                    VALUES (?1, ?2, '0123456789abcdef0123456789abcdef', 'at', 'open', 1, 7, ?3, ?4, ?4)";

pub(super) async fn measure(options: &Options, workers: usize, wait: Wait) -> Result<Line> {
    let books = Books::open(options).await?;
    let mut cleaners = JoinSet::new();
    let from = Undoable::open(&books.from, &mut cleaners).await?;
    let to = Undoable::open(&books.to, &mut cleaners).await?;
    let floor = Arc::new(Floor { from, to, wait, next: AtomicI64::new(1) });
    let name = format!("floor, {}", name_of(wait));
    let (line, transfers) = drive(name, floor, workers, options.duration(), None).await?;
    while let Some(cleaned) = cleaners.join_next().await {
        cleaned.context("a cleaner's task has failed")??;
    }
    for bank in [&books.from, &books.to] {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pactum_barrier")
            .fetch_one(&bank.pool)
            .await
            .context("count the undo rows")?;
        ensure!(left == 0, "{left} undo rows are left");
    }
    books.close(transfers).await?;
    Ok(line)
}

struct Floor {
    from: Undoable,
    to: Undoable,
    wait: Wait,
    next: AtomicI64,
}

impl Transfer for Floor {
    async fn transfer(&self, account: i64) -> Result<()> {
        let number = self.next.fetch_add(1, Relaxed);
        self.from.change(account, -AMOUNT, number).await?;
        self.to.change(account, AMOUNT, number).await?;
        // From here on it would be committed.
        let (from, to) = (self.from.clean(number)?, self.to.clean(number)?);
        match self.wait {
            Wait::Decided => Ok(()),
            Wait::Completed => {
                from.await.context("wait for the one undo row to go")?;
                to.await.context("wait for the other undo row to go")
            }
        }
    }
}

/// An undo row that is not needed any more, and who waits for its end.
type Ended = (i64, oneshot::Sender<()>);

/// A bank whose changes could be undone.
struct Undoable {
    bank: Bank,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Undoable {
    async fn open(bank: &Bank, cleaners: &mut JoinSet<Result<()>>) -> Result<Self> {
        let made = sqlx::raw_sql(pactum_migrations::agent::SQLITE).execute(&bank.pool).await;
        made.context("make the undo table")?;
        let (ended, to_clean) = mpsc::unbounded_channel();
        cleaners.spawn(clean(bank.clone(), to_clean));
        Ok(Undoable { bank: bank.clone(), ended })
    }

    async fn change(&self, account: i64, amount: i64, number: i64) -> Result<()> {
        let _turn = self.bank.writer.acquire().await.context("queue for the file")?;
        let mut local = self.bank.pool.begin_with("BEGIN IMMEDIATE").await.context("begin")?;
        let before = sqlx::query(BEFORE).bind(account).fetch_all(&mut *local).await;
        let before = before.context("read the image before")?;
        let after = sqlx::query(CHANGE).bind(amount).bind(account).fetch_all(&mut *local).await;
        let after = after.context("change the balance")?;
        ensure!(before.len() == 1 && after.len() == 1, "one account was to change");
        let body = body(account, before[0].get(1), before[0].get(2), after[0].get(2));
        let undo = sqlx::query(UNDO).bind(xid(number)).bind(number).bind(body).bind(1_i64 << 40);
        undo.execute(&mut *local).await.context("write the undo row")?;
        local.commit().await.context("commit")
    }

    fn clean(&self, number: i64) -> Result<oneshot::Receiver<()>> {
        let (done, wait) = oneshot::channel();
        self.ended.send((number, done)).context("the cleaner has ended")?;
        Ok(wait)
    }
}

fn xid(number: i64) -> String {
    format!("default:{}", (1_i64 << 60) + number)
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
async fn clean(bank: Bank, mut ended: mpsc::UnboundedReceiver<Ended>) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while ended.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let turn = bank.writer.acquire().await.context("queue for the file")?;
        let mut local = bank.pool.begin_with("BEGIN IMMEDIATE").await.context("begin")?;
        let rows = vec!["(?, ?)"; batch.len()].join(", ");
        let text = format!(
            "DELETE FROM pactum_barrier WHERE state = 'open' AND (xid, branch_id) IN (VALUES {rows})"
        );
        let delete = batch.iter().fold(sqlx::query(AssertSqlSafe(text)), |delete, (number, _)| {
            delete.bind(xid(*number)).bind(*number)
        });
        delete.execute(&mut *local).await.context("delete undo rows")?;
        local.commit().await.context("commit")?;
        drop(turn);
        for (_, done) in batch.drain(..) {
            // Who does not wait does not mind.
            let _ = done.send(());
        }
    }
    Ok(())
}
