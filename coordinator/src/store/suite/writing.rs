//! What is put is what is there.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{BranchId, ResourceNumber, ScopeId, XidNumber};
use pactum_core::lock::LockRequest;
use pactum_core::lock::key::{KeyKind, KeyValue, LockKey, LockMode};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{
    Action, BranchMode, BranchRow, ParkReason, PhaseOne, PhaseTwo, RESOLUTIONS_KEPT_MAX,
    Resolution, Resolved, RollbackCause, Status, TransactionRow, UndoneScope,
};

use super::Place;
use super::rows::{branch, lock, put, put_branch, resource, transaction, write};

const CAUSES: [RollbackCause; 10] = [
    RollbackCause::Requested,
    RollbackCause::TimedOut,
    RollbackCause::Vetoed,
    RollbackCause::Deadlock,
    RollbackCause::PhaseOneUnknown,
    RollbackCause::PhaseOneFailed,
    RollbackCause::ManagerLost,
    RollbackCause::Unrecorded,
    RollbackCause::ScopeNotUndone,
    RollbackCause::StepFailed,
];

/// Puts transactions and reads each back.
async fn check_transactions(place: &dyn Place, rows: &[TransactionRow]) {
    let store = place.open().await;
    write(&*store, rows.iter().map(put).collect()).await;
    for row in rows {
        let (shown, _) = store.transaction(row.number).await.unwrap().unwrap();
        assert_eq!(shown, *row);
    }
    let unfinished: Vec<_> = rows.iter().filter(|row| !row.status.is_ended()).cloned().collect();
    assert_eq!(store.load().await.unwrap().unfinished, unfinished);
}

/// Puts branches of transaction 7, which are in the order of their sequence, and reads them back.
async fn check_branches(place: &dyn Place, rows: &[BranchRow]) {
    let store = place.open().await;
    let mut writes = vec![put(&transaction(7, Status::Active))];
    writes.extend(rows.iter().map(put_branch));
    write(&*store, writes).await;
    let (_, shown) = store.transaction(XidNumber(7)).await.unwrap().unwrap();
    assert_eq!(shown, rows);
    assert_eq!(store.load().await.unwrap().branches, rows);
}

pub(in crate::store) async fn a_transaction_reads_back_as_it_was_put(place: &dyn Place) {
    let full = TransactionRow {
        idempotency_key: Some("order-4711".into()),
        outer: Some(XidNumber(3)),
        undone_scopes: vec![
            UndoneScope { path: vec![ScopeId(u64::MAX), ScopeId(1)], requested: false },
            UndoneScope { path: vec![ScopeId(7)], requested: true },
        ],
        ..transaction(8, Status::Active)
    };
    let bare = TransactionRow {
        name: "".into(),
        node: None,
        timeout: Duration::from_millis(1),
        begun_at: WallTime(0),
        idempotency_key: Some("".into()),
        ..transaction(9, Status::Active)
    };
    let at_zero =
        TransactionRow { ended_at: Some(WallTime(0)), ..transaction(10, Status::Committed) };
    let greatest = TransactionRow { number: XidNumber::MAX, ..full.clone() };
    check_transactions(place, &[full, bare, at_zero, greatest]).await;
}

pub(in crate::store) async fn every_status_and_cause_reads_back(place: &dyn Place) {
    let mut statuses =
        vec![Status::Active, Status::Delegated, Status::Committing, Status::Committed];
    statuses.extend(CAUSES.map(Status::RollingBack));
    statuses.extend(CAUSES.map(Status::RolledBack));
    let rows: Vec<_> =
        (1..).zip(statuses).map(|(number, status)| transaction(number, status)).collect();
    check_transactions(place, &rows).await;
}

pub(in crate::store) async fn a_branch_reads_back_as_it_was_put(place: &dyn Place) {
    let odd = BranchRow {
        scopes: vec![ScopeId(u64::MAX), ScopeId(1)],
        resource: ResourceNumber(u32::MAX),
        lock_only: true,
        locks: Arc::new([]),
        ..branch(7, i64::MAX.cast_unsigned(), u32::MAX)
    };
    check_branches(place, &[branch(7, 1, 0), odd]).await;
}

pub(in crate::store) async fn every_branch_state_reads_back(place: &dyn Place) {
    let modes = [BranchMode::At, BranchMode::Tcc, BranchMode::Saga, BranchMode::Xa];
    let ones = [PhaseOne::Unknown, PhaseOne::Done, PhaseOne::Failed];
    let reasons = [
        ParkReason::DirtyWrite,
        ParkReason::EvidenceLost,
        ParkReason::EvidenceTampered,
        ParkReason::SchemaChanged,
        ParkReason::HandlerFatal,
        ParkReason::Heuristic,
        ParkReason::Invariant,
    ];
    let mut twos = vec![PhaseTwo::Pending, PhaseTwo::Done];
    twos.extend(reasons.map(PhaseTwo::Parked));
    let mut rows = Vec::new();
    for mode in modes {
        for phase_one in ones {
            for phase_two in &twos {
                let sequence = u32::try_from(rows.len()).unwrap();
                let row = branch(7, u64::from(sequence) + 1, sequence);
                rows.push(BranchRow { mode, phase_one, phase_two: *phase_two, ..row });
            }
        }
    }
    check_branches(place, &rows).await;
}

pub(in crate::store) async fn locks_read_back_in_their_order(place: &dyn Place) {
    let key = |kind, values| LockKey { table: "Käufe, 'x';".to_owned(), kind, values };
    let values = vec![
        KeyValue::Integer(i64::MIN),
        KeyValue::Text("a,;-\0'ß".to_owned()),
        KeyValue::Bytes(vec![0, 255]),
    ];
    let keys = [
        (key(KeyKind::Unique("email".to_owned()), values.clone()), LockMode::Exclusive),
        (key(KeyKind::Row, values), LockMode::Shared),
        (key(KeyKind::Table, vec![]), LockMode::Exclusive),
    ];
    let locks = keys.map(|(key, mode)| LockRequest { key: key.encode().unwrap(), mode });
    check_branches(place, &[BranchRow { locks: Arc::new(locks), ..branch(7, 1, 0) }]).await;
}

pub(in crate::store) async fn a_branch_with_ten_thousand_locks_reads_back(place: &dyn Place) {
    let locks: Arc<[_]> = (0..10_000).map(lock).collect();
    let many = BranchRow { locks, ..branch(7, 2, 1) };
    check_branches(place, &[branch(7, 1, 0), many, branch(7, 3, 2)]).await;
}

pub(in crate::store) async fn a_park_report_reads_back(place: &dyn Place) {
    let parked = |id, sequence, report: Vec<u8>| BranchRow {
        phase_two: PhaseTwo::Parked(ParkReason::DirtyWrite),
        park_report: Some(report.into()),
        ..branch(7, id, sequence)
    };
    let long = (0..65_536_u32).map(|byte| byte.to_le_bytes()[0]).collect();
    check_branches(place, &[parked(1, 0, vec![]), parked(2, 1, vec![0]), parked(3, 2, long)]).await;
}

pub(in crate::store) async fn what_operators_decided_reads_back(place: &dyn Place) {
    let resolved = |resolution, reason: &str, at| Resolved {
        resolution,
        reason: reason.into(),
        at: WallTime(at),
        parked: ParkReason::DirtyWrite,
    };
    let with = |id, sequence, resolutions| BranchRow { resolutions, ..branch(7, id, sequence) };
    let keep = resolved(Resolution::Keep, "agreed; with \0 and ü", 1_700_000_000_000);
    let most = vec![resolved(Resolution::Restore, &"x".repeat(1024), 3); RESOLUTIONS_KEPT_MAX];
    let few = vec![resolved(Resolution::Retry, "", 0), keep];
    check_branches(place, &[with(1, 0, few), with(2, 1, most), branch(7, 3, 2)]).await;
}

pub(in crate::store) async fn an_action_reads_back(place: &dyn Place) {
    let acting = |id, sequence, name: &str, payload: &[u8]| BranchRow {
        mode: BranchMode::Tcc,
        action: Some(Arc::new(Action { name: name.into(), payload: payload.into() })),
        ..branch(7, id, sequence)
    };
    let rows =
        [acting(1, 0, "reserve", &[0, 1, 255]), acting(2, 1, "reserve", &[]), branch(7, 3, 2)];
    check_branches(place, &rows).await;
}

pub(in crate::store) async fn text_is_kept_byte_for_byte(place: &dyn Place) {
    let texts = ["-", ",", ";", "'; DROP TABLE branch; --", "a\0b", "  ä\n", "%s %d"];
    let rows: Vec<_> = (1..)
        .zip(texts)
        .map(|(number, text)| TransactionRow {
            name: text.into(),
            idempotency_key: Some(text.into()),
            ..transaction(number, Status::Active)
        })
        .collect();
    check_transactions(place, &rows).await;
}

pub(in crate::store) async fn a_put_replaces_the_whole_row(place: &dyn Place) {
    let store = place.open().await;
    let first = TransactionRow {
        idempotency_key: Some("key".into()),
        outer: Some(XidNumber(1)),
        ..transaction(7, Status::Active)
    };
    write(&*store, vec![put(&first), put_branch(&branch(7, 1, 0))]).await;
    let second = TransactionRow {
        name: "other".into(),
        node: None,
        ..transaction(7, Status::RollingBack(RollbackCause::Vetoed))
    };
    let parked = BranchRow {
        locks: Arc::new([]),
        phase_one: PhaseOne::Done,
        phase_two: PhaseTwo::Parked(ParkReason::Heuristic),
        park_report: Some([1, 2][..].into()),
        resolutions: vec![Resolved {
            resolution: Resolution::Retry,
            reason: "why".into(),
            at: WallTime(9),
            parked: ParkReason::DirtyWrite,
        }],
        ..branch(7, 1, 4)
    };
    write(&*store, vec![put(&second), put_branch(&parked)]).await;
    let shown = store.transaction(XidNumber(7)).await.unwrap().unwrap();
    assert_eq!(shown, (second, vec![parked]));
}

pub(in crate::store) async fn of_several_writes_of_one_row_the_last_counts(place: &dyn Place) {
    let store = place.open().await;
    let done = BranchRow { phase_two: PhaseTwo::Done, ..branch(7, 1, 0) };
    let last = transaction(7, Status::Committing);
    let writes = vec![
        put(&transaction(7, Status::Active)),
        put_branch(&branch(7, 1, 0)),
        put(&last),
        put_branch(&done),
        Write::PutResource(resource(3, "first", None)),
        Write::PutResource(resource(3, "last", Some(1))),
    ];
    write(&*store, writes).await;
    let found = store.load().await.unwrap();
    assert_eq!(found.unfinished, [last]);
    assert_eq!(found.branches, [done]);
    assert_eq!(found.resources, [resource(3, "last", Some(1))]);
}

/// Every chunk of a multi-row statement is used, and none twice.
pub(in crate::store) async fn a_batch_of_many_rows_lands_as_a_whole(place: &dyn Place) {
    let store = place.open().await;
    let transactions: Vec<_> =
        (1..=64 + 16 + 4 + 3).map(|number| transaction(number, Status::Active)).collect();
    let branches: Vec<_> = transactions
        .iter()
        .flat_map(|row| [branch(row.number.0, 1, 0), branch(row.number.0, 2, 1)])
        .collect();
    let writes = transactions.iter().map(put).chain(branches.iter().map(put_branch)).collect();
    write(&*store, writes).await;
    let found = store.load().await.unwrap();
    assert_eq!(found.unfinished, transactions);
    assert_eq!(found.branches, branches);
}

pub(in crate::store) async fn an_empty_batch_lands(place: &dyn Place) {
    let store = place.open().await;
    write(&*store, vec![]).await;
    assert!(store.load().await.unwrap().unfinished.is_empty());
}

pub(in crate::store) async fn a_resource_is_put_replaced_and_dropped(place: &dyn Place) {
    let store = place.open().await;
    let bound = [resource(1, "bank-a", Some(u128::MAX)), resource(2, "mailer", None)];
    write(&*store, bound.iter().cloned().map(Write::PutResource).collect()).await;
    assert_eq!(store.load().await.unwrap().resources, bound);
    write(&*store, vec![Write::PutResource(resource(2, "mailer", Some(5)))]).await;
    write(&*store, vec![Write::DropResource(ResourceNumber(1))]).await;
    assert_eq!(store.load().await.unwrap().resources, [resource(2, "mailer", Some(5))]);
    write(&*store, vec![Write::DropResource(ResourceNumber(1))]).await;
    assert_eq!(store.load().await.unwrap().resources.len(), 1, "a repeat changes nothing");
}

pub(in crate::store) async fn a_resource_dropped_and_put_in_one_batch_stays(place: &dyn Place) {
    let store = place.open().await;
    write(&*store, vec![Write::PutResource(resource(1, "bank-a", Some(1)))]).await;
    let anew = resource(1, "bank-a", Some(2));
    let writes = vec![Write::DropResource(ResourceNumber(1)), Write::PutResource(anew.clone())];
    write(&*store, writes).await;
    assert_eq!(store.load().await.unwrap().resources, [anew]);
}

pub(in crate::store) async fn a_resource_put_and_dropped_in_one_batch_is_gone(place: &dyn Place) {
    let store = place.open().await;
    let writes = vec![
        Write::PutResource(resource(1, "bank-a", Some(1))),
        Write::DropResource(ResourceNumber(1)),
    ];
    write(&*store, writes).await;
    assert!(store.load().await.unwrap().resources.is_empty());
}

fn prune(xids: impl IntoIterator<Item = u64>, horizon: u64) -> Write {
    Write::Prune { xids: xids.into_iter().map(XidNumber).collect(), horizon: XidNumber(horizon) }
}

/// More than one chunk of them; their neighbours stay.
pub(in crate::store) async fn pruned_transactions_are_gone_with_their_branches(place: &dyn Place) {
    let store = place.open().await;
    let created = store.lead().await.unwrap().horizon.0;
    let number = |n: u64| created + n;
    let mut writes = Vec::new();
    for n in 1..=200 {
        writes.push(put(&transaction(number(n), Status::Committed)));
        writes.push(put_branch(&branch(number(n), 1, 0)));
    }
    write(&*store, writes).await;
    write(&*store, vec![prune((1..=199).map(number), number(199))]).await;
    let history = store.load().await.unwrap().history;
    assert_eq!(history.iter().map(|ended| ended.xid.0).collect::<Vec<_>>(), [number(200)]);
    assert_eq!(store.transaction(XidNumber(number(7))).await.unwrap(), None);
    let (_, left) = store.transaction(XidNumber(number(200))).await.unwrap().unwrap();
    assert_eq!(left.len(), 1);
    // Nothing of the pruned is left behind: the same number would find its old branch.
    write(&*store, vec![put(&transaction(number(7), Status::Active))]).await;
    assert!(store.load().await.unwrap().branches.is_empty());
    assert_eq!(store.lead().await.unwrap().horizon, XidNumber(number(199)));
}

pub(in crate::store) async fn a_put_before_its_prune_in_one_batch_is_gone(place: &dyn Place) {
    let store = place.open().await;
    let writes = vec![
        put(&transaction(7, Status::Committed)),
        put_branch(&branch(7, 1, 0)),
        put(&transaction(8, Status::Active)),
        put_branch(&BranchRow { id: BranchId(2), ..branch(8, 1, 0) }),
        prune([7], 7),
    ];
    write(&*store, writes).await;
    let found = store.load().await.unwrap();
    assert!(found.history.is_empty());
    assert_eq!(found.branches.len(), 1);
}

pub(in crate::store) async fn the_horizon_only_rises(place: &dyn Place) {
    let store = place.open().await;
    let created = store.lead().await.unwrap().horizon.0;
    write(&*store, vec![prune([], created + 50), prune([], created + 20)]).await;
    assert_eq!(store.lead().await.unwrap().horizon.0, created + 50);
    write(&*store, vec![prune([], created + 30)]).await;
    assert_eq!(store.lead().await.unwrap().horizon.0, created + 50);
    drop(store);
    assert_eq!(place.open().await.lead().await.unwrap().horizon.0, created + 50);
}
