//! The rows of the rules: plain ones, to be changed where a rule is about something else.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{BranchId, NodeId, ResourceNumber, ResourceUid, StoreId, XidNumber};
use pactum_core::lock::LockRequest;
use pactum_core::lock::key::{KeyKind, KeyValue, LockKey, LockMode};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{
    BranchMode, BranchRow, PhaseOne, PhaseTwo, ResourceRow, Status, TransactionRow,
};

use crate::store::{Seed, Store};

/// What every place is created with.
pub(in crate::store) const SEED: Seed =
    Seed { store_id: StoreId(0xfeed), created_at: WallTime(1_000) };

pub(in crate::store) fn transaction(number: u64, status: Status) -> TransactionRow {
    TransactionRow {
        number: XidNumber(number),
        name: "transfer".into(),
        node: Some(NodeId(u128::MAX - 7)),
        status,
        timeout: Duration::from_secs(60),
        begun_at: WallTime(1_700_000_000_000),
        ended_at: status.is_ended().then_some(WallTime(1_700_000_001_000)),
        idempotency_key: None,
        outer: None,
        undone_scopes: Vec::new(),
    }
}

pub(in crate::store) fn branch(xid: u64, id: u64, sequence: u32) -> BranchRow {
    BranchRow {
        xid: XidNumber(xid),
        id: BranchId(id),
        sequence,
        node: NodeId(11),
        resource: ResourceNumber(3),
        mode: BranchMode::At,
        scopes: Vec::new(),
        lock_only: false,
        locks: Arc::new([lock(i64::try_from(id).unwrap())]),
        action: None,
        phase_one: PhaseOne::Unknown,
        phase_two: PhaseTwo::Pending,
        park_report: None,
        resolutions: Vec::new(),
    }
}

pub(in crate::store) fn lock(id: i64) -> LockRequest {
    let values = vec![KeyValue::Integer(id)];
    let key = LockKey { table: "account".to_owned(), kind: KeyKind::Row, values };
    LockRequest { key: key.encode().unwrap(), mode: LockMode::Exclusive }
}

pub(in crate::store) fn resource(number: u32, id: &str, uid: Option<u128>) -> ResourceRow {
    let id = id.parse().unwrap();
    ResourceRow { number: ResourceNumber(number), id, uid: uid.map(ResourceUid) }
}

/// Takes the lead and writes one batch.
pub(super) async fn write(store: &dyn Store, writes: Vec<Write>) {
    let epoch = store.lead().await.unwrap().epoch;
    store.write(epoch, writes).await.unwrap();
}

pub(super) fn put(row: &TransactionRow) -> Write {
    Write::PutTransaction(row.clone())
}

pub(super) fn put_branch(row: &BranchRow) -> Write {
    Write::PutBranch(row.clone())
}
