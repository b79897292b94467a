//! What is read at start, and what an operator finds.

use pactum_core::id::{ScopeId, XidNumber};
use pactum_core::recovery::{Ended, Found};
use pactum_core::time::WallTime;
use pactum_core::transaction::{
    BranchRow, ParkReason, PhaseOne, PhaseTwo, RollbackCause, Status, TransactionRow, UndoneScope,
};

use super::Place;
use super::rows::{branch, put, put_branch, resource, transaction, write};
use crate::store::{Search, Store};
use pactum_core::step::Write;

pub(in crate::store) async fn a_new_store_is_empty(place: &dyn Place) {
    let store = place.open().await;
    assert_eq!(store.load().await.unwrap(), Found::default());
    let all = Search { max: 10, ..Search::default() };
    assert_eq!(store.search(all).await.unwrap(), []);
}

pub(in crate::store) async fn load_sorts_what_it_finds(place: &dyn Place) {
    let store = place.open().await;
    let writes = vec![
        put_branch(&branch(9, 1, 0)),
        put_branch(&branch(7, 5, 1)),
        put_branch(&branch(7, 8, 0)),
        put_branch(&branch(7, 6, 2)),
        put(&transaction(9, Status::Active)),
        put(&transaction(7, Status::Committing)),
        Write::PutResource(resource(2, "b", None)),
        Write::PutResource(resource(1, "c", None)),
    ];
    write(&*store, writes).await;
    let found = store.load().await.unwrap();
    let numbers: Vec<_> = found.unfinished.iter().map(|row| row.number.0).collect();
    assert_eq!(numbers, [7, 9]);
    let branches: Vec<_> = found.branches.iter().map(|row| (row.xid.0, row.id.0)).collect();
    assert_eq!(branches, [(7, 8), (7, 5), (7, 6), (9, 1)], "by sequence, not by id");
    let (_, shown) = store.transaction(XidNumber(7)).await.unwrap().unwrap();
    assert_eq!(shown.iter().map(|row| row.id.0).collect::<Vec<_>>(), [8, 5, 6]);
    let resources: Vec<_> = found.resources.iter().map(|row| row.number.0).collect();
    assert_eq!(resources, [1, 2]);
}

pub(in crate::store) async fn load_keeps_the_ended_apart_in_the_order_of_their_end(
    place: &dyn Place,
) {
    let store = place.open().await;
    let ended = |number, at, status, key: Option<&str>| TransactionRow {
        ended_at: Some(WallTime(at)),
        idempotency_key: key.map(Into::into),
        ..transaction(number, status)
    };
    let timed_out = Status::RolledBack(RollbackCause::TimedOut);
    let writes = vec![
        put(&ended(1, 30, Status::Committed, Some("once"))),
        put(&ended(2, 10, timed_out, None)),
        put(&ended(3, 20, Status::Committed, None)),
        put(&ended(4, 10, Status::Committed, None)),
        put(&transaction(5, Status::RollingBack(RollbackCause::Requested))),
    ];
    write(&*store, writes).await;
    let found = store.load().await.unwrap();
    let expected = |xid, status, at, key: Option<&str>| Ended {
        xid: XidNumber(xid),
        status,
        at: WallTime(at),
        idempotency_key: key.map(Into::into),
    };
    let history = [
        expected(2, timed_out, 10, None),
        expected(4, Status::Committed, 10, None),
        expected(3, Status::Committed, 20, None),
        expected(1, Status::Committed, 30, Some("once")),
    ];
    assert_eq!(found.history, history);
    assert_eq!(found.unfinished.len(), 1);
}

pub(in crate::store) async fn load_leaves_out_the_branches_of_the_ended(place: &dyn Place) {
    let store = place.open().await;
    let writes = vec![
        put(&transaction(1, Status::Committed)),
        put_branch(&branch(1, 1, 0)),
        put(&transaction(2, Status::Active)),
        put_branch(&branch(2, 2, 0)),
    ];
    write(&*store, writes).await;
    assert_eq!(store.load().await.unwrap().branches, [branch(2, 2, 0)]);
}

/// Three branches each, so that a page ends in the middle of a transaction.
pub(in crate::store) async fn load_reads_more_than_a_page(place: &dyn Place) {
    let store = place.open().await;
    let transactions: Vec<_> = (1..=2_500)
        .map(|number| {
            let ended = number % 5 == 0;
            let status = if ended { Status::Committed } else { Status::Active };
            transaction(number, status)
        })
        .collect();
    let branches: Vec<_> = transactions
        .iter()
        .flat_map(|row| [1, 2, 3].map(|id| branch(row.number.0, u64::from(id), id)))
        .collect();
    let writes = transactions.iter().map(put).chain(branches.iter().map(put_branch)).collect();
    write(&*store, writes).await;
    let found = store.load().await.unwrap();
    assert_eq!(found.unfinished.len(), 2_000);
    assert_eq!(found.history.len(), 500);
    let expected: Vec<_> = branches.into_iter().filter(|branch| branch.xid.0 % 5 != 0).collect();
    assert_eq!(found.branches, expected);
}

pub(in crate::store) async fn what_was_written_is_there_after_a_restart(place: &dyn Place) {
    let store = place.open().await;
    let writes = vec![
        put(&transaction(1, Status::Committed)),
        put(&transaction(2, Status::Active)),
        put_branch(&branch(2, 2, 0)),
        Write::PutResource(resource(1, "bank-a", Some(9))),
    ];
    write(&*store, writes).await;
    let before = store.load().await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(store.load().await.unwrap(), before);
    assert_eq!(before.branches.len(), 1);
}

/// The branches as they are shown once their transaction has `status`.
async fn shown(place: &dyn Place, status: Status, rows: &[BranchRow]) -> Vec<BranchRow> {
    let store = place.open().await;
    let writes =
        [put(&transaction(7, status))].into_iter().chain(rows.iter().map(put_branch)).collect();
    write(&*store, writes).await;
    store.transaction(XidNumber(7)).await.unwrap().unwrap().1
}

/// One branch in each phase one, and one that was parked.
fn four_branches() -> [BranchRow; 4] {
    let in_phase_one = |sequence: u32, phase_one| BranchRow {
        phase_one,
        ..branch(7, u64::from(sequence) + 1, sequence)
    };
    let parked = BranchRow {
        phase_two: PhaseTwo::Parked(ParkReason::DirtyWrite),
        park_report: Some([9][..].into()),
        ..in_phase_one(3, PhaseOne::Done)
    };
    [
        in_phase_one(0, PhaseOne::Unknown),
        in_phase_one(1, PhaseOne::Done),
        in_phase_one(2, PhaseOne::Failed),
        parked,
    ]
}

pub(in crate::store) async fn the_end_of_a_transaction_fills_in_its_branches(place: &dyn Place) {
    let states = |rows: &[BranchRow]| -> Vec<_> {
        rows.iter().map(|row| (row.phase_one, row.phase_two)).collect()
    };
    let committed = shown(place, Status::Committed, &four_branches()).await;
    let done = (PhaseOne::Done, PhaseTwo::Done);
    let failed = (PhaseOne::Failed, PhaseTwo::Pending);
    assert_eq!(states(&committed), [done, done, failed, done]);
    assert!(committed[3].park_report.is_some(), "why it was parked stays on record");
    let status = Status::RolledBack(RollbackCause::TimedOut);
    let rolled_back = shown(place, status, &four_branches()).await;
    let unknown = (PhaseOne::Unknown, PhaseTwo::Done);
    assert_eq!(states(&rolled_back), [unknown, done, failed, done]);
}

/// It was undone long before the commit, and its phase one never became known.
pub(in crate::store) async fn the_end_leaves_what_a_scope_undid_as_it_was(place: &dyn Place) {
    let store = place.open().await;
    let scope = ScopeId(u64::MAX);
    let undone_scopes = vec![UndoneScope { path: vec![scope], requested: true }];
    let row = TransactionRow { undone_scopes, ..transaction(7, Status::Committed) };
    let undone =
        BranchRow { scopes: vec![ScopeId(1), scope], phase_two: PhaseTwo::Done, ..branch(7, 1, 1) };
    let kept = BranchRow { scopes: vec![ScopeId(1)], ..branch(7, 2, 2) };
    write(&*store, vec![put(&row), put_branch(&undone), put_branch(&kept)]).await;
    let (shown, branches) = store.transaction(XidNumber(7)).await.unwrap().unwrap();
    assert_eq!(shown, row);
    assert_eq!(branches[0], undone);
    let done = (PhaseOne::Done, PhaseTwo::Done);
    assert_eq!((branches[1].phase_one, branches[1].phase_two), done);
}

pub(in crate::store) async fn an_unfinished_transactions_branches_are_shown_as_stored(
    place: &dyn Place,
) {
    let rolling_back = Status::RollingBack(RollbackCause::Requested);
    for status in [Status::Active, Status::Committing, rolling_back] {
        assert_eq!(shown(place, status, &four_branches()).await, four_branches());
    }
}

pub(in crate::store) async fn an_unknown_transaction_is_none(place: &dyn Place) {
    let store = place.open().await;
    for number in [1, XidNumber::MAX.0, u64::MAX] {
        assert_eq!(store.transaction(XidNumber(number)).await.unwrap(), None);
    }
}

async fn numbers(store: &dyn Store, search: Search) -> Vec<u64> {
    let found = store.search(search).await.unwrap();
    found.iter().map(|listed| listed.row.number.0).collect()
}

pub(in crate::store) async fn a_search_pages_from_the_newest_down(place: &dyn Place) {
    let store = place.open().await;
    let rows = (1..=5).map(|number| put(&transaction(number, Status::Committed)));
    write(&*store, rows.collect()).await;
    let page =
        |before: Option<u64>| Search { before: before.map(XidNumber), max: 2, ..Search::default() };
    assert_eq!(numbers(&*store, page(None)).await, [5, 4]);
    assert_eq!(numbers(&*store, page(Some(4))).await, [3, 2]);
    assert_eq!(numbers(&*store, page(Some(2))).await, [1]);
    assert_eq!(numbers(&*store, page(Some(1))).await, [] as [u64; 0]);
    assert_eq!(numbers(&*store, page(Some(u64::MAX))).await, [5, 4]);
}

pub(in crate::store) async fn a_search_finds_the_unfinished(place: &dyn Place) {
    let store = place.open().await;
    let writes = vec![
        put(&transaction(1, Status::Active)),
        put(&transaction(2, Status::Committed)),
        put(&transaction(3, Status::RollingBack(RollbackCause::Vetoed))),
        put(&transaction(4, Status::RolledBack(RollbackCause::Vetoed))),
        put(&transaction(5, Status::Committing)),
    ];
    write(&*store, writes).await;
    let unfinished = Search { unfinished: true, max: 10, ..Search::default() };
    assert_eq!(numbers(&*store, unfinished).await, [5, 3, 1]);
    let one = Search { max: 1, before: Some(XidNumber(5)), ..unfinished };
    assert_eq!(numbers(&*store, one).await, [3]);
    // One that ends is no longer found.
    write(&*store, vec![put(&transaction(5, Status::Committed))]).await;
    assert_eq!(numbers(&*store, unfinished).await, [3, 1]);
}

pub(in crate::store) async fn a_search_finds_the_parked_and_counts(place: &dyn Place) {
    let store = place.open().await;
    let parked = |xid, id, sequence| BranchRow {
        phase_two: PhaseTwo::Parked(ParkReason::SchemaChanged),
        ..branch(xid, id, sequence)
    };
    let rolling_back = Status::RollingBack(RollbackCause::TimedOut);
    let writes = vec![
        put(&transaction(1, rolling_back)),
        put_branch(&branch(1, 1, 0)),
        put_branch(&parked(1, 2, 1)),
        put_branch(&parked(1, 3, 2)),
        put(&transaction(2, rolling_back)),
        put_branch(&branch(2, 4, 0)),
        // It was parked once, and has ended since.
        put(&transaction(3, Status::Committed)),
        put_branch(&parked(3, 5, 0)),
    ];
    write(&*store, writes).await;
    let search = Search { parked: true, max: 10, ..Search::default() };
    let found = store.search(search).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].row.number.0, found[0].branches, found[0].parked), (1, 3, 2));
    let all = store.search(Search { max: 10, ..Search::default() }).await.unwrap();
    let counts: Vec<_> = all.iter().map(|listed| (listed.branches, listed.parked)).collect();
    assert_eq!(counts, [(1, 0), (1, 0), (3, 2)]);
}
