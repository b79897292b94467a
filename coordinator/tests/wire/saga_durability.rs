//! A saga where the store is slow or the power goes: nothing is sent before what it rests on is durable,
//! and what was cut short goes on as declared.

use std::sync::Arc;
use std::time::Duration;

use pactum_coordinator::ServerOptions;
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::work_result::Result as Said;
use pactum_proto::v1::{self, RollbackCause, TransactionStatus, WorkKind, saga_reply};
use tokio::time::timeout;

use crate::sagas::{TRIP, answer, get, inline, saga, sagas, service, signal, stands, step_done};
use crate::support::{Session, World, done, memory};

/// How long nothing may come for it to count as nothing; the clock is paused. Less than the second after
/// which a compensation is repeated: its time runs from the decision, also while the store is slow.
const QUIET: Duration = Duration::from_millis(200);

async fn next_work(service: &mut Session) -> Option<v1::Work> {
    timeout(QUIET, service.work()).await.ok()
}

/// What comes on a stream that may end; for a coordinator that stops.
async fn work_if_any(service: &mut Session) -> Option<v1::Work> {
    let frame = timeout(QUIET, service.next()).await.ok()?.ok()?.frame;
    match frame {
        Some(Told::Work(work)) => Some(work),
        _ => None,
    }
}

/// Books, and finds the flight full.
async fn act_or_undo(service: &mut Session, work: &v1::Work, undone: &mut Vec<u64>) {
    match work.kind() {
        WorkKind::Act if work.action == "fly" => {
            let failed = v1::StepFailed { code: "full".into(), ..Default::default() };
            answer(service, work, Said::StepFailed(failed)).await;
        }
        WorkKind::Act => answer(service, work, step_done("{\"no\":7}")).await,
        WorkKind::Rollback => {
            undone.push(work.branch_id);
            service.send(0, Ask::WorkResult(done(work))).await;
        }
        other => panic!("nobody asked for {other:?}"),
    }
}

/// Goal: decide, write, tell, for each kind of write. Method: the store is held each time.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_saga_is_sent_before_what_it_rests_on_is_durable() {
    let (world, faults) = World::new().await;
    let mut client = sagas(&world);
    let mut service = service(&world, 1).await;
    let definition = TRIP.as_bytes().to_vec().into();
    client.define_saga(v1::DefineSagaRequest { definition }).await.unwrap();

    faults.hold_writes();
    let mut submitter = client.clone();
    let submitted = tokio::spawn(async move { submitter.submit_saga(inline(TRIP, "")).await });
    faults.until_held(1).await;
    assert_eq!(next_work(&mut service).await, None, "the saga is not stored");
    assert!(!submitted.is_finished(), "nor is it answered");
    faults.release_writes();
    let begun = saga(submitted.await.unwrap().unwrap());
    saga(client.signal_saga(signal(&begun.xid, b"")).await.unwrap());

    let hotel = service.work().await;
    faults.hold_writes();
    answer(&mut service, &hotel, step_done("{\"no\":7}")).await;
    faults.until_held(1).await;
    assert_eq!(next_work(&mut service).await, None, "its result is not stored");
    faults.release_writes();

    let flight = service.work().await;
    assert_eq!(flight.action, "fly");
    faults.hold_writes();
    act_or_undo(&mut service, &flight, &mut Vec::new()).await;
    faults.until_held(1).await;
    assert_eq!(next_work(&mut service).await, None, "the decision is not stored");
    faults.release_writes();

    let undo = service.work().await;
    assert_eq!((undo.kind(), undo.branch_id), (WorkKind::Rollback, hotel.branch_id));
    faults.hold_writes();
    service.send(0, Ask::WorkResult(done(&undo))).await;
    let mut asker = client.clone();
    let xid = begun.xid.clone();
    let asked = tokio::spawn(async move { asker.get_saga(get(&xid, 50_000)).await });
    faults.until_held(1).await;
    assert_eq!(next_work(&mut service).await, None);
    assert!(!asked.is_finished(), "its end is not stored");
    faults.release_writes();
    let ended = saga(asked.await.unwrap().unwrap());
    assert_eq!(stands(&ended), (TransactionStatus::RolledBack, RollbackCause::StepFailed));
}

/// Goal: a saga that fails ends rolled back, and undoes what it did, wherever the power goes. Method: after
/// each number of writes everything further is lost; another coordinator takes the store over.
#[tokio::test(start_paused = true)]
async fn a_failing_saga_survives_the_coordinator_at_each_write() {
    for writes in 0..8 {
        let store = memory();
        let world = World::on(ServerOptions::default(), Arc::new(store.clone())).await;
        let mut client = sagas(&world);
        let mut first = service(&world, 1).await;
        let definition = TRIP.as_bytes().to_vec().into();
        client.define_saga(v1::DefineSagaRequest { definition }).await.unwrap();
        store.faults().cut_after(writes);
        let mut undone = Vec::new();
        let submitted = client.submit_saga(inline(TRIP, "key")).await.unwrap().into_inner();
        if let Some(saga_reply::Result::Saga(begun)) = submitted.result {
            let _ = client.signal_saga(signal(&begun.xid, b"")).await;
            while let Some(work) = work_if_any(&mut first).await {
                act_or_undo(&mut first, &work, &mut undone).await;
            }
        }
        drop((client, first, world));
        store.faults().mend();

        let world = World::on(ServerOptions::default(), Arc::new(store)).await;
        let mut client = sagas(&world);
        let mut second = service(&world, 2).await;
        let begun = saga(client.submit_saga(inline(TRIP, "key")).await.unwrap());
        let _ = client.signal_saga(signal(&begun.xid, b"")).await;
        let (mut asker, xid) = (client.clone(), begun.xid.clone());
        let mut asked =
            tokio::spawn(async move { asker.get_saga(get(&xid, 60_000)).await.unwrap() });
        let ended = loop {
            tokio::select! {
                ended = &mut asked => break saga(ended.unwrap()),
                work = second.work() => act_or_undo(&mut second, &work, &mut undone).await,
            }
        };
        let fate = (TransactionStatus::RolledBack, RollbackCause::StepFailed);
        assert_eq!(stands(&ended), fate, "after {writes} writes");
        assert_eq!(ended.failed_step, "flight", "after {writes} writes");
        assert!(undone.contains(&1), "after {writes} writes: {undone:?}");
    }
}

/// Goal: an answer that was written and whose batch nobody heard of is not lost, and nothing runs twice
/// for it. Method: the store says that it does not know, once the row landed and once it did not.
#[tokio::test(start_paused = true)]
async fn a_result_whose_write_is_unknown_is_read_back() {
    use pactum_coordinator::store::memory::WriteFault;
    for (fault, landed) in [(WriteFault::UnknownLanded, true), (WriteFault::UnknownLost, false)] {
        let (world, faults) = World::new().await;
        let mut client = sagas(&world);
        let mut first = service(&world, 1).await;
        let begun = saga(client.submit_saga(inline(TRIP, "")).await.unwrap());
        saga(client.signal_saga(signal(&begun.xid, b"")).await.unwrap());
        let hotel = first.work().await;
        faults.fail_next_write(fault);
        answer(&mut first, &hotel, step_done("{\"no\":7}")).await;
        while first.next().await.is_ok() {}

        let mut second = service(&world, 2).await;
        let work = second.work().await;
        let expected = if landed { "fly" } else { "book" };
        assert_eq!(work.action, expected);
        if !landed {
            assert_eq!(work.branch_id, hotel.branch_id, "repeated under the same key");
        }
    }
}
