//! The resources of this process, and the way of pushed work to their participants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pactum_core::id::{ResourceId, ResourceUid};
use pactum_core::transaction::BranchMode;
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
    by_mode: Mutex<HashMap<(ResourceId, BranchMode), Arc<Attachment>>>,
    stop: CancellationToken,
}

/// One mode of a resource that this process speaks for.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) resource: ResourceId,
    pub(super) uid: ResourceUid,
    mode: BranchMode,
    lanes: Lanes,
    _stop: DropGuard,
}

impl Attachment {
    pub(super) fn to_wire(&self) -> v1::Resource {
        v1::Resource {
            resource_id: self.resource.to_string(),
            kind: v1::ResourceKind::Database.into(),
            resource_uid: self.uid.to_bytes().to_vec().into(),
            actions: Vec::new(),
        }
    }
}

impl Attachments {
    /// Takes a resource up in one mode. A second participant for the same database and mode takes the
    /// place of the first; another database under the same id is the caller's mistake, and is given
    /// back.
    pub(super) fn add(
        &self,
        (resource, mode): (ResourceId, BranchMode),
        uid: ResourceUid,
        participant: &Arc<dyn Participant>,
        tasks: &Tasks,
    ) -> Result<Arc<Attachment>, ResourceUid> {
        let mut attached = self.attached();
        let of_resource = |old: &&Arc<Attachment>| old.resource == resource;
        if let Some(other) = attached.values().find(|old| of_resource(old) && old.uid != uid) {
            return Err(other.uid);
        }
        let stop = self.stop.child_token();
        let lanes = Lanes::default();
        for worker in lanes.workers(participant, &stop) {
            tasks.spawn("phase-two-lane", worker);
        }
        let attachment = Arc::new(Attachment {
            resource: resource.clone(),
            uid,
            mode,
            lanes,
            _stop: stop.drop_guard(),
        });
        attached.insert((resource, mode), Arc::clone(&attachment));
        Ok(attachment)
    }

    /// Gives a resource up again, unless another attachment has taken its place.
    pub(super) fn remove(&self, attachment: &Arc<Attachment>) {
        let mut attached = self.attached();
        let place = (attachment.resource.clone(), attachment.mode);
        if attached.get(&place).is_some_and(|found| Arc::ptr_eq(found, attachment)) {
            attached.remove(&place);
        }
    }

    /// One attachment of each resource: the coordinator does not know modes.
    pub(super) fn resources(&self) -> Vec<Arc<Attachment>> {
        let attached = self.attached();
        let by_resource: HashMap<&ResourceId, &Arc<Attachment>> =
            attached.values().map(|attachment| (&attachment.resource, attachment)).collect();
        by_resource.into_values().cloned().collect()
    }

    /// Hands pushed work to its resource, or answers that this process cannot do it.
    pub(super) fn route(&self, link: &Arc<Link>, reports: &Reports, pushed: &v1::Work) {
        let refused = match wire::work(pushed, link.store) {
            Err(reason) => reason,
            Ok((resource, work)) => {
                match work.task {
                    Task::Commit | Task::Rollback { .. } => reports.arrived(&work.key),
                    // The coordinator asks because it does not know yet.
                    Task::AskPhaseOne | Task::CanCommit => {}
                }
                match self.attached().get(&(resource, work.mode)) {
                    Some(attachment) => return attachment.lanes.push(link, work),
                    None => "this agent has not attached the resource in the branch's mode",
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

    fn attached(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<(ResourceId, BranchMode), Arc<Attachment>>> {
        self.by_mode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
