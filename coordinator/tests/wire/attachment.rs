//! Clients without a stream take part as well: attach, register, take work, report it.

use std::time::Duration;

use pactum_coordinator::{AttachmentOptions, ServerOptions};
use pactum_proto::v1::{self, ErrorCode, TransactionStatus};

use crate::support::{
    BANK, World, bank, begin, commit, done, get, outcome, registration, rollback,
};

fn attach() -> v1::AttachRequest {
    v1::AttachRequest {
        node_id: vec![1; 16].into(),
        resources: vec![bank()],
        protocol_version: pactum_proto::PROTOCOL_VERSION,
        agent_version: "simple".into(),
    }
}

fn attached(
    reply: Result<tonic::Response<v1::AttachReply>, tonic::Status>,
) -> Result<v1::Attached, v1::Error> {
    match reply.unwrap().into_inner().result.unwrap() {
        v1::attach_reply::Result::Attached(attached) => Ok(attached),
        v1::attach_reply::Result::Error(error) => Err(error),
    }
}

/// What a client without a stream does.
struct Simple {
    client: v1::coordinator_client::CoordinatorClient<tonic::transport::Channel>,
    attached: v1::Attached,
}

impl Simple {
    async fn attach(world: &World) -> Simple {
        let mut client = world.client.clone();
        let attached = attached(client.attach(attach()).await).unwrap();
        Simple { client, attached }
    }

    async fn begin(&mut self) -> String {
        let reply = self.client.begin(begin()).await.unwrap().into_inner();
        let Some(v1::begin_reply::Result::Begun(begun)) = reply.result else { panic!("begun") };
        begun.xid
    }

    async fn register(&mut self, request: v1::RegisterRequest) -> Result<u32, v1::Error> {
        let attachment_id = self.attached.attachment_id.clone();
        let request = v1::RegisterRequest { attachment_id, ..request };
        match self.client.register(request).await.unwrap().into_inner().result.unwrap() {
            v1::register_reply::Result::Registered(registered) => Ok(registered.sequence),
            v1::register_reply::Result::Error(error) => Err(error),
        }
    }

    fn take(&self, max: u32, wait_ms: u32) -> v1::TakeWorkRequest {
        v1::TakeWorkRequest { attachment_id: self.attached.attachment_id.clone(), max, wait_ms }
    }

    async fn take_work(&mut self, max: u32, wait_ms: u32) -> Result<Vec<v1::Work>, v1::Error> {
        let request = self.take(max, wait_ms);
        let reply = self.client.take_work(request).await.unwrap().into_inner();
        reply.error.map_or(Ok(reply.work), Err)
    }

    async fn report(&mut self, results: Vec<v1::WorkResult>) -> Option<v1::Error> {
        let attachment_id = self.attached.attachment_id.clone();
        let request = v1::ReportWorkRequest { attachment_id, results };
        self.client.report_work(request).await.unwrap().into_inner().error
    }
}

/// Goal: a whole transaction in unary calls. Method: a branch, its report, a commit; the work waits
/// for the poll, and the poll for the work.
#[tokio::test(start_paused = true)]
async fn a_client_without_a_stream_takes_part() {
    let (world, _) = World::new().await;
    let mut simple = Simple::attach(&world).await;
    let ids = simple.attached.branch_ids.unwrap();
    for round in 0..2 {
        let xid = simple.begin().await;
        let branch_id = ids.first + round;
        assert_eq!(simple.register(registration(&xid, branch_id, 1)).await.map(|_| ()), Ok(()));
        let waiting = (round == 1).then(|| {
            let (mut client, take) = (simple.client.clone(), simple.take(10, 20_000));
            tokio::spawn(async move { client.take_work(take).await.unwrap().into_inner().work })
        });
        let commit = v1::CommitRequest { done_branch_ids: vec![branch_id], ..commit(&xid) };
        let decided = simple.client.commit(commit).await.unwrap().into_inner();
        assert_eq!(outcome(decided), Ok(TransactionStatus::Committing));
        let work = match waiting {
            Some(taken) => taken.await.unwrap(),
            None => simple.take_work(10, 0).await.unwrap(),
        };
        assert_eq!(work.len(), 1);
        assert_eq!((work[0].kind(), work[0].branch_id), (v1::WorkKind::Commit, branch_id));
        assert_eq!(simple.report(vec![done(&work[0])]).await, None);
        let ended = simple.client.get(get(&xid)).await.unwrap().into_inner();
        assert_eq!(outcome(ended), Ok(TransactionStatus::Committed));
    }
    assert_eq!(simple.take_work(10, 1000).await, Ok(Vec::new()), "an empty poll ends in time");
}

/// Goal: who does not poll is forgotten, and who polls is not. Method: let the clock run.
#[tokio::test(start_paused = true)]
async fn an_attachment_expires_unless_work_is_taken() {
    let (world, _) = World::new().await;
    let mut simple = Simple::attach(&world).await;
    assert_eq!(simple.attached.expires_in_ms, 30_000);
    for _ in 0..3 {
        assert_eq!(simple.take_work(1, 20_000).await, Ok(Vec::new()));
    }
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(simple.take_work(1, 0).await, Ok(Vec::new()));
    tokio::time::sleep(Duration::from_secs(31)).await;
    let error = simple.take_work(1, 0).await.unwrap_err();
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::NotAttached, "attachment_id"));
    let error = simple.register(registration("default:1", 1, 1)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotAttached);
    assert_eq!(world.server.summary().await.unwrap().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn polls_and_attaches_are_checked() {
    let (world, _) = World::new().await;
    let mut simple = Simple::attach(&world).await;
    let refusal = |result: Result<Vec<v1::Work>, v1::Error>| {
        let error = result.unwrap_err();
        (error.field, error.limit)
    };
    assert_eq!(refusal(simple.take_work(0, 0).await), ("max".to_owned(), 1000));
    assert_eq!(refusal(simple.take_work(1001, 0).await), ("max".to_owned(), 1000));
    assert_eq!(refusal(simple.take_work(1, u32::MAX).await), ("wait_ms".to_owned(), 30_000));
    let error = simple.report(vec![v1::WorkResult::default()]).await.unwrap();
    assert_eq!(error.field, "xid");

    let attach_error = async |request: v1::AttachRequest| {
        attached(world.client.clone().attach(request).await).unwrap_err()
    };
    let none = v1::AttachRequest { resources: Vec::new(), ..attach() };
    assert_eq!(attach_error(none).await.field, "resources");
    let other = v1::Resource { resource_uid: vec![9; 16].into(), ..bank() };
    let other = v1::AttachRequest { resources: vec![other], ..attach() };
    assert_eq!(attach_error(other).await.code(), ErrorCode::ResourceBound);
    // What was attached before the refusal is given up.
    crate::session::until(&world, |summary| summary.sessions == 1).await;
}

/// Goal: a binding is for ever, so a refusal must not leave half of what was asked for. Method: the
/// second of two resources is bound to another database.
#[tokio::test(start_paused = true)]
async fn a_refused_attach_binds_nothing() {
    let (world, _) = World::new().await;
    let _simple = Simple::attach(&world).await;
    let fresh = v1::Resource {
        resource_id: "fresh".into(),
        kind: v1::ResourceKind::Service.into(),
        resource_uid: Vec::new().into(),
        actions: Vec::new(),
    };
    let other = v1::Resource { resource_uid: vec![9; 16].into(), ..bank() };
    let both = v1::AttachRequest { resources: vec![fresh, other], ..attach() };
    let error = attached(world.client.clone().attach(both).await).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceBound);
    let bound = world.admin.clone().list_resources(v1::ListResourcesRequest {}).await.unwrap();
    let bound: Vec<_> =
        bound.into_inner().resources.into_iter().map(|resource| resource.resource_id).collect();
    assert_eq!(bound, [BANK]);
}

/// Goal: many attachments at once do not pass the limit together, and one that ends makes room.
/// Method: the store holds the first one's binding back.
#[tokio::test(start_paused = true)]
async fn attachments_under_way_count_against_the_limit() {
    let attachment = AttachmentOptions { attachments_max: 1, ..AttachmentOptions::default() };
    let options = ServerOptions { attachment, ..ServerOptions::default() };
    let (world, faults) = World::with(options).await;
    faults.hold_writes();
    let mut client = world.client.clone();
    let first = tokio::spawn(async move { client.attach(attach()).await });
    faults.until_held(1).await;
    let mut client = world.client.clone();
    let second = tokio::time::timeout(Duration::from_secs(60), client.attach(attach())).await;
    let error = attached(second.expect("it waits for the store")).unwrap_err();
    assert_eq!((error.code(), error.limit), (ErrorCode::LimitReached, 1));
    faults.release_writes();
    let expires_in_ms = attached(first.await.unwrap()).unwrap().expires_in_ms;
    tokio::time::sleep(Duration::from_millis(u64::from(expires_in_ms) + 1)).await;
    crate::session::until(&world, |summary| summary.sessions == 0).await;
    assert!(attached(world.client.clone().attach(attach()).await).is_ok());
}

/// A wait for keys ends when its caller hangs up.
#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_ends_its_wait() {
    let (world, _) = World::new().await;
    let mut simple = Simple::attach(&world).await;
    let (holder, waiter) = (simple.begin().await, simple.begin().await);
    assert_eq!(simple.register(registration(&holder, 1, 1)).await.map(|_| ()), Ok(()));
    let attachment_id = simple.attached.attachment_id.clone();
    let waiting =
        v1::RegisterRequest { attachment_id, wait_ms: 50_000, ..registration(&waiter, 2, 1) };
    let mut client = simple.client.clone();
    let call = tokio::spawn(async move { client.register(waiting).await });
    crate::session::until(&world, |summary| summary.waiters == 1).await;
    call.abort();
    crate::session::until(&world, |summary| summary.waiters == 0).await;
    let rolled = simple.client.rollback(rollback(&waiter)).await.unwrap().into_inner();
    assert_eq!(outcome(rolled), Ok(TransactionStatus::RolledBack));
}
