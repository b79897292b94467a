//! The rows of declared sagas.

use std::sync::Arc;

use pactum_core::id::XidNumber;
use pactum_core::saga::{
    Defined, SagaRow, SagaVerb, SagaWord, Slot, StepError, StepRow, StepState,
};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{ParkReason, RollbackCause, Status};

use super::Place;
use super::rows::{put, transaction, write};
use crate::store::Search;

fn defined() -> Arc<Defined> {
    let json = br#"{"saga":"trip","version":2,"steps":[{"id":"a","action":"do","resource":"r"}]}"#;
    Arc::new(Defined::read(json, &|_| None).unwrap())
}

fn saga(xid: u64) -> SagaRow {
    let word = SagaWord {
        verb: SagaVerb::Skip,
        slot: Some(Slot(0)),
        reason: "it's \u{1f9f3}, lost".into(),
        at: WallTime(77),
    };
    SagaRow {
        xid: XidNumber(xid),
        definition: defined().row.key.clone(),
        input: Arc::from(&b"{\"who\":\"me\"}"[..]),
        paused: true,
        words: vec![word],
    }
}

fn step(xid: u64, slot: u32, state: StepState) -> StepRow {
    StepRow {
        xid: XidNumber(xid),
        slot: Slot(slot),
        state,
        took_place: slot.is_multiple_of(2),
        result: (slot > 0).then(|| vec![b'1'; 5000 * slot as usize].into()),
        error: (slot > 1).then(|| Arc::new(StepError { code: "no".into(), message: "".into() })),
        report: (slot > 2).then(|| Arc::from(&b"report"[..])),
    }
}

fn steps(xid: u64) -> Vec<StepRow> {
    vec![
        step(xid, 0, StepState::Waiting { since: WallTime(0) }),
        step(xid, 1, StepState::Done),
        step(xid, 2, StepState::Failed { certain: true }),
        step(xid, 3, StepState::UndoParked(ParkReason::HandlerFatal)),
    ]
}

/// All that is stored of it, live and for whoever asks, also of one that has ended.
pub(in crate::store) async fn a_saga_reads_back_with_its_definition_and_steps(place: &dyn Place) {
    let store = place.open().await;
    let ended = Status::RolledBack(RollbackCause::StepFailed);
    let mut writes = vec![
        Write::PutDefinition(defined()),
        put(&transaction(1, Status::Active)),
        Write::PutSaga(saga(1)),
        put(&transaction(2, ended)),
        Write::PutSaga(saga(2)),
    ];
    let rows = steps(1).into_iter().chain(steps(2));
    writes.extend(rows.map(|row| Write::PutStep(Arc::new(row))));
    write(&*store, writes).await;
    drop(store);

    let store = place.open().await;
    let found = store.load().await.unwrap();
    assert_eq!(found.definitions, [defined()]);
    assert_eq!(found.sagas, [saga(1)], "the ended one stays where it is");
    assert_eq!(found.steps, steps(1));
    for xid in [1, 2] {
        let read = store.saga(XidNumber(xid)).await.unwrap();
        assert_eq!(read, Some((saga(xid), steps(xid))));
    }
    assert_eq!(store.saga(XidNumber(3)).await.unwrap(), None);
    let search = Search { parked: true, max: 10, ..Search::default() };
    let parked = store.search(search).await.unwrap();
    let parked = parked.iter().map(|one| (one.row.number.0, one.branches, one.parked));
    assert_eq!(parked.collect::<Vec<_>>(), [(1, 4, 1)]);
}

/// Nothing of it is left behind.
pub(in crate::store) async fn a_saga_is_pruned_with_its_transaction(place: &dyn Place) {
    let store = place.open().await;
    let mut writes = vec![put(&transaction(1, Status::Committed)), Write::PutSaga(saga(1))];
    writes.extend(steps(1).into_iter().map(|row| Write::PutStep(Arc::new(row))));
    write(&*store, writes).await;
    let xids = vec![XidNumber(1)];
    write(&*store, vec![Write::Prune { xids, horizon: XidNumber(1) }]).await;
    assert_eq!(store.saga(XidNumber(1)).await.unwrap(), None);
}
