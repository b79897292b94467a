//! One transaction under way: which request comes next.

use pactum_core::lock::key::{KeyKind, KeyValue, LockKey};
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::{self, BeginRequest, CommitRequest, RegisterRequest};
use tokio::time::Instant;

use super::resource_id;

/// Longer than a run; the most that a coordinator allows by default.
const TRANSACTION_TIMEOUT_MS: u64 = 3_600_000;
/// How long a registration may wait for a taken key. Nothing in a run takes as long.
const LOCK_WAIT_MS: u32 = 30_000;

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) step: Step,
    pub(super) began: Instant,
    xid: String,
    branches: Vec<u64>,
}

/// What a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Idle,
    Begin,
    Register,
    /// For a branch id.
    Starved,
    Commit,
}

impl Slot {
    pub(super) fn new(now: Instant) -> Self {
        Slot { step: Step::Idle, began: now, xid: String::new(), branches: Vec::new() }
    }

    pub(super) fn begin(&mut self, now: Instant) -> Request {
        self.step = Step::Begin;
        self.began = now;
        self.branches.clear();
        Request::Begin(BeginRequest {
            name: "bench".to_owned(),
            timeout_ms: TRANSACTION_TIMEOUT_MS,
            ..BeginRequest::default()
        })
    }

    pub(super) fn begun(&mut self, begun: v1::Begun) {
        self.xid = begun.xid;
    }

    pub(super) fn branch_count(&self) -> usize {
        self.branches.len()
    }

    /// Registers the next branch, at a resource of its own, with one key.
    pub(super) fn register(&mut self, store: &[u8], branch: u64, row: u64) -> Request {
        self.step = Step::Register;
        let resource = resource_id(self.branches.len());
        self.branches.push(branch);
        let lock = v1::Lock { key: key_of(row).into(), mode: v1::LockMode::Exclusive.into() };
        Request::Register(RegisterRequest {
            xid: self.xid.clone(),
            store_id: store.to_vec().into(),
            branch_id: branch,
            resource_id: resource,
            mode: v1::BranchMode::At.into(),
            locks: vec![lock],
            wait_ms: LOCK_WAIT_MS,
            ..RegisterRequest::default()
        })
    }

    /// Names every branch as done.
    pub(super) fn commit(&mut self, store: &[u8], wait: v1::Wait) -> Request {
        self.step = Step::Commit;
        Request::Commit(CommitRequest {
            xid: std::mem::take(&mut self.xid),
            store_id: store.to_vec().into(),
            done_branch_ids: self.branches.clone(),
            wait: wait.into(),
            delegate_to: 0,
        })
    }
}

/// The canonical bytes of a row of `account` with an integer key.
pub(crate) fn key_of(row: u64) -> Vec<u8> {
    let values = vec![KeyValue::Integer(row.cast_signed())];
    let key = LockKey { table: "account".to_owned(), kind: KeyKind::Row, values };
    let encoded = key.encode().expect("a short name and one integer always encode");
    encoded.as_bytes().to_vec()
}
