//! The session against a scripted coordinator.

mod connection;
mod embedded;
pub(crate) mod fake;
mod logged;
mod named;
mod phase_two;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use pactum_core::id::{BranchId, ResourceId, ResourceUid, StoreId};
use pactum_core::transaction::BranchMode;
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use tokio::task::JoinHandle;

use super::{CallError, Participant, Registration, Session};
use crate::branch::{Answer, BranchKey, Work};
use crate::context::TransactionContext;
use fake::{Fake, FakeStream};

const UID: ResourceUid = ResourceUid(0x1d);

fn bank() -> ResourceId {
    "bank".parse().unwrap()
}

fn context(number: u64) -> TransactionContext {
    let xid = format!("g:{number}").parse().unwrap();
    TransactionContext::new(xid, StoreId(fake::STORE), Duration::from_secs(60))
}

fn registration(branch: u64) -> Registration {
    Registration {
        branch: BranchId(branch),
        resource: bank(),
        mode: BranchMode::At,
        action: None,
        locks: Vec::new(),
        wait: Duration::ZERO,
        holds_local_locks: false,
        lock_only: false,
        claim: None,
    }
}

fn register(session: &Session, number: u64, branch: u64) -> JoinHandle<Result<(), CallError>> {
    let session = session.clone();
    tokio::spawn(async move { session.register(&context(number), &registration(branch)).await })
}

/// A participant that answers by a function.
struct Answering<F>(F);

#[async_trait::async_trait]
impl<F, R> Participant for Answering<F>
where
    F: Fn(Work) -> R + Send + Sync + 'static,
    R: Future<Output = Answer> + Send,
{
    fn rollbacks_at_once(&self) -> usize {
        2
    }

    async fn commit(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        let mut answers = Vec::new();
        for work in batch {
            let key = work.key.clone();
            answers.push((key, (self.0)(work).await));
        }
        answers
    }

    async fn settle(&self, work: Work) -> Answer {
        (self.0)(work).await
    }
}

fn done() -> Arc<dyn Participant> {
    Arc::new(Answering(|_| async { Answer::Done }))
}

/// A session with resource `bank` attached.
async fn attached(participant: Arc<dyn Participant>) -> (Fake, FakeStream, Session) {
    let (fake, mut stream, session) = Fake::session().await;
    let (result, resource) = tokio::join!(
        session.attach(bank(), Some(UID), vec![(BranchMode::At, participant)]),
        stream.attach()
    );
    result.unwrap();
    assert_eq!(resource.resource_id, "bank");
    assert_eq!(resource.resource_uid, UID.to_bytes().to_vec());
    (fake, stream, session)
}

fn phase_one(frame: Request) -> v1::PhaseOneReport {
    let Request::PhaseOne(report) = frame else { panic!("expected a report, got {frame:?}") };
    report
}
