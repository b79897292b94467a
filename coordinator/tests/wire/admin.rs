//! What an operator sees and does.

use pactum_proto::v1::client_frame::Frame as Ask;
use pactum_proto::v1::{self, ErrorCode, PhaseTwoState, TransactionStatus};

use crate::support::{BANK, World, done, refused, rollback, status};

/// A transaction whose one branch parked with a dirty write.
async fn parked(world: &World) -> (crate::support::Session, String, v1::Work) {
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    session.branch(&xid, 7).await;
    session.ask(Ask::Rollback(rollback(&xid))).await;
    session.send(0, Ask::Credit(v1::Credit { work: 1 })).await;
    let work = session.work().await;
    let column = v1::ColumnReport {
        column: "balance".into(),
        before: Some("100".into()),
        after: Some("70".into()),
        current: Some("71".into()),
    };
    let row =
        v1::RowReport { table: "account".into(), key: "account[7]".into(), columns: vec![column] };
    let report = v1::ParkReport {
        reason: v1::ParkReason::DirtyWrite.into(),
        message: "row account[7] equals neither image".into(),
        rows: vec![row],
        rows_left_out: 0,
    };
    let result = Some(v1::work_result::Result::Parked(report));
    session.send(0, Ask::WorkResult(v1::WorkResult { result, ..done(&work) })).await;
    (session, xid, work)
}

/// Goal: an operator finds the parked transaction, sees what a person needs, and ends it by a retry.
#[tokio::test(start_paused = true)]
async fn a_parked_branch_is_shown_and_retried() {
    let (world, _) = World::new().await;
    let mut admin = world.admin.clone();
    let (mut session, xid, work) = parked(&world).await;
    crate::session::until(&world, |summary| summary.parked_branches == 1).await;

    let parked = v1::ListTransactionsRequest { parked: true, ..Default::default() };
    let list = admin.list_transactions(parked.clone()).await.unwrap().into_inner();
    assert_eq!(list.transactions.len(), 1, "{list:?}");
    let listed = &list.transactions[0];
    assert_eq!((listed.xid.as_str(), listed.branch_count), (xid.as_str(), 1));
    assert_eq!(listed.outcome.unwrap().parked, 1);

    let show = v1::ShowTransactionRequest { xid: xid.clone() };
    let shown = admin.show_transaction(show.clone()).await.unwrap().into_inner();
    let branch = &shown.branches[0];
    assert_eq!((branch.branch_id, branch.resource_id.as_str()), (work.branch_id, BANK));
    assert_eq!(branch.locks, ["account[7]"]);
    assert_eq!(branch.phase_two(), PhaseTwoState::Parked);
    assert_eq!(branch.attempt, 1);
    let report = branch.park_report.as_ref().unwrap();
    assert_eq!(report.reason(), v1::ParkReason::DirtyWrite);
    assert_eq!(report.rows[0].columns[0].current.as_deref(), Some("71"));

    session.send(0, Ask::Credit(v1::Credit { work: 1 })).await;
    let retry = v1::RetryTransactionRequest { xid: xid.clone() };
    let retried = admin.retry_transaction(retry).await.unwrap().into_inner();
    assert_eq!((retried.branches, retried.error), (1, None));
    let again = session.work().await;
    session.send(0, Ask::WorkResult(done(&again))).await;
    crate::session::until(&world, |summary| summary.unfinished == 0).await;
    let shown = admin.show_transaction(show).await.unwrap().into_inner();
    let outcome = shown.transaction.unwrap().outcome.unwrap();
    assert_eq!((outcome.status(), outcome.parked), (TransactionStatus::RolledBack, 0));
    assert!(shown.branches[0].park_report.is_none(), "it is cured");
}

/// Goal: an operator's word reaches the participant, and stays on record with its reason.
#[tokio::test(start_paused = true)]
async fn a_parked_branch_is_resolved_for_the_record() {
    let (world, _) = World::new().await;
    let mut admin = world.admin.clone();
    let (mut session, xid, work) = parked(&world).await;
    crate::session::until(&world, |summary| summary.parked_branches == 1).await;
    session.send(0, Ask::Credit(v1::Credit { work: 2 })).await;

    let resolve = |resolution: v1::Resolution, reason: &str| v1::ResolveBranchRequest {
        xid: xid.clone(),
        branch_id: work.branch_id,
        resolution: resolution.into(),
        reason: reason.to_owned(),
    };
    let restore = resolve(v1::Resolution::Restore, "agreed with the branch office");
    let unreasoned = resolve(v1::Resolution::Restore, "");
    let refused = admin.resolve_branch(unreasoned).await.unwrap().into_inner().error.unwrap();
    assert_eq!((refused.code(), refused.field.as_str()), (ErrorCode::InvalidArgument, "reason"));
    let resolved = admin.resolve_branch(restore.clone()).await.unwrap().into_inner();
    assert_eq!(resolved.error, None);
    let again = session.work().await;
    assert_eq!((again.branch_id, again.resolution()), (work.branch_id, v1::Resolution::Restore));
    let keep = resolve(v1::Resolution::Keep, "no");
    let late = admin.resolve_branch(keep).await.unwrap().into_inner().error.unwrap();
    assert_eq!(late.code(), ErrorCode::NotResolvable);

    let reason = "the row is locked".to_owned();
    let later = Some(v1::work_result::Result::Later(v1::Later { after_ms: 0, reason }));
    session.send(0, Ask::WorkResult(v1::WorkResult { result: later, ..done(&again) })).await;
    let repeat = session.work().await;
    assert_eq!(repeat.resolution(), v1::Resolution::Restore, "until the branch answers");
    let show = v1::ShowTransactionRequest { xid: xid.clone() };
    let shown = admin.show_transaction(show.clone()).await.unwrap().into_inner();
    assert_eq!(shown.branches[0].last_reason, "the row is locked");

    session.send(0, Ask::WorkResult(done(&repeat))).await;
    crate::session::until(&world, |summary| summary.unfinished == 0).await;
    let shown = admin.show_transaction(show).await.unwrap().into_inner();
    let [record] = &shown.branches[0].resolutions[..] else { panic!("one decision") };
    assert_eq!(record.reason, "agreed with the branch office");
    assert_eq!(record.resolution(), v1::Resolution::Restore);
    assert_eq!(record.parked(), v1::ParkReason::DirtyWrite);
    assert!(record.at_unix_ms > 0);
}

#[tokio::test(start_paused = true)]
async fn a_list_goes_on_where_it_stopped() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let mut xids = Vec::new();
    for account in 0..3 {
        let xid = session.begin().await;
        session.branch(&xid, account).await;
        xids.insert(0, xid);
    }
    let list = async |before: &str, max| {
        let before_xid = before.to_owned();
        let request =
            v1::ListTransactionsRequest { unfinished: true, max, before_xid, ..Default::default() };
        let reply = world.admin.clone().list_transactions(request).await.unwrap().into_inner();
        assert_eq!(reply.error, None);
        reply.transactions.into_iter().map(|listed| listed.xid).collect::<Vec<_>>()
    };
    assert_eq!(list("", 2).await, xids[..2]);
    assert_eq!(list(&xids[1], 2).await, xids[2..]);
}

#[tokio::test(start_paused = true)]
async fn a_binding_is_forgotten_when_nobody_needs_it() {
    let (world, _) = World::new().await;
    let mut admin = world.admin.clone();
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    session.branch(&xid, 1).await;
    let listed = admin.list_resources(v1::ListResourcesRequest {}).await.unwrap().into_inner();
    let resource = &listed.resources[0];
    assert_eq!(
        (resource.resource_id.as_str(), resource.kind()),
        (BANK, v1::ResourceKind::Database)
    );
    assert_eq!((resource.sessions, resource.unfinished_branches), (1, 1));

    let forget = v1::ForgetResourceRequest { resource_id: BANK.into() };
    let busy = admin.forget_resource(forget.clone()).await.unwrap().into_inner().error.unwrap();
    assert_eq!(busy.code(), ErrorCode::ResourceBusy);
    session.ask(Ask::Rollback(rollback(&xid))).await;
    session.do_work().await;
    // The result is one-way; an answer to what came after it shows that it arrived.
    let other = session.begin().await;
    session.ask(Ask::Rollback(rollback(&other))).await;
    drop(session);
    crate::session::until(&world, |summary| summary.sessions == 0 && summary.unfinished == 0).await;
    let forgotten = admin.forget_resource(forget.clone()).await.unwrap().into_inner().error;
    assert_eq!(forgotten, None);
    let again = admin.forget_resource(forget).await.unwrap().into_inner().error.unwrap();
    assert_eq!((again.code(), again.field.as_str()), (ErrorCode::InvalidArgument, "resource_id"));

    // The id is free for another database.
    let mut session = world.session(2).await;
    let other = v1::Resource { resource_uid: vec![9; 16].into(), ..crate::support::bank() };
    let attached = session.ask(Ask::Attach(other)).await;
    assert!(matches!(attached, v1::server_frame::Frame::Attached(_)), "{attached:?}");
    let error = refused(session.ask(Ask::Attach(crate::support::bank())).await);
    assert_eq!(error.code(), ErrorCode::ResourceBound);
}

#[tokio::test(start_paused = true)]
async fn an_operators_mistakes_are_named() {
    let (world, _) = World::new().await;
    let mut admin = world.admin.clone();
    let show = async |xid: &str| {
        let request = v1::ShowTransactionRequest { xid: xid.to_owned() };
        let reply = world.admin.clone().show_transaction(request).await.unwrap().into_inner();
        let error = reply.error.unwrap();
        (error.code(), error.field)
    };
    assert_eq!(show("nonsense").await, (ErrorCode::InvalidArgument, "xid".to_owned()));
    assert_eq!(show("other:1").await, (ErrorCode::Foreign, "xid".to_owned()));
    assert_eq!(show("default:1").await, (ErrorCode::UnknownTransaction, "xid".to_owned()));
    let list = v1::ListTransactionsRequest { max: 1001, ..Default::default() };
    let error = admin.list_transactions(list).await.unwrap().into_inner().error.unwrap();
    assert_eq!((error.field.as_str(), error.limit), ("max", 1000));
    let retry = v1::RetryTransactionRequest { xid: "default:1".into() };
    let error = admin.retry_transaction(retry).await.unwrap().into_inner().error.unwrap();
    assert_eq!(error.field, "xid");
    let forget = v1::ForgetResourceRequest { resource_id: "two words".into() };
    let error = admin.forget_resource(forget).await.unwrap().into_inner().error.unwrap();
    assert_eq!(error.field, "resource_id");
}

/// What began and is not stored yet is shown as well.
#[tokio::test(start_paused = true)]
async fn a_transaction_without_branches_is_shown() {
    let (world, _) = World::new().await;
    let mut session = world.bank(1).await;
    let xid = session.begin().await;
    let request = v1::ShowTransactionRequest { xid: xid.clone() };
    let shown = world.admin.clone().show_transaction(request).await.unwrap().into_inner();
    let transaction = shown.transaction.unwrap();
    assert_eq!((transaction.xid, transaction.name.as_str()), (xid.clone(), "transfer"));
    assert_eq!(
        status(session.ask(Ask::Get(crate::support::get(&xid))).await).0,
        TransactionStatus::Active
    );
}
