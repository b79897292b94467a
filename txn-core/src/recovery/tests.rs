//! The buckets of the plan.

use std::sync::Arc;
use std::time::Duration;

use super::{Found, Plan, plan};
use crate::id::{BranchId, NodeId, ResourceNumber, XidNumber};
use crate::time::WallTime;
use crate::transaction::{
    BranchMode, BranchRow, ParkReason, PhaseOne, PhaseTwo, RollbackCause, Status, TransactionRow,
};

fn transaction(number: u64, status: Status, begun_at: u64) -> TransactionRow {
    TransactionRow {
        number: XidNumber(number),
        name: Arc::from(""),
        node: (number % 2 == 1).then_some(NodeId(7)),
        status,
        timeout: Duration::from_secs(60),
        begun_at: WallTime(begun_at),
        ended_at: None,
        idempotency_key: None,
        outer: None,
        undone_scopes: Vec::new(),
    }
}

fn branch(xid: u64, phase_two: PhaseTwo) -> BranchRow {
    BranchRow {
        xid: XidNumber(xid),
        id: BranchId(xid * 10),
        sequence: 1,
        node: NodeId(7),
        resource: ResourceNumber(1),
        mode: BranchMode::At,
        scopes: Vec::new(),
        lock_only: false,
        locks: Arc::from([]),
        action: None,
        phase_one: PhaseOne::Unknown,
        phase_two,
        park_report: None,
        resolutions: Vec::new(),
    }
}

#[test]
fn each_unfinished_transaction_goes_on_from_its_decision() {
    let rolling_back = Status::RollingBack(RollbackCause::Vetoed);
    let found = Found {
        unfinished: vec![
            transaction(1, Status::Active, 100_000),
            transaction(2, Status::Active, 0),
            transaction(3, Status::Committing, 0),
            transaction(4, rolling_back, 0),
            transaction(5, Status::Delegated, 0),
        ],
        branches: vec![
            branch(3, PhaseTwo::Pending),
            branch(4, PhaseTwo::Parked(ParkReason::DirtyWrite)),
        ],
        ..Found::default()
    };
    let expected = Plan {
        resume_commit: vec![XidNumber(3)],
        resume_rollback: vec![XidNumber(4)],
        ask_delegated: vec![XidNumber(5)],
        run_on: vec![
            (XidNumber(1), Duration::from_secs(50)),
            // It should have timed out meanwhile, and gets the grace.
            (XidNumber(2), Duration::from_secs(10)),
        ],
        ask_a_person: vec![XidNumber(4)],
        // Only the first was begun on a session and is undecided.
        nodes_to_await: [NodeId(7)].into(),
    };
    assert_eq!(plan(&found, WallTime(110_000)), expected);
}

#[test]
fn nothing_found_is_nothing_to_do() {
    assert_eq!(plan(&Found::default(), WallTime(0)), Plan::default());
}
