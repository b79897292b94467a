//! Decide, then write, then tell: nothing leaves before it is durable, and what was decided on top of
//! a failed write was never decided.

use std::sync::Arc;
use std::time::Duration;

use pactum_coordinator::store::memory::{MemoryStore, WriteFault};
use pactum_coordinator::store::{AfterUnknown, Error, Lease, Listed, Search, Store};
use pactum_coordinator::{EngineError, ServerOptions};
use pactum_core::event::IdBlock;
use pactum_core::id::{Epoch, XidNumber};
use pactum_core::recovery::Found;
use pactum_core::saga::{SagaRow, StepRow};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{BranchRow, TransactionRow};
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::{self, ErrorCode, RollbackCause, TransactionStatus};
use tonic::Code;

use crate::support::{World, begin, commit, get, memory, outcome, refused, status};

/// Goal: of all answers only that to a first begin passes a write that has not landed. Method: hold
/// the store; what the group handled before a first begin would stand before its answer.
#[tokio::test(start_paused = true)]
async fn nothing_but_a_first_begin_is_answered_before_the_store_has_it() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let keyed = v1::BeginRequest { idempotency_key: "once".into(), ..begin() };
    let Told::Begun(first) = session.ask(Ask::Begin(keyed.clone())).await else { panic!("begun") };

    faults.hold_writes();
    let registration = session.registration(&first.xid, 1);
    let registered = session.post(Ask::Register(registration.clone())).await;
    faults.until_held(1).await;
    let held = [
        registered,
        session.post(Ask::Register(registration)).await,
        session.post(Ask::Get(get(&first.xid))).await,
        session.post(Ask::Begin(keyed)).await,
        session.post(Ask::Commit(commit("default:1"))).await,
    ];
    let (mut client, request) = (world.client.clone(), get(&first.xid));
    let unary = tokio::spawn(async move { client.get(request).await });
    for _ in 0..3 {
        session.begin().await;
        assert!(held.iter().all(|correlation| !session.has_answer(*correlation)));
    }
    assert!(!unary.is_finished());

    faults.release_writes();
    for correlation in held {
        session.answer(correlation).await;
    }
    assert_eq!(outcome(unary.await.unwrap().unwrap().into_inner()), Ok(TransactionStatus::Active));
}

/// Goal: a write that nobody knows about is told as such, and read back before anything else. Method:
/// once it landed, once it was lost; the agent repeats its registration.
#[tokio::test(start_paused = true)]
async fn an_unknown_write_is_told_as_unknown_and_read_back() {
    for (fault, landed) in [(WriteFault::UnknownLanded, true), (WriteFault::UnknownLost, false)] {
        let (world, faults) = World::new().await;
        let mut session = world.bank(1).await;
        let xid = session.begin().await;
        let registration = session.registration(&xid, 1);
        faults.fail_next_write(fault);
        let error = refused(session.ask(Ask::Register(registration.clone())).await);
        assert_eq!(error.code(), ErrorCode::OutcomeUnknown);
        assert_eq!(session.next().await.unwrap_err().code(), Code::Unavailable, "attach again");
        assert_eq!(world.server.stats().reloads, 1);

        let mut session = world.bank(1).await;
        let answer = session.ask(Ask::Register(registration)).await;
        if landed {
            assert!(matches!(answer, Told::Registered(_)), "{answer:?}");
            let stands = status(session.ask(Ask::Get(get(&xid))).await).0;
            assert_eq!(stands, TransactionStatus::Active);
        } else {
            // Nothing of the transaction was ever stored: it is rolled back.
            assert_eq!(refused(answer).code(), ErrorCode::NotActive);
            let stands = status(session.ask(Ask::Get(get(&xid))).await);
            assert_eq!(stands, (TransactionStatus::RolledBack, RollbackCause::Unrecorded));
        }
    }
}

/// Goal: a decision that was taken on top of a lost batch is dropped with it. Method: the commit is
/// decided while the registration's write hangs, and that write is lost.
#[tokio::test(start_paused = true)]
async fn a_lost_batch_takes_all_later_decisions_with_it() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let (old, new) = (session.begin().await, session.begin().await);
    let old_branch = session.branch(&old, 1).await;
    faults.hold_writes();
    let registration = session.registration(&new, 2);
    let lost = session.post(Ask::Register(registration)).await;
    faults.until_held(1).await;
    let later = session.post(Ask::Commit(commit(&old))).await;
    let (mut client, request) = (world.client.clone(), commit(&old));
    let unary = tokio::spawn(async move { client.commit(request).await });
    session.begin().await;
    let writes = faults.writes();

    faults.fail_next_write(WriteFault::UnknownLost);
    faults.release_writes();
    for correlation in [lost, later] {
        let error = refused(session.answer(correlation).await);
        assert_eq!(error.code(), ErrorCode::OutcomeUnknown);
    }
    let error = outcome(unary.await.unwrap().unwrap().into_inner()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OutcomeUnknown);
    assert_eq!(faults.writes(), writes, "the later batch was never written");

    let mut session = world.bank(1).await;
    assert_eq!(status(session.ask(Ask::Get(get(&old))).await).0, TransactionStatus::Active);
    let again = v1::CommitRequest { done_branch_ids: vec![old_branch], ..commit(&old) };
    let decided = status(session.ask(Ask::Commit(again)).await).0;
    assert_eq!(decided, TransactionStatus::Committing);
}

/// A write of the old epoch that is still under way lands before the reload, or never.
#[tokio::test(start_paused = true)]
async fn an_unknown_write_reloads_under_a_new_epoch() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    let before = world.admin.clone().summary(v1::SummaryRequest {}).await.unwrap().into_inner();
    faults.fail_next_write(WriteFault::UnknownLost);
    let registration = session.registration(&xid, 1);
    let error = refused(session.ask(Ask::Register(registration)).await);
    assert_eq!(error.code(), ErrorCode::OutcomeUnknown);
    let mut session = world.bank(1).await;
    session.begin().await;
    let after = world.admin.clone().summary(v1::SummaryRequest {}).await.unwrap().into_inner();
    assert_eq!(after.epoch, before.epoch + 1);
}

/// A reload that fails is tried again; meanwhile callers hear that they must wait.
#[tokio::test(start_paused = true)]
async fn a_reload_is_tried_until_it_succeeds() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    faults.fail_next_load();
    faults.fail_next_load();
    faults.fail_next_write(WriteFault::UnknownLost);
    let registration = session.registration(&xid, 1);
    let error = refused(session.ask(Ask::Register(registration)).await);
    assert_eq!(error.code(), ErrorCode::OutcomeUnknown);

    let reply = world.client.clone().begin(begin()).await.unwrap().into_inner();
    let Some(v1::begin_reply::Result::Error(error)) = reply.result else { panic!("{reply:?}") };
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.retry_after_ms > 0);

    // The clock is paused: this waits for nothing but the two attempts.
    loop {
        let reply = world.client.clone().begin(begin()).await.unwrap().into_inner();
        if let Some(v1::begin_reply::Result::Begun(_)) = reply.result {
            break;
        }
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    world.bank(1).await;
}

/// Goal: a coordinator that is told to end before it could read back ends without a further write, and
/// says why: what it has in memory stands on the write that failed.
#[tokio::test(start_paused = true)]
async fn a_stop_during_a_reload_writes_nothing_more() {
    let (world, faults) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    for _ in 0..1_000 {
        faults.fail_next_load();
    }
    faults.fail_next_write(WriteFault::UnknownLost);
    let registration = session.registration(&xid, 1);
    refused(session.ask(Ask::Register(registration)).await);
    let writes = faults.writes();
    let World { server, .. } = world;
    let ended = server.drain().await.unwrap_err();
    assert!(matches!(*ended, EngineError::Write(_)), "{ended:?}");
    assert_eq!(faults.writes(), writes);
}

/// A store that must not be read back by the process that saw it fail.
struct Brittle(MemoryStore);

#[async_trait::async_trait]
impl Store for Brittle {
    async fn lead(&self) -> Result<Lease, Error> {
        self.0.lead().await
    }

    async fn reserve_ids(
        &self,
        epoch: Epoch,
        wall: WallTime,
        xids: u64,
        branches: u64,
    ) -> Result<(IdBlock, IdBlock), Error> {
        self.0.reserve_ids(epoch, wall, xids, branches).await
    }

    async fn write(&self, epoch: Epoch, batch: Vec<Write>) -> Result<(), Error> {
        self.0.write(epoch, batch).await
    }

    fn after_unknown(&self) -> AfterUnknown {
        AfterUnknown::EndProcess
    }

    async fn load(&self) -> Result<Found, Error> {
        self.0.load().await
    }

    async fn search(&self, search: Search) -> Result<Vec<Listed>, Error> {
        self.0.search(search).await
    }

    async fn transaction(
        &self,
        xid: XidNumber,
    ) -> Result<Option<(TransactionRow, Vec<BranchRow>)>, Error> {
        self.0.transaction(xid).await
    }

    async fn saga(&self, xid: XidNumber) -> Result<Option<(SagaRow, Vec<StepRow>)>, Error> {
        self.0.saga(xid).await
    }
}

/// On the embedded store a failed write ends the coordinator with its reason, and nobody hears what
/// was decided.
#[tokio::test(start_paused = true)]
async fn a_brittle_store_ends_the_coordinator_with_the_reason() {
    let store = memory();
    let faults = store.faults();
    let world = World::on(ServerOptions::default(), Arc::new(Brittle(store))).await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    faults.fail_next_write(WriteFault::UnknownLost);
    let registration = session.registration(&xid, 1);
    let error = refused(session.ask(Ask::Register(registration)).await);
    assert_eq!(error.code(), ErrorCode::OutcomeUnknown);
    let reason = world.server.ended().await.unwrap_err();
    assert!(matches!(*reason, EngineError::Write(Error::Unknown(_))), "{reason:?}");
    let reply = world.client.clone().get(get(&xid)).await.unwrap().into_inner();
    assert_eq!(outcome(reply).unwrap_err().code(), ErrorCode::Unavailable);
}

/// Goal: of two coordinators on one store the older ends with the reason and leaves the lead alone; if
/// it took it back, they would depose each other for ever. Method: a second one on the same rows.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_was_deposed_ends_and_leaves_the_lead_alone() {
    let store = memory();
    let first = World::on(ServerOptions::default(), Arc::new(store.clone())).await;
    let mut session = first.bank(1).await;
    let xid = session.begin().await;
    let second = World::on(ServerOptions::default(), Arc::new(store.clone())).await;

    let registration = session.registration(&xid, 1);
    let error = refused(session.ask(Ask::Register(registration)).await);
    assert_eq!(error.code(), ErrorCode::OutcomeUnknown, "nobody is told that it failed");
    let ended = tokio::time::timeout(Duration::from_secs(60), first.server.ended()).await;
    let reason = ended.expect("it goes on").unwrap_err();
    assert!(matches!(*reason, EngineError::Deposed(Error::Refused(Epoch(1)))), "{reason:?}");
    assert!(reason.to_string().contains("another coordinator leads this group"), "{reason}");

    let mut session = second.bank(1).await;
    let xid = session.begin().await;
    session.branch(&xid, 1).await;
    assert_eq!(store.lead().await.unwrap().epoch, Epoch(3), "two have led before");
}
