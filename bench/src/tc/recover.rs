//! A start on a store full of unfinished transactions: until health says SERVING.
//!
//! The store is filled through its own interface, a third each of active, committing and rolling
//! back, with one branch and one lock. The clock runs from the start of the process, so it
//! includes the checkpoint, the reading and the rebuilding of every lock.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use pactum_coordinator::Environment;
use pactum_coordinator::store::sqlite::SqliteStore;
use pactum_coordinator::store::{Seed, Store as _};
use pactum_core::id::{
    BranchId, GroupName, NodeId, ResourceNumber, ResourceUid, StoreId, XidNumber,
};
use pactum_core::lock::LockRequest;
use pactum_core::lock::key::{EncodedKey, LockMode};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{
    BranchMode, BranchRow, PhaseOne, PhaseTwo, ResourceRow, RollbackCause, Status, TransactionRow,
};
use tokio::time::{Duration, Instant};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Options;
use super::server::Coordinator;
use crate::client::{key_of, resource_id};
use crate::proc;
use crate::report::{Finding, Report, Target};

const SECONDS_MAX: f64 = 10.0;
const ROWS_A_WRITE: usize = 1_000;
const NODE: NodeId = NodeId(0x0062_656e_6368);
/// How exactly the moment is found.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// So that none times out while it is measured.
const TIMEOUT: Duration = Duration::from_secs(3600);

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let folder = options.folder()?;
    fill(folder.path(), options.unfinished).await?;
    let started = Instant::now();
    let coordinator = Coordinator::child(folder.path(), options.log).await?;
    until_serving(&coordinator.url).await?;
    let took = started.elapsed();
    let pid = coordinator.pid().context("it is a process of its own")?;
    let resident = proc::resident_bytes(pid)? as f64;
    coordinator.kill().await?;
    println!("\nstart on {} unfinished transactions", options.unfinished);
    let target = Some(Target::AtMost(SECONDS_MAX));
    report.finding(Finding::new("until it serves", took.as_secs_f64(), " s", target));
    let mib = resident / f64::from(1 << 20);
    report.finding(Finding::new("resident memory then", mib, " MiB", None));
    Ok(())
}

/// It listens before it serves, so the first answers may be NOT_SERVING.
pub(crate) async fn until_serving(url: &str) -> Result<()> {
    let channel = tonic::transport::Endpoint::from_shared(url.to_owned());
    let channel = channel.context("read the address")?.connect().await.context("connect")?;
    let mut health = HealthClient::new(channel);
    loop {
        let request = HealthCheckRequest { service: String::new() };
        let answer = health.check(request).await.context("ask for its health")?.into_inner();
        match answer.status() {
            ServingStatus::Serving => return Ok(()),
            ServingStatus::NotServing => tokio::time::sleep(LOOK_AGAIN).await,
            other @ (ServingStatus::Unknown | ServingStatus::ServiceUnknown) => {
                bail!("its health is {other:?}")
            }
        }
    }
}

async fn fill(directory: &Path, count: u64) -> Result<()> {
    let environment = Environment::system();
    let now = environment.wall();
    let group: GroupName = "default".parse().context("name the group")?;
    let seed = Seed { store_id: StoreId(environment.random()), created_at: now };
    let store = SqliteStore::open(directory, &group, seed).await.context("open the store")?;
    let epoch = store.lead().await.context("lead the group")?.epoch;
    let reserved = store.reserve_ids(epoch, now, count, count).await;
    let (xids, branches) = reserved.context("reserve ids")?;
    let resource = ResourceRow {
        number: ResourceNumber(1),
        id: resource_id(0).parse().context("name the resource")?,
        uid: Some(ResourceUid(1)),
    };
    store.write(epoch, vec![Write::PutResource(resource)]).await.context("bind the resource")?;
    for first in (0..count).step_by(ROWS_A_WRITE) {
        let numbers = first..count.min(first + ROWS_A_WRITE as u64);
        let writes = numbers.flat_map(|n| {
            let xid = XidNumber(xids.first + n);
            [transaction(xid, n, now), branch(xid, BranchId(branches.first + n))]
        });
        store.write(epoch, writes.collect()).await.context("fill the store")?;
    }
    store.close().await;
    Ok(())
}

fn transaction(number: XidNumber, n: u64, now: WallTime) -> Write {
    let statuses =
        [Status::Active, Status::Committing, Status::RollingBack(RollbackCause::Requested)];
    Write::PutTransaction(TransactionRow {
        number,
        name: "bench".into(),
        node: Some(NODE),
        status: statuses[(n % 3) as usize],
        timeout: TIMEOUT,
        begun_at: now,
        ended_at: None,
        idempotency_key: None,
        outer: None,
        undone_scopes: Vec::new(),
    })
}

fn branch(xid: XidNumber, id: BranchId) -> Write {
    let key = EncodedKey::parse(&key_of(id.0)).expect("it was encoded a moment ago");
    Write::PutBranch(BranchRow {
        xid,
        id,
        sequence: 0,
        node: NODE,
        resource: ResourceNumber(1),
        mode: BranchMode::At,
        scopes: Vec::new(),
        lock_only: false,
        locks: Arc::new([LockRequest { key, mode: LockMode::Exclusive }]),
        action: None,
        phase_one: PhaseOne::Unknown,
        phase_two: PhaseTwo::Pending,
        park_report: None,
        resolutions: Vec::new(),
    })
}
