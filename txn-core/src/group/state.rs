//! What a group knows. The only function that changes it is `Group::apply`, in `apply`.
//!
//! Maps hash without a random seed, and whatever iterates over one to decide something sorts first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::attachment::{Bindings, Sessions};
use super::history::History;
use crate::event::IdBlock;
use crate::id::{NodeId, ResourceNumber, XidNumber};
use crate::lock::table::LockTable;
use crate::lock::wait::WaitQueue;
use crate::policy::Policy;
use crate::saga::{Defined, DefinitionKey};
use crate::step::Outcome;
use crate::time::Timestamp;
use crate::transaction::{GlobalTransaction, PhaseOne, PhaseTwo, ResourceRow, Status};

/// All that a group knows.
#[derive(Clone, Debug)]
pub struct Group {
    policy: Policy,
    /// In order of number: those that move are mostly the youngest, which lie side by side in memory
    /// however many old ones there are, and no map of a million has to be moved as it grows.
    pub(super) transactions: BTreeMap<XidNumber, Box<GlobalTransaction>>,
    /// Those that are decided or delegated, and have not ended.
    pub(super) decided: BTreeSet<XidNumber>,
    /// Those that are active, with a scope that is being undone.
    pub(super) undoing: BTreeSet<XidNumber>,
    /// Those whose commit was asked for and waits for phase one.
    pub(super) closing: BTreeSet<XidNumber>,
    /// Those that are not decided, by the node that began them.
    pub(super) undecided: FxHashMap<NodeId, BTreeSet<XidNumber>>,
    /// Nodes without a session, with the moment from which each counts as lost.
    pub(super) gone: BTreeMap<NodeId, Timestamp>,
    pub(super) idempotency: FxHashMap<Arc<str>, XidNumber>,
    pub(super) locks: LockTable,
    pub(super) waiting: WaitQueue,
    pub(super) sessions: Sessions,
    pub(super) bindings: Bindings,
    pub(super) history: History,
    pub(super) ids: Ids,
    pub(super) definitions: BTreeMap<DefinitionKey, Arc<Defined>>,
    /// The declared sagas that have not ended.
    pub(super) sagas: BTreeSet<XidNumber>,
}

/// The ids that may be issued.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    pub(super) xids: IdBlock,
    pub(super) next_xids: IdBlock,
    pub(super) branches: IdBlock,
    pub(super) asked_for: bool,
    /// Whose the blocks of branch ids are: the first id, the first after it, the node.
    pub(super) issued: BTreeMap<u64, (u64, NodeId)>,
}

/// How much there is of everything; for the operator and for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Transactions that are not decided.
    pub active: usize,
    /// Decided, with branches that have not confirmed.
    pub unfinished: usize,
    /// Branches that need a person.
    pub parked_branches: usize,
    /// Keys that are held or waited for.
    pub locks: usize,
    /// Requests that wait for keys.
    pub waiters: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Ended transactions in the history.
    pub history: usize,
}

impl Group {
    pub(super) fn new(policy: Policy, horizon: XidNumber) -> Self {
        Group {
            policy,
            transactions: BTreeMap::new(),
            decided: BTreeSet::new(),
            undoing: BTreeSet::new(),
            closing: BTreeSet::new(),
            undecided: FxHashMap::default(),
            gone: BTreeMap::new(),
            idempotency: FxHashMap::default(),
            locks: LockTable::default(),
            waiting: WaitQueue::default(),
            sessions: Sessions::default(),
            bindings: Bindings::default(),
            history: History::new(horizon),
            ids: Ids::default(),
            definitions: BTreeMap::new(),
            sagas: BTreeSet::new(),
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn locks(&self) -> &LockTable {
        &self.locks
    }

    pub(crate) fn waiting(&self) -> &WaitQueue {
        &self.waiting
    }

    pub(super) fn active_count(&self) -> usize {
        self.transactions.len() - self.decided.len()
    }

    /// A transaction that has not ended.
    #[must_use]
    pub fn transaction(&self, xid: XidNumber) -> Option<&GlobalTransaction> {
        self.transactions.get(&xid).map(|txn| &**txn)
    }

    /// The transactions that have not ended, in order of number.
    pub fn transactions(&self) -> impl Iterator<Item = &GlobalTransaction> {
        self.transactions.values().map(|txn| &**txn)
    }

    /// The bindings, in order of number.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceRow> {
        self.bindings.iter()
    }

    /// How many sessions work on a resource, and how many unfinished branches it has, where a declared
    /// saga that needs it counts as one. Walks all transactions.
    #[must_use]
    pub fn resource_load(&self, resource: ResourceNumber) -> (usize, usize) {
        let branches = self.transactions.values().flat_map(|txn| &txn.branches);
        let unfinished = branches.filter(|branch| {
            let row = &branch.row;
            row.resource == resource
                && row.phase_one != PhaseOne::Failed
                && row.phase_two != PhaseTwo::Done
        });
        let sagas = self.sagas.iter().filter_map(|xid| self.saga(*xid));
        let id = self.bindings.iter().find(|row| row.number == resource).map(|row| &row.id);
        let needing = sagas
            .filter(|(_, saga)| saga.graph.actions().iter().any(|used| Some(&used.resource) == id));
        (self.sessions.attached_to(resource), unfinished.count() + needing.count())
    }

    /// How much there is of everything.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let undecided_sagas = self.sagas.difference(&self.decided);
        let may_park = self.decided.iter().chain(undecided_sagas);
        let may_park = may_park.filter_map(|xid| self.transactions.get(xid));
        let parked = may_park.map(|txn| txn.parked_count() as usize).sum();
        Summary {
            active: self.active_count(),
            unfinished: self.decided.len(),
            parked_branches: parked,
            locks: self.locks.held_count(),
            waiters: self.waiting.waiter_count(),
            sessions: self.sessions.count(),
            history: self.history.len(),
        }
    }
}

impl GlobalTransaction {
    /// The outcome as it stands.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome { status: self.row.status, parked: self.parked_count() }
    }

    /// Whether new branches may join.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.row.status == Status::Active && self.closing.is_none()
    }
}
