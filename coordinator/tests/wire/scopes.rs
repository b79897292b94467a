//! Nested scopes that roll back by themselves, over the wire.

use std::sync::Arc;

use pactum_coordinator::ServerOptions;
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::{self, ErrorCode, RollbackCause, ScopeStatus, TransactionStatus};

use crate::support::{Session, World, commit, done, get, memory, refused, status, store_id};

const OUTER: u64 = 0xfeed_0000_0000_0001;
const INNER: u64 = 0xfeed_0000_0000_0002;

fn roll_back(xid: &str, scope: u64, wait: v1::Wait) -> v1::RollbackScopeRequest {
    v1::RollbackScopeRequest { xid: xid.into(), store_id: store_id(), scope, wait: wait.into() }
}

fn veto(xid: &str, scopes: &[u64]) -> v1::VetoRequest {
    let (xid, scopes) = (xid.into(), scopes.to_vec());
    v1::VetoRequest { xid, store_id: store_id(), scopes, ..Default::default() }
}

/// A branch within these scopes.
async fn branch_in(session: &mut Session, xid: &str, account: i64, scopes: &[u64]) -> u64 {
    let mut registration = session.registration(xid, account);
    registration.scopes = scopes.to_vec();
    let branch = registration.branch_id;
    let answer = session.ask(Ask::Register(registration)).await;
    assert!(matches!(answer, Told::Registered(_)), "{answer:?}");
    branch
}

#[track_caller]
fn scope(told: Told) -> (ScopeStatus, TransactionStatus) {
    match told {
        Told::Scope(scope) => (scope.status(), scope.transaction.unwrap_or_default().status()),
        other => panic!("not the answer to a scope: {other:?}"),
    }
}

/// Goal: a scope goes, newest branch first, and what is around it commits.
#[tokio::test(start_paused = true)]
async fn a_scope_is_undone_and_the_rest_commits() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    let kept = session.branch(&xid, 1).await;
    let outer = branch_in(&mut session, &xid, 2, &[OUTER]).await;
    let inner = branch_in(&mut session, &xid, 3, &[OUTER, INNER]).await;

    let asked = session.post(Ask::RollbackScope(roll_back(&xid, OUTER, v1::Wait::Completed))).await;
    let undone = [session.do_work().await, session.do_work().await];
    assert_eq!(undone.each_ref().map(|work| work.branch_id), [inner, outer], "newest first");
    assert!(undone.iter().all(|work| work.kind() == v1::WorkKind::Rollback));
    let told = scope(session.answer(asked).await);
    assert_eq!(told, (ScopeStatus::RolledBack, TransactionStatus::Active));

    let mut late = session.registration(&xid, 4);
    late.scopes = vec![OUTER];
    let error = refused(session.ask(Ask::Register(late)).await);
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::ScopeRolledBack, "scopes"));

    let done_branch_ids = vec![kept, outer, inner];
    let commit = v1::CommitRequest { done_branch_ids, ..commit(&xid) };
    let decided = status(session.ask(Ask::Commit(commit)).await).0;
    assert_eq!(decided, TransactionStatus::Committing);
    assert_eq!(session.do_work().await.branch_id, kept);
    assert_eq!(status(session.ask(Ask::Get(get(&xid))).await).0, TransactionStatus::Committed);
}

/// Goal: a caller is not kept waiting for ever, and may ask again. Method: nobody answers the work.
#[tokio::test(start_paused = true)]
async fn a_scope_that_is_not_undone_yet_is_said_to_be_rolling_back() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    branch_in(&mut session, &xid, 1, &[OUTER]).await;
    let request = || roll_back(&xid, OUTER, v1::Wait::Completed);
    let not_yet = (ScopeStatus::RollingBack, TransactionStatus::Active);
    assert_eq!(scope(session.ask(Ask::RollbackScope(request())).await), not_yet);
    let again = session.post(Ask::RollbackScope(request())).await;
    session.do_work().await;
    let undone = (ScopeStatus::RolledBack, TransactionStatus::Active);
    assert_eq!(scope(session.answer(again).await), undone);
    // The same by a unary call.
    let reply = world.client.clone().rollback_scope(request()).await.unwrap().into_inner();
    let Some(v1::scope_reply::Result::Scope(unary)) = reply.result else { panic!("{reply:?}") };
    assert_eq!(unary.status(), ScopeStatus::RolledBack);
}

/// Goal: what a participant alone gave up is not committed by a manager that never heard of it.
#[tokio::test(start_paused = true)]
async fn a_vetoed_scope_must_be_taken_up_by_its_manager() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    for taken_up in [false, true] {
        let xid = session.begin().await;
        branch_in(&mut session, &xid, 1, &[OUTER, INNER]).await;
        let answer = session.ask(Ask::Veto(veto(&xid, &[OUTER, INNER]))).await;
        assert_eq!(status(answer).0, TransactionStatus::Active, "the rest goes on");
        assert_eq!(session.do_work().await.kind(), v1::WorkKind::Rollback);
        if taken_up {
            session.ask(Ask::RollbackScope(roll_back(&xid, OUTER, v1::Wait::Decided))).await;
        }
        let outcome = status(session.ask(Ask::Commit(commit(&xid))).await);
        let expected = match taken_up {
            true => (TransactionStatus::Committed, RollbackCause::Unspecified),
            false => (TransactionStatus::RolledBack, RollbackCause::Vetoed),
        };
        assert_eq!(outcome, expected);
    }
}

/// Goal: a decided scope is undone whatever happens to the coordinator. Method: another one takes over
/// the rows before anybody did the work.
#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_undoing_the_scope() {
    let store = memory();
    let first = World::on(ServerOptions::default(), Arc::new(store.clone())).await;
    let mut session = first.bank(1).await;
    let xid = session.begin().await;
    let kept = session.branch(&xid, 1).await;
    let lost = branch_in(&mut session, &xid, 2, &[OUTER]).await;
    let decided = session.ask(Ask::RollbackScope(roll_back(&xid, OUTER, v1::Wait::Decided))).await;
    assert_eq!(scope(decided).0, ScopeStatus::RollingBack);

    let second = World::on(ServerOptions::default(), Arc::new(store)).await;
    let mut session = second.bank(1).await;
    let again = session.post(Ask::RollbackScope(roll_back(&xid, OUTER, v1::Wait::Completed))).await;
    let work = session.do_work().await;
    assert_eq!((work.kind(), work.branch_id), (v1::WorkKind::Rollback, lost));
    assert_eq!(scope(session.answer(again).await).0, ScopeStatus::RolledBack);
    let commit = v1::CommitRequest { done_branch_ids: vec![kept], ..commit(&xid) };
    let decided = status(session.ask(Ask::Commit(commit)).await).0;
    assert_eq!(decided, TransactionStatus::Committing);
}

/// Goal: a branch that cannot be undone by itself takes the whole with it, and says so.
#[tokio::test(start_paused = true)]
async fn a_scope_that_cannot_be_undone_takes_the_whole_with_it() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    branch_in(&mut session, &xid, 1, &[OUTER]).await;
    let asked = session.post(Ask::RollbackScope(roll_back(&xid, OUTER, v1::Wait::Completed))).await;
    session.send(0, Ask::Credit(v1::Credit { work: 1 })).await;
    let work = session.work().await;
    let reason = v1::ParkReason::DirtyWrite.into();
    let report = v1::ParkReport { reason, ..v1::ParkReport::default() };
    let parked = Some(v1::work_result::Result::Parked(report));
    session.send(0, Ask::WorkResult(v1::WorkResult { result: parked, ..done(&work) })).await;
    let told = scope(session.answer(asked).await);
    assert_eq!(told, (ScopeStatus::RollingBack, TransactionStatus::RollingBack));
    let stands = status(session.ask(Ask::Get(get(&xid))).await);
    assert_eq!(stands, (TransactionStatus::RollingBack, RollbackCause::ScopeNotUndone));

    let request = v1::ShowTransactionRequest { xid };
    let shown = world.admin.clone().show_transaction(request).await.unwrap().into_inner();
    assert_eq!(shown.transaction.unwrap().undone_scopes, [OUTER]);
    assert_eq!(
        (shown.branches[0].scopes.as_slice(), shown.branches[0].scope_undone),
        (&[OUTER][..], true)
    );
}

#[tokio::test(start_paused = true)]
async fn paths_and_scopes_that_cannot_be_are_refused() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    for scopes in [vec![0], vec![1, 1], (1..=17).collect()] {
        let registration = session.registration(&xid, 1);
        let registration = v1::RegisterRequest { scopes: scopes.clone(), ..registration };
        let error = refused(session.ask(Ask::Register(registration)).await);
        assert_eq!((error.code(), error.field.as_str()), (ErrorCode::InvalidArgument, "scopes"));
        let error = refused(session.ask(Ask::Veto(veto(&xid, &scopes))).await);
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
    }
    let request = roll_back(&xid, 0, v1::Wait::Decided);
    let error = refused(session.ask(Ask::RollbackScope(request)).await);
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::InvalidArgument, "scope"));
}
