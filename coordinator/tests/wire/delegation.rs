//! Commits that are left to the one-phase commit of the only branch, over the wire.

use std::sync::Arc;

use pactum_coordinator::ServerOptions;
use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::server_frame::Frame as Told;
use pactum_proto::v1::{self, ErrorCode, RollbackCause, TransactionStatus};

use crate::support::{
    BANK, Session, World, commit, done, get, memory, refused, rollback, status, store_id,
};

async fn xa_branch(session: &mut Session, xid: &str) -> u64 {
    let mut registration = session.registration(xid, 1);
    registration.mode = v1::BranchMode::Xa.into();
    let branch = registration.branch_id;
    let answer = session.ask(Ask::Register(registration)).await;
    assert!(matches!(answer, Told::Registered(_)), "{answer:?}");
    branch
}

fn delegate(xid: &str, delegate_to: u64) -> Ask {
    let wait = v1::Wait::Completed.into();
    Ask::Commit(v1::CommitRequest { delegate_to, wait, ..commit(xid) })
}

fn report(xid: &str, branch_id: u64, result: v1::PhaseOneResult) -> Ask {
    Ask::PhaseOne(v1::PhaseOneReport {
        xid: xid.to_owned(),
        store_id: store_id(),
        branch_id,
        result: result.into(),
        resource_id: BANK.into(),
    })
}

#[tokio::test(start_paused = true)]
async fn the_branch_says_what_becomes_of_the_transaction() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    for (result, expected) in [
        (v1::PhaseOneResult::Done, (TransactionStatus::Committed, RollbackCause::Unspecified)),
        (
            v1::PhaseOneResult::Failed,
            (TransactionStatus::RolledBack, RollbackCause::PhaseOneFailed),
        ),
    ] {
        let xid = session.begin().await;
        let branch = xa_branch(&mut session, &xid).await;
        let delegated = status(session.ask(delegate(&xid, branch)).await).0;
        assert_eq!(delegated, TransactionStatus::Delegated);
        // Nobody decides any more.
        let stands = status(session.ask(Ask::Rollback(rollback(&xid))).await).0;
        assert_eq!(stands, TransactionStatus::Delegated);
        session.send(0, report(&xid, branch, result)).await;
        assert_eq!(status(session.ask(Ask::Get(get(&xid))).await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_is_not_alone_is_refused_and_may_still_prepare() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    let branch = xa_branch(&mut session, &xid).await;
    let other = session.branch(&xid, 2).await;
    let error = refused(session.ask(delegate(&xid, branch)).await);
    let named = (error.code(), error.field.as_str());
    assert_eq!(named, (ErrorCode::NotDelegable, "delegate_to"));
    let done_branch_ids = vec![branch, other];
    let prepared = v1::CommitRequest { done_branch_ids, ..commit(&xid) };
    let decided = status(session.ask(Ask::Commit(prepared)).await).0;
    assert_eq!(decided, TransactionStatus::Committing);
}

/// Goal: a delegated transaction ends although the process that held the branch and the coordinator
/// are both gone, and no deadline ends it. Method: another coordinator on the same rows, another agent.
#[tokio::test(start_paused = true)]
async fn after_a_restart_another_agent_is_asked() {
    let store = memory();
    let first = World::on(ServerOptions::default(), Arc::new(store.clone())).await;
    let mut session = first.bank(1).await;
    let xid = session.begin().await;
    let branch = xa_branch(&mut session, &xid).await;
    let delegated = status(session.ask(delegate(&xid, branch)).await).0;
    assert_eq!(delegated, TransactionStatus::Delegated);

    let second = World::on(ServerOptions::default(), Arc::new(store)).await;
    // Beyond its deadline and every grace.
    tokio::time::advance(std::time::Duration::from_secs(7_200)).await;
    let mut session = second.session(2).await;
    let stands = status(session.ask(Ask::Get(get(&xid))).await).0;
    assert_eq!(stands, TransactionStatus::Delegated);
    let answer = session.ask(Ask::Attach(crate::support::bank())).await;
    assert!(matches!(answer, Told::Attached(_)), "{answer:?}");
    session.send(0, Ask::Credit(v1::Credit { work: 10 })).await;
    let work = session.work().await;
    assert_eq!((work.kind(), work.branch_id), (v1::WorkKind::AskPhaseOne, branch));
    // It cannot tell yet, and is asked again.
    let later = Some(v1::work_result::Result::Later(v1::Later::default()));
    session.send(0, Ask::WorkResult(v1::WorkResult { result: later, ..done(&work) })).await;
    let work = session.work().await;
    assert_eq!((work.kind(), work.attempt), (v1::WorkKind::AskPhaseOne, 2));
    session.send(0, Ask::WorkResult(done(&work))).await;
    let stands = status(session.ask(Ask::Get(get(&xid))).await).0;
    assert_eq!(stands, TransactionStatus::Committed);
}
