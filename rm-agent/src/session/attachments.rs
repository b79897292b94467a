//! The resources of this process, and the way of pushed work to their participants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pactum_core::id::{ResourceId, ResourceUid};
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::lanes::Lanes;
use super::link::Link;
use super::outbox::Urgency;
use super::reports::Reports;
use super::tasks::Tasks;
use super::{Participant, wire};
use crate::branch::Task;

#[derive(Debug, Default)]
pub(super) struct Attachments {
    by_resource: Mutex<HashMap<ResourceId, Arc<Attachment>>>,
    stop: CancellationToken,
}

/// One resource that this process speaks for.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) resource: ResourceId,
    pub(super) uid: ResourceUid,
    lanes: Lanes,
    _stop: DropGuard,
}

impl Attachment {
    pub(super) fn to_wire(&self) -> v1::Resource {
        v1::Resource {
            resource_id: self.resource.to_string(),
            kind: v1::ResourceKind::Database.into(),
            resource_uid: self.uid.to_bytes().to_vec().into(),
        }
    }
}

impl Attachments {
    /// Takes a resource up. A second participant for the same database takes the place of the
    /// first; another database under the same id is the caller's mistake, and is given back.
    pub(super) fn add(
        &self,
        resource: ResourceId,
        uid: ResourceUid,
        participant: &Arc<dyn Participant>,
        tasks: &Tasks,
    ) -> Result<Arc<Attachment>, ResourceUid> {
        let mut attached = self.attached();
        if let Some(old) = attached.get(&resource)
            && old.uid != uid
        {
            return Err(old.uid);
        }
        let stop = self.stop.child_token();
        let lanes = Lanes::default();
        for worker in lanes.workers(participant, &stop) {
            tasks.spawn("phase-two-lane", worker);
        }
        let attachment = Arc::new(Attachment {
            resource: resource.clone(),
            uid,
            lanes,
            _stop: stop.drop_guard(),
        });
        attached.insert(resource, Arc::clone(&attachment));
        Ok(attachment)
    }

    /// Gives a resource up again, unless another attachment has taken its place.
    pub(super) fn remove(&self, attachment: &Arc<Attachment>) {
        let mut attached = self.attached();
        if attached.get(&attachment.resource).is_some_and(|found| Arc::ptr_eq(found, attachment)) {
            attached.remove(&attachment.resource);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Attachment>> {
        self.attached().values().cloned().collect()
    }

    /// Hands pushed work to its resource, or answers that this process cannot do it.
    pub(super) fn route(&self, link: &Arc<Link>, reports: &Reports, pushed: &v1::Work) {
        let refused = match wire::work(pushed, link.store) {
            Err(reason) => reason,
            Ok((resource, work)) => {
                match work.task {
                    Task::Commit | Task::Rollback { .. } => reports.arrived(&work.key),
                    // The coordinator asks because it does not know yet.
                    Task::AskPhaseOne => {}
                }
                match self.attached().get(&resource) {
                    Some(attachment) => return attachment.lanes.push(link, work),
                    None => "the resource is not attached by this agent",
                }
            }
        };
        tracing::warn!(
            txn.xid = pushed.xid,
            txn.branch_id = pushed.branch_id,
            txn.resource = pushed.resource_id,
            reason = refused,
            "work for somebody else arrived"
        );
        link.send(Urgency::Decision, Request::WorkResult(wire::not_here(pushed, refused)));
        link.work_finished(1);
    }

    /// Starts no more batches.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    fn attached(&self) -> std::sync::MutexGuard<'_, HashMap<ResourceId, Arc<Attachment>>> {
        self.by_resource.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
