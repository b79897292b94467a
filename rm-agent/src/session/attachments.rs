//! The resources of this process, and the way of pushed work to their participants.

use std::collections::{HashMap, HashSet};
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

type ByMode = HashMap<(ResourceId, BranchMode), Arc<Attachment>>;

#[derive(Debug, Default)]
pub(super) struct Attachments {
    by_mode: Mutex<ByMode>,
    stop: CancellationToken,
}

/// One mode of a resource that this process speaks for.
pub(super) struct Attachment {
    pub(super) resource: ResourceId,
    /// `None` for a service without a database.
    pub(super) uid: Option<ResourceUid>,
    mode: BranchMode,
    lanes: Lanes,
    participant: Arc<dyn Participant>,
    _stop: DropGuard,
}

impl Attachment {
    fn to_wire(&self, actions: Vec<v1::OfferedAction>) -> v1::Resource {
        let kind = match self.uid {
            Some(_) => v1::ResourceKind::Database,
            None => v1::ResourceKind::Service,
        };
        let uid = self.uid.map(|uid| uid.to_bytes().to_vec()).unwrap_or_default();
        v1::Resource {
            resource_id: self.resource.to_string(),
            kind: kind.into(),
            resource_uid: uid.into(),
            actions,
        }
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = (&self.resource, self.mode);
        f.debug_tuple("Attachment").field(&place).field(&self.uid).finish()
    }
}

impl Attachments {
    /// Takes a resource up in one mode. A second participant for the same database and mode takes the
    /// place of the first; another database under the same id is the caller's mistake, and is given
    /// back.
    pub(super) fn add(
        &self,
        (resource, mode): (ResourceId, BranchMode),
        uid: Option<ResourceUid>,
        participant: &Arc<dyn Participant>,
        tasks: &Tasks,
    ) -> Result<Arc<Attachment>, Option<ResourceUid>> {
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
            participant: Arc::clone(participant),
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

    /// The resources, as the coordinator is told of them.
    pub(super) fn resources(&self) -> Vec<v1::Resource> {
        let attached = self.attached();
        let resources: HashSet<&ResourceId> =
            attached.keys().map(|(resource, _)| resource).collect();
        resources.into_iter().filter_map(|resource| told(&attached, resource)).collect()
    }

    /// A resource, as the coordinator is told of it.
    pub(super) fn resource(&self, resource: &ResourceId) -> Option<v1::Resource> {
        told(&self.attached(), resource)
    }

    /// Hands pushed work to its resource, or answers that this process cannot do it.
    pub(super) fn route(&self, link: &Arc<Link>, reports: &Reports, pushed: &v1::Work) {
        let refused = match wire::work(pushed, link.store) {
            Err(reason) => reason,
            Ok((resource, work)) => {
                match work.task {
                    Task::Commit | Task::Rollback { .. } => reports.arrived(&work.key),
                    // The coordinator asks because it does not know yet.
                    Task::AskPhaseOne | Task::CanCommit | Task::Act => {}
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

    fn attached(&self) -> std::sync::MutexGuard<'_, ByMode> {
        self.by_mode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The coordinator does not know modes: a resource is told once, with what all of them offer.
fn told(attached: &ByMode, resource: &ResourceId) -> Option<v1::Resource> {
    let of_resource = || attached.values().filter(|one| one.resource == *resource);
    let offers = of_resource().flat_map(|one| one.participant.offers()).collect();
    of_resource().next().map(|one| one.to_wire(offers))
}
