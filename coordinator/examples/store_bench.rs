//! How fast the embedded store is by itself: `cargo run --release -p pactum-coordinator --example
//! store_bench [directory]`.
//!
//! Each batch carries the first write of N two-branch transactions, the decision of the N before
//! and the end of the N before those: what group commit sees when N are under way in each step.

#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pactum_coordinator::store::sqlite::SqliteStore;
use pactum_coordinator::store::{Seed, Store};
use pactum_core::id::{BranchId, Epoch, NodeId, ResourceNumber, ScopeId, StoreId, XidNumber};
use pactum_core::lock::LockRequest;
use pactum_core::lock::key::{KeyKind, KeyValue, LockKey, LockMode};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{BranchMode, BranchRow, PhaseOne, PhaseTwo, Status, TransactionRow};
use tokio::time::Instant;

const TRANSACTIONS: u64 = 200_000;
const UNFINISHED: u64 = 1_000_000;
const FIRST: u64 = 1 << 60;
const NOW: WallTime = WallTime(1_800_000_000_000);

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let given = std::env::args_os().nth(1);
    let directory =
        given.map_or_else(|| std::env::temp_dir().join("pactum-store-bench"), Into::into);
    let _ = std::fs::remove_dir_all(&directory);
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing about speed: use --release".into());
    }
    println!(
        "{:>12} {:>6} {:>10} {:>12} {:>10} {:>10}",
        "beside", "batch", "txn/s", "rows/s", "p50 ms", "p99 ms"
    );
    for batch in [1, 16, 64, 256] {
        let store = open(&directory.join(format!("empty-{batch}"))).await?;
        run(&store, batch, 0).await?;
    }
    let beside = directory.join("million");
    let store = open(&beside).await?;
    let started = Instant::now();
    fill(&store).await?;
    println!(
        "filled {UNFINISHED} unfinished transactions in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    for batch in [64, 256] {
        run(&store, batch, UNFINISHED).await?;
    }
    store.close().await;
    let started = Instant::now();
    let store = open(&beside).await?;
    let opened = started.elapsed();
    let started = Instant::now();
    let found = store.load().await?;
    println!(
        "opened in {:.2} s, loaded {} unfinished, {} branches, {} ended in {:.2} s",
        opened.as_secs_f64(),
        found.unfinished.len(),
        found.branches.len(),
        found.history.len(),
        started.elapsed().as_secs_f64()
    );
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

async fn open(directory: &Path) -> Result<SqliteStore, Failure> {
    let seed = Seed { store_id: StoreId(7), created_at: WallTime(0) };
    Ok(SqliteStore::open(directory, &"default".parse()?, seed).await?)
}

/// Unfinished transactions with one branch and one lock.
async fn fill(store: &SqliteStore) -> Result<(), Failure> {
    let epoch = store.lead().await?.epoch;
    for first in (0..UNFINISHED).step_by(1000) {
        let writes = (first..first + 1000)
            .flat_map(|n| [put(1 + n, Status::Active), branch(1 + n, 1 + n)])
            .collect();
        store.write(epoch, writes).await?;
    }
    Ok(())
}

async fn run(store: &SqliteStore, batch: u64, beside: u64) -> Result<(), Failure> {
    let epoch: Epoch = store.lead().await?.epoch;
    let count = if batch == 1 { TRANSACTIONS / 100 } else { TRANSACTIONS };
    let first = FIRST + batch * TRANSACTIONS;
    let cohorts = count / batch;
    let mut times = Vec::new();
    let mut rows = 0;
    let started = Instant::now();
    for cohort in 0..cohorts + 2 {
        let members = |back: u64| {
            let exists = cohort >= back && cohort - back < cohorts;
            let start = first + cohort.saturating_sub(back) * batch;
            start..(if exists { start + batch } else { start })
        };
        let mut writes = Vec::new();
        for n in members(0) {
            writes.extend([put(n, Status::Active), branch(n, 2 * n), branch(n, 2 * n + 1)]);
        }
        writes.extend(members(1).map(|n| put(n, Status::Committing)));
        writes.extend(members(2).map(|n| put(n, Status::Committed)));
        rows += writes.len();
        let began = Instant::now();
        store.write(epoch, writes).await?;
        times.push(began.elapsed());
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort();
    let quantile = |per_cent: usize| -> Duration { times[(times.len() - 1) * per_cent / 100] };
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let rate = |n: u64| n as f64 / seconds;
    println!(
        "{beside:>12} {batch:>6} {:>10.0} {:>12.0} {:>10.2} {:>10.2}",
        rate(cohorts * batch),
        rate(rows as u64),
        quantile(50).as_secs_f64() * 1e3,
        quantile(99).as_secs_f64() * 1e3,
    );
    Ok(())
}

fn put(n: u64, status: Status) -> Write {
    Write::PutTransaction(TransactionRow {
        number: XidNumber(n),
        name: "transfer".into(),
        node: Some(NodeId(0x0123_4567_89ab_cdef)),
        status,
        timeout: Duration::from_secs(60),
        begun_at: NOW,
        ended_at: status.is_ended().then_some(NOW),
        idempotency_key: None,
        outer: None,
    })
}

fn branch(xid: u64, id: u64) -> Write {
    let values = vec![KeyValue::Integer(id.cast_signed())];
    let key = LockKey { table: "account".to_owned(), kind: KeyKind::Row, values };
    let key = key.encode().expect("a row key with one value");
    Write::PutBranch(BranchRow {
        xid: XidNumber(xid),
        id: BranchId(id),
        sequence: u32::try_from(id % 2).expect("0 or 1"),
        node: NodeId(0x0123_4567_89ab_cdef),
        resource: ResourceNumber(1),
        mode: BranchMode::At,
        scope: ScopeId(0),
        lock_only: false,
        locks: Arc::new([LockRequest { key, mode: LockMode::Exclusive }]),
        action: None,
        phase_one: PhaseOne::Unknown,
        phase_two: PhaseTwo::Pending,
        park_report: None,
    })
}
