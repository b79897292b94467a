//! After the last answer: wait until everything has ended, count what has not, and read the record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::admin::{Entry, Standing};
use crate::audit::{Record, Sent};
use crate::services::order::order_named;
use crate::world::World;

/// How long everything may take to end. 90 s: a transfer's own timeout is 30 s, and what a killed
/// manager left rolls back 10 s after it.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// Between two looks.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// What has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Global locks at the coordinator.
    pub(crate) locks: u64,
    /// Open barrier rows in the banks' databases, other than those of a saga or of XA whose transaction
    /// has committed.
    pub(crate) barrier_rows: u64,
    /// Prepared transactions in the banks' databases.
    pub(crate) prepared: u64,
    /// What is still reserved in accounts.
    pub(crate) reserved: i64,
    /// Global transactions that are undecided, or not confirmed by every branch.
    pub(crate) unfinished: u64,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Left { locks, barrier_rows, prepared, reserved, unfinished } = self;
        write!(
            f,
            "{locks} global locks, {barrier_rows} open barrier rows, {prepared} prepared, \
             {reserved} reserved, {unfinished} unfinished"
        )
    }
}

/// Waits until nothing is left of the transactions after `since`, but not for ever.
pub(crate) async fn settle(world: &World, run: &str, since: Option<&str>) -> Result<Left> {
    let until = Instant::now() + SETTLE_MAX;
    loop {
        let last_look = Instant::now() >= until;
        match look(world, run, since).await {
            Ok(left) if left == Left::default() || last_look => return Ok(left),
            Err(error) if last_look => return Err(error),
            // Not ended, or just restarted and not answering.
            Ok(_) | Err(_) => sleep(SETTLE_PAUSE).await,
        }
    }
}

async fn look(world: &World, run: &str, since: Option<&str>) -> Result<Left> {
    let open = world.open().await?;
    let mut unfinished = world.admin.unfinished().await?;
    unfinished.retain(|entry| is_ours(world, run, entry));
    let locks = if world.tc.is_some() {
        world.admin.summary().await?.locks
    } else {
        // Others may hold locks there too.
        let mut locks = 0;
        for entry in &unfinished {
            let branches = world.admin.show(&entry.xid).await?.branches;
            locks += branches.iter().map(|branch| count(branch.locks.len())).sum::<u64>();
        }
        locks
    };
    let mut left = Left {
        locks,
        barrier_rows: open.iter().map(|open| open.rows).sum(),
        prepared: open.iter().map(|open| open.prepared).sum(),
        reserved: open.iter().map(|open| open.reserved).sum(),
        unfinished: count(unfinished.len()),
    };
    // Asked last, because it reads the whole record.
    if left == Left::default() && open.iter().any(|open| !open.kept.is_empty()) {
        let record = world.admin.since(since).await?;
        let committed = record.iter().filter(|entry| entry.standing == Standing::Committed);
        let committed: BTreeSet<&str> = committed.map(|entry| entry.xid.as_str()).collect();
        let kept = open.iter().flat_map(|open| &open.kept);
        left.barrier_rows = count(kept.filter(|xid| !committed.contains(xid.as_str())).count());
    }
    Ok(left)
}

/// What the coordinator has on record for each transfer of this run. A declared saga is named for its
/// definition, not for its transfer: whose it is follows from what was answered, and one of which nobody
/// was told is on record under its XID.
pub(crate) async fn record(
    world: &World,
    run: &str,
    since: Option<&str>,
    sent: &[Sent],
) -> Result<Record> {
    let told = sent.iter().filter_map(|sent| Some((sent.xid.as_deref()?, sent.id.as_str())));
    let told: BTreeMap<&str, &str> = told.collect();
    let mut record = Record::new();
    for entry in world.admin.since(since).await? {
        let id = match number_in(run, &entry) {
            Some(id) => id,
            None if is_ours(world, run, &entry) => {
                told.get(entry.xid.as_str()).copied().unwrap_or(entry.xid.as_str())
            }
            None => continue,
        };
        record.entry(id.to_owned()).or_default().push(entry.standing);
    }
    Ok(record)
}

/// Whether this transaction was for a transfer of this run.
fn is_ours(world: &World, run: &str, entry: &Entry) -> bool {
    number_in(run, entry).is_some() || world.saga.as_ref() == Some(&entry.name)
}

/// The id of the transfer that this transaction was for, if it is one of this run.
fn number_in<'a>(run: &str, entry: &'a Entry) -> Option<&'a str> {
    order_named(&entry.name).filter(|id| id.split('-').next() == Some(run))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
