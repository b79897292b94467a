//! Every request in every state, as a table: what a change of it changes is seen at a glance.

use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;

use super::{Request, decide};
use crate::id::{BranchId, NodeId, ResourceNumber, ScopeId, SessionId, XidNumber};
use crate::step::ReplyTo;
use crate::time::{Timestamp, WallTime};
use crate::transaction::{
    Branch, BranchMode, BranchRow, Caller, Closing, GlobalTransaction, PhaseOne, PhaseTwo,
    RollbackCause, Status, TransactionRow, UndoneScope, Wait,
};

const DEADLINE: Timestamp = Timestamp(100);

fn transaction(status: Status, phase_one: PhaseOne, closing: bool) -> GlobalTransaction {
    let number = XidNumber(1);
    let reply = ReplyTo { session: SessionId(1), correlation: 1 };
    let callers = vec![Caller { reply, wait: Wait::Decided }];
    let row = BranchRow {
        xid: number,
        id: BranchId(1),
        sequence: 1,
        node: NodeId(1),
        resource: ResourceNumber(1),
        mode: BranchMode::At,
        scopes: vec![ScopeId(1)],
        lock_only: false,
        locks: Arc::from([]),
        action: None,
        phase_one,
        phase_two: PhaseTwo::Pending,
        park_report: None,
        resolutions: Vec::new(),
    };
    GlobalTransaction {
        row: TransactionRow {
            number,
            name: Arc::from(""),
            node: None,
            status,
            timeout: Duration::from_secs(1),
            begun_at: WallTime(0),
            ended_at: None,
            idempotency_key: None,
            outer: None,
            undone_scopes: Vec::new(),
        },
        stored: true,
        deadline: DEADLINE,
        closing: closing.then(|| Box::new(Closing { until: DEADLINE, callers })),
        branches: vec![Branch {
            row,
            scope_undone: false,
            attempt: 0,
            next_attempt_at: Timestamp(0),
            last_reason: None,
        }],
        awaiting: Vec::new(),
        awaiting_scope: Vec::new(),
        saga: None,
    }
}

/// An active one whose only branch lies in scope 1, which was rolled back.
fn without_scope(requested: bool, phase_two: PhaseTwo, closing: bool) -> GlobalTransaction {
    let mut txn = transaction(Status::Active, PhaseOne::Unknown, closing);
    txn.row.undone_scopes = vec![UndoneScope { path: vec![ScopeId(1)], requested }];
    txn.branches[0].scope_undone = true;
    txn.branches[0].row.phase_two = phase_two;
    txn
}

fn with_xa(mut txn: GlobalTransaction) -> GlobalTransaction {
    txn.branches[0].row.mode = BranchMode::Xa;
    txn
}

#[test]
fn every_request_in_every_state() {
    use PhaseOne::{Done, Unknown};
    use PhaseTwo::Pending;
    use RollbackCause::{Requested, Vetoed};
    let early = Timestamp(DEADLINE.0 - 1);
    let states = [
        ("active, a phase one unknown", transaction(Status::Active, Unknown, false), early),
        ("active, all done", transaction(Status::Active, Done, false), early),
        ("closing, a phase one unknown", transaction(Status::Active, Unknown, true), early),
        ("closing, all done", transaction(Status::Active, Done, true), early),
        ("active, late", transaction(Status::Active, Done, false), DEADLINE),
        ("closing, late", transaction(Status::Active, Done, true), DEADLINE),
        (
            "active, an XA branch not prepared",
            with_xa(transaction(Status::Active, Unknown, false)),
            early,
        ),
        ("active, a scope being undone", without_scope(true, Pending, false), early),
        ("active, a scope undone", without_scope(true, PhaseTwo::Done, false), early),
        ("active, a scope undone by a veto", without_scope(false, PhaseTwo::Done, false), early),
        ("closing, a scope being undone", without_scope(true, Pending, true), early),
        ("delegated", with_xa(transaction(Status::Delegated, Unknown, false)), DEADLINE),
        ("delegated, done", with_xa(transaction(Status::Delegated, Done, false)), DEADLINE),
        ("committing", transaction(Status::Committing, Done, false), DEADLINE),
        ("rolling back", transaction(Status::RollingBack(Requested), Unknown, false), DEADLINE),
        ("committed", transaction(Status::Committed, Done, false), DEADLINE),
        ("rolled back", transaction(Status::RolledBack(Requested), Unknown, false), DEADLINE),
    ];
    let requests = [
        Request::Commit { names_failed: false },
        Request::Commit { names_failed: true },
        Request::Delegate { to: BranchId(1), names_failed: false },
        Request::RollbackScope(ScopeId(1), Requested),
        Request::RollbackScope(ScopeId(1), Vetoed),
        Request::Rollback(Vetoed),
        Request::DeadlinePassed,
        Request::PhaseOneLearned,
        Request::ClosingPassed,
        Request::Join,
    ];
    let mut table = format!("{requests:?}\n");
    for (name, txn, now) in &states {
        let verdicts = requests.map(|request| format!("{:?}", decide(txn, request, *now)));
        table.push_str(&format!("{name}: {}\n", verdicts.join(", ")));
    }
    expect![[r#"
        [Commit { names_failed: false }, Commit { names_failed: true }, Delegate { to: BranchId(1), names_failed: false }, RollbackScope(ScopeId(1), Requested), RollbackScope(ScopeId(1), Vetoed), Rollback(Vetoed), DeadlinePassed, PhaseOneLearned, ClosingPassed, Join]
        active, a phase one unknown: AwaitPhaseOne, RollBack(PhaseOneFailed), RefuseDelegation, UndoScope, UndoScope, RollBack(Vetoed), Stand, Stand, Stand, Admit
        active, all done: Commit, RollBack(PhaseOneFailed), Commit, UndoScope, UndoScope, RollBack(Vetoed), Stand, Stand, Stand, Admit
        closing, a phase one unknown: AwaitPhaseOne, RollBack(PhaseOneFailed), RefuseDelegation, RollBack(Requested), RollBack(Vetoed), RollBack(Vetoed), Stand, Stand, RollBack(PhaseOneUnknown), Refuse
        closing, all done: Commit, RollBack(PhaseOneFailed), Commit, RollBack(Requested), RollBack(Vetoed), RollBack(Vetoed), Stand, Commit, Stand, Refuse
        active, late: RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut), RollBack(Vetoed), RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut)
        closing, late: RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut), RollBack(Vetoed), RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut), RollBack(TimedOut)
        active, an XA branch not prepared: AwaitPhaseOne, RollBack(PhaseOneFailed), Delegate, UndoScope, UndoScope, RollBack(Vetoed), Stand, Stand, Stand, Admit
        active, a scope being undone: AwaitPhaseOne, RollBack(PhaseOneFailed), RefuseDelegation, Stand, Stand, RollBack(Vetoed), Stand, Stand, Stand, Admit
        active, a scope undone: Commit, RollBack(PhaseOneFailed), Commit, Stand, Stand, RollBack(Vetoed), Stand, Stand, Stand, Admit
        active, a scope undone by a veto: RollBack(Vetoed), RollBack(PhaseOneFailed), RollBack(Vetoed), UndoScope, Stand, RollBack(Vetoed), Stand, Stand, Stand, Admit
        closing, a scope being undone: AwaitPhaseOne, RollBack(PhaseOneFailed), RefuseDelegation, Stand, Stand, RollBack(Vetoed), Stand, Stand, Stand, Refuse
        delegated: Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Refuse
        delegated, done: Stand, Stand, Stand, Stand, Stand, Stand, Stand, EndDelegated, Stand, Refuse
        committing: Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Refuse
        rolling back: Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Refuse
        committed: Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Refuse
        rolled back: Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Stand, Refuse
    "#]].assert_eq(&table);
}
