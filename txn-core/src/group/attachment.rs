//! Sessions, the resources that they prove, and the bindings between ids and databases.
//!
//! A binding is made durably at first sight: one id, one database, for ever, until an operator
//! forgets it. Phase two goes only to sessions that proved the pair.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Group;
use super::named::Names;
use crate::event::{Event, IdBlock, Offer, Proof, Timer};
use crate::id::{NodeId, ResourceId, ResourceNumber, ResourceUid, SessionId, XidNumber};
use crate::rejection::Rejection;
use crate::step::{Reply, ReplyTo, Step, Volatile, Write};
use crate::time::Now;
use crate::transaction::{ResourceRow, RollbackCause};

/// How many transactions of a lost node roll back in one step.
const LOST_PER_STEP_MAX: usize = 1_000;
/// The pause between two such steps: others must get their turn.
const LOST_PAUSE: Duration = Duration::from_millis(5);

/// The open sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<SessionId, Session>,
    of_node: BTreeMap<NodeId, usize>,
    of_resource: BTreeMap<ResourceNumber, usize>,
    /// How many sessions offer an action, and how many of these with a compensation.
    offered: BTreeMap<(ResourceNumber, Arc<str>), (usize, usize)>,
}

#[derive(Clone, Debug)]
struct Session {
    node: NodeId,
    resources: Vec<ResourceNumber>,
    names: Names,
    offers: BTreeMap<ResourceNumber, Vec<Offer>>,
}

impl Sessions {
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn attached_to(&self, resource: ResourceNumber) -> usize {
        self.of_resource.get(&resource).copied().unwrap_or(0)
    }

    pub(super) fn is_open(&self, session: SessionId) -> bool {
        self.open.contains_key(&session)
    }

    #[cfg(test)]
    pub(super) fn first_on(&self, resource: ResourceNumber) -> Option<SessionId> {
        let mut open = self.open.iter();
        open.find(|(_, session)| session.resources.contains(&resource)).map(|(id, _)| *id)
    }

    #[cfg(test)]
    pub(super) fn hash_into(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        for (id, session) in &self.open {
            (id, session.node, &session.resources, &session.names).hash(hasher);
        }
    }

    /// The node of a session, if it is that node's last.
    fn last_of_its_node(&self, session: SessionId) -> Option<NodeId> {
        let node = self.open.get(&session)?.node;
        (self.of_node.get(&node) == Some(&1)).then_some(node)
    }

    pub(super) fn is_present(&self, node: NodeId) -> bool {
        self.of_node.contains_key(&node)
    }

    pub(super) fn node(&self, session: SessionId) -> Option<NodeId> {
        self.open.get(&session).map(|session| session.node)
    }

    pub(super) fn node_attached_to(
        &self,
        session: SessionId,
        resource: ResourceNumber,
    ) -> Option<NodeId> {
        let session = self.open.get(&session)?;
        session.resources.contains(&resource).then_some(session.node)
    }

    pub(super) fn open(&mut self, id: SessionId, node: NodeId) {
        *self.of_node.entry(node).or_default() += 1;
        let (resources, offers, names) = Default::default();
        self.open.insert(id, Session { node, resources, offers, names });
    }

    pub(super) fn attach(&mut self, id: SessionId, resource: ResourceNumber) {
        if let Some(session) = self.open.get_mut(&id)
            && !session.resources.contains(&resource)
        {
            session.resources.push(resource);
            *self.of_resource.entry(resource).or_default() += 1;
        }
    }

    pub(super) fn give_xids(&mut self, id: SessionId, block: IdBlock) {
        if let Some(session) = self.open.get_mut(&id) {
            session.names.add(block);
        }
    }

    pub(super) fn never_begins(&mut self, id: SessionId, number: XidNumber) {
        if let Some(session) = self.open.get_mut(&id) {
            session.names.refuse(number);
        }
    }

    /// The node of the session, if a begin under this number is its to make.
    pub(super) fn may_begin(&self, id: SessionId, number: XidNumber) -> Option<NodeId> {
        let session = self.open.get(&id)?;
        session.names.may_begin(number).then_some(session.node)
    }

    /// Whether some session may begin a transaction under this number.
    pub(super) fn may_yet_begin(&self, number: XidNumber) -> bool {
        self.open.values().any(|session| session.names.may_begin(number))
    }

    /// Whether an action is offered at a resource, and then whether everybody who offers it has a
    /// compensation for it.
    pub(super) fn offered(&self, resource: ResourceNumber, action: &Arc<str>) -> Option<bool> {
        let (sessions, compensable) = self.offered.get(&(resource, Arc::clone(action)))?;
        Some(sessions == compensable)
    }

    /// Whether anybody offers any action at a resource.
    pub(super) fn is_anything_offered(&self, resource: ResourceNumber) -> bool {
        let mut from_here = self.offered.range((resource, Arc::from(""))..);
        from_here.next().is_some_and(|((of, _), _)| *of == resource)
    }

    /// Whether a session offers just this.
    fn offers(&self, id: SessionId, resource: ResourceNumber, offers: &[Offer]) -> bool {
        let session = self.open.get(&id);
        let known = session.and_then(|session| session.offers.get(&resource));
        known.map_or(&[][..], Vec::as_slice) == offers
    }

    pub(super) fn offer(&mut self, id: SessionId, resource: ResourceNumber, offers: &[Offer]) {
        let Some(session) = self.open.get_mut(&id) else { return };
        let before = session.offers.insert(resource, offers.to_vec()).unwrap_or_default();
        for offer in offers {
            let key = (resource, Arc::clone(&offer.action));
            let (sessions, compensable) = self.offered.entry(key).or_default();
            *sessions += 1;
            *compensable += usize::from(offer.compensable);
        }
        self.withdraw(resource, &before);
    }

    fn withdraw(&mut self, resource: ResourceNumber, offers: &[Offer]) {
        for offer in offers {
            let key = (resource, Arc::clone(&offer.action));
            let Some((sessions, compensable)) = self.offered.get_mut(&key) else { continue };
            *sessions -= 1;
            *compensable -= usize::from(offer.compensable);
            if *sessions == 0 {
                self.offered.remove(&key);
            }
        }
    }

    pub(super) fn close(&mut self, id: SessionId) {
        let Some(session) = self.open.remove(&id) else { return };
        for (resource, offers) in &session.offers {
            self.withdraw(*resource, offers);
        }
        count_down(&mut self.of_node, session.node);
        for resource in session.resources {
            count_down(&mut self.of_resource, resource);
        }
    }
}

fn count_down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// Which resource id is which database.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings {
    rows: BTreeMap<ResourceNumber, ResourceRow>,
    by_id: BTreeMap<ResourceId, ResourceNumber>,
    by_uid: BTreeMap<ResourceUid, ResourceNumber>,
    /// Numbers of forgotten bindings are not given out again while this process runs; rows of ended
    /// branches may still carry them.
    last_number: u32,
}

/// A proof's binding.
enum Bound {
    Known(ResourceRow),
    New(ResourceRow),
}

impl Bindings {
    pub(super) fn iter(&self) -> impl Iterator<Item = &ResourceRow> {
        self.rows.values()
    }

    pub(super) fn by_id(&self, id: &ResourceId) -> Option<&ResourceRow> {
        self.by_id.get(id).and_then(|number| self.rows.get(number))
    }

    fn by_uid(&self, uid: ResourceUid) -> Option<&ResourceRow> {
        self.by_uid.get(&uid).and_then(|number| self.rows.get(number))
    }

    /// What a proof is bound to, or will be. Changes nothing.
    fn check(&self, proof: &Proof) -> Result<Bound, Rejection> {
        let Proof { resource, uid, offers: _ } = proof;
        let elsewhere = uid.and_then(|uid| self.by_uid(uid));
        match (self.by_id(resource), elsewhere) {
            (Some(row), _) if row.uid == *uid => Ok(Bound::Known(row.clone())),
            (None, None) => {
                let number = ResourceNumber(self.last_number + 1);
                Ok(Bound::New(ResourceRow { number, id: resource.clone(), uid: *uid }))
            }
            (Some(row), _) | (None, Some(row)) => {
                let (id, uid) = (row.id.clone(), row.uid);
                Err(Rejection::ResourceBound { id, uid })
            }
        }
    }

    pub(super) fn insert(&mut self, row: ResourceRow) {
        self.last_number = self.last_number.max(row.number.0);
        self.by_id.insert(row.id.clone(), row.number);
        if let Some(uid) = row.uid {
            self.by_uid.insert(uid, row.number);
        }
        self.rows.insert(row.number, row);
    }

    pub(super) fn remove(&mut self, number: ResourceNumber) {
        if let Some(row) = self.rows.remove(&number) {
            self.by_id.remove(&row.id);
            if let Some(uid) = row.uid {
                self.by_uid.remove(&uid);
            }
        }
    }
}

impl Group {
    pub(super) fn session_opened(&self, session: SessionId, node: NodeId, reply: ReplyTo) -> Step {
        let mut step = self.issue_branch_ids(node, reply);
        let refused = step.replies.iter().any(|answer| matches!(answer.reply, Reply::Rejected(_)));
        if !refused && !self.sessions.is_open(session) {
            step.note(Volatile::SessionOpened(session, node));
        }
        step
    }

    pub(super) fn branch_ids_requested(&self, session: SessionId, reply: ReplyTo) -> Step {
        match self.sessions.node(session) {
            Some(node) => self.issue_branch_ids(node, reply),
            // It was closed while this was under way: nobody waits for the answer.
            None => Step::rejected(reply, Rejection::NotReady),
        }
    }

    pub(super) fn attach_requested(
        &self,
        session: SessionId,
        proofs: &[Proof],
        reply: ReplyTo,
        at: Now,
    ) -> Step {
        if !self.sessions.is_open(session) {
            let first = proofs.first().map(|proof| Rejection::NotAttached(proof.resource.clone()));
            return Step::rejected(reply, first.unwrap_or(Rejection::NotReady));
        }
        let mut bindings = Cow::Borrowed(&self.bindings);
        let mut step = Step::default();
        let mut rows = Vec::with_capacity(proofs.len());
        for proof in proofs {
            match bindings.check(proof) {
                Ok(Bound::Known(row)) => rows.push(row),
                Ok(Bound::New(row)) => {
                    // The next proof must not contradict this one either.
                    bindings.to_mut().insert(row.clone());
                    step.store(Write::PutResource(row.clone()));
                    rows.push(row);
                }
                Err(rejection) => return Step::rejected(reply, rejection),
            }
        }
        for (row, proof) in rows.iter().zip(proofs) {
            step.note(Volatile::SessionAttached(session, row.number));
            if !self.sessions.offers(session, row.number, &proof.offers) {
                let offers = proof.offers.clone();
                step.note(Volatile::OffersMade(session, row.number, offers));
            }
            // Whatever waits for this resource goes on now.
            step.timers.push((at.mono, Timer::Resume(row.number, XidNumber(0))));
        }
        step.reply(reply, Reply::Attached(rows));
        step
    }

    pub(super) fn session_closed(&self, session: SessionId, at: Now) -> Step {
        let mut step = Step::default();
        if !self.sessions.is_open(session) {
            return step;
        }
        for waiter in self.waiting.of_session(session) {
            self.end_wait_with(&mut step, waiter, Rejection::NotAttached(waiter.place().clone()));
        }
        for claim in self.waiting.claims().filter(|claim| claim.session == session) {
            self.end_claim(&mut step, claim);
        }
        step.note(Volatile::SessionClosed(session));
        if let Some(node) = self.sessions.last_of_its_node(session) {
            let until = at.mono.after(self.policy().node_lost_grace);
            step.note(Volatile::NodeGone(node, until));
            step.timers.push((until, Timer::NodeLost(node)));
            // What it would have reported by itself must now be asked of others.
            for txn in self.closing.iter().filter_map(|xid| self.live(*xid)) {
                self.ask_phase_one(&mut step, txn, |branch| branch.row.node == node);
            }
        }
        step
    }

    /// Rolls back what a node began and left undecided, some transactions at a time, unless it came
    /// back. Whether it went again since then is seen from the moment that is kept, not from the
    /// timer: the grace begins anew each time.
    pub(super) fn node_lost(&self, node: NodeId, at: Now) -> Step {
        let mut step = Step::default();
        let lost = self.gone.get(&node).is_some_and(|until| *until <= at.mono);
        if !lost {
            return step;
        }
        let left = self.undecided.get(&node).into_iter().flatten();
        for (count, xid) in left.enumerate() {
            if count == LOST_PER_STEP_MAX {
                step.timers.push((at.mono.after(LOST_PAUSE), Timer::NodeLost(node)));
                return step;
            }
            step.follow(Event::RollbackDue(*xid, RollbackCause::ManagerLost));
        }
        step.note(Volatile::NodeLost(node));
        step
    }

    pub(super) fn forget_requested(&self, id: &ResourceId, reply: ReplyTo) -> Step {
        let Some(row) = self.bindings.by_id(id) else {
            return Step::rejected(reply, Rejection::UnknownResource(id.clone()));
        };
        let (sessions, branches) = self.resource_load(row.number);
        if sessions > 0 || branches > 0 {
            let (branches, sessions) = (branches as u64, sessions as u64);
            return Step::rejected(reply, Rejection::ResourceBusy { branches, sessions });
        }
        let mut step = Step::default();
        step.store(Write::DropResource(row.number));
        step.reply(reply, Reply::Forgotten);
        step
    }
}
