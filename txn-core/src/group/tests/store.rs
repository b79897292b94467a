//! A store of rows, as plain as can be, and what a restart makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::Group;
use crate::id::{BranchId, ResourceNumber, XidNumber};
use crate::invariants;
use crate::recovery::{Ended, Found};
use crate::saga::{Defined, SagaRow, Slot, StepRow};
use crate::step::Write;
use crate::time::Now;
use crate::transaction::{BranchRow, PhaseOne, ResourceRow, RollbackCause, Status, TransactionRow};

/// What is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) resources: BTreeMap<ResourceNumber, ResourceRow>,
    pub(super) transactions: BTreeMap<XidNumber, TransactionRow>,
    pub(super) branches: BTreeMap<(XidNumber, u32), BranchRow>,
    /// In order of their end.
    pub(super) ended: Vec<XidNumber>,
    pub(super) horizon: XidNumber,
    pub(super) definitions: Vec<Arc<Defined>>,
    pub(super) sagas: BTreeMap<XidNumber, SagaRow>,
    pub(super) steps: BTreeMap<(XidNumber, Slot), StepRow>,
}

impl Default for Rows {
    fn default() -> Self {
        Rows {
            resources: BTreeMap::new(),
            transactions: BTreeMap::new(),
            branches: BTreeMap::new(),
            ended: Vec::new(),
            horizon: XidNumber(0),
            definitions: Vec::new(),
            sagas: BTreeMap::new(),
            steps: BTreeMap::new(),
        }
    }
}

impl Rows {
    pub(super) fn write(&mut self, write: &Write) {
        match write {
            Write::PutTransaction(row) => {
                let was = self.transactions.insert(row.number, row.clone());
                let was = was.map(|row| row.status);
                if let Some(was) = was.filter(|status| status.is_decided()) {
                    assert!(outcome(was) == outcome(row.status), "GT-1: {was:?} {row:?}");
                }
                if was == Some(Status::Delegated) {
                    let by_its_branch =
                        [Status::Committed, Status::RolledBack(RollbackCause::PhaseOneFailed)];
                    assert!(by_its_branch.contains(&row.status), "DG-1: {row:?}");
                }
                if row.status.is_ended() {
                    self.ended.push(row.number);
                }
            }
            Write::PutBranch(row) => {
                assert!(self.transactions.contains_key(&row.xid), "a branch without transaction");
                let was = self.branches.insert((row.xid, row.sequence), row.clone());
                assert!(was.is_none_or(|was| was.id == row.id), "two branches have one sequence");
            }
            Write::PutResource(row) => {
                self.resources.insert(row.number, row.clone());
            }
            Write::PutDefinition(defined) => self.definitions.push(Arc::clone(defined)),
            Write::PutSaga(row) => {
                assert!(self.transactions.contains_key(&row.xid), "a saga without transaction");
                self.sagas.insert(row.xid, row.clone());
            }
            Write::PutStep(row) => {
                assert!(self.sagas.contains_key(&row.xid), "a step without saga");
                self.steps.insert((row.xid, row.slot), StepRow::clone(row));
            }
            Write::DropResource(number) => {
                self.resources.remove(number);
            }
            Write::Prune { xids, horizon } => {
                self.horizon = *horizon;
                for xid in xids {
                    let row = self.transactions.remove(xid).expect("only what is there is pruned");
                    assert!(row.status.is_ended());
                    self.branches.retain(|(of, _), _| of != xid);
                    self.sagas.remove(xid);
                    self.steps.retain(|(of, _), _| of != xid);
                    self.ended.retain(|of| of != xid);
                }
            }
        }
    }

    pub(super) fn greatest_xid(&self) -> u64 {
        self.transactions.last_key_value().map_or(0, |(xid, _)| xid.0)
    }

    pub(super) fn found(&self) -> Found {
        let unfinished = self.transactions.values().filter(|row| !row.status.is_ended());
        let live = |xid: &XidNumber| !self.transactions[xid].status.is_ended();
        let branches = self.branches.values().filter(|row| live(&row.xid));
        let ended = self.ended.iter().map(|xid| &self.transactions[xid]);
        Found {
            resources: self.resources.values().cloned().collect(),
            unfinished: unfinished.cloned().collect(),
            branches: branches.cloned().collect(),
            definitions: self.definitions.clone(),
            sagas: self.sagas.values().filter(|row| live(&row.xid)).cloned().collect(),
            steps: self.steps.values().filter(|row| live(&row.xid)).cloned().collect(),
            history: ended
                .map(|row| Ended {
                    xid: row.number,
                    status: row.status,
                    at: row.ended_at.expect("an ended transaction has its time"),
                    idempotency_key: row.idempotency_key.clone(),
                })
                .collect(),
        }
    }

    /// What a restart would rebuild is what is there, less what is volatile: begins, waits, claims,
    /// and what is known of phases one and two without being written.
    pub(super) fn check_recovery(&self, group: &Group, at: Now) {
        let policy = group.policy().clone();
        let (again, _) = Group::recover(policy, self.horizon, self.found(), at);
        invariants::holds(&again).expect("what was stored holds by itself");
        let stored = group.transactions().filter(|txn| txn.stored);
        let live: Vec<_> = stored.map(|txn| (&txn.row, known(txn))).collect();
        let rebuilt: Vec<_> = again.transactions().map(|txn| (&txn.row, known(txn))).collect();
        assert_eq!(live, rebuilt, "a restart rebuilds the transactions");
        for (txn, rebuilt) in
            group.transactions().filter(|txn| txn.stored).zip(again.transactions())
        {
            let rows = |txn: &crate::transaction::GlobalTransaction| {
                txn.saga.as_ref().map(|saga| {
                    let rows: Vec<_> = saga.run.rows().cloned().collect();
                    (saga.row.clone(), rows, saga.run.output().cloned())
                })
            };
            assert_eq!(rows(txn), rows(rebuilt), "a restart rebuilds the sagas");
        }

        let mut held = group.clone();
        let claims: Vec<_> = group.waiting().claims().map(|claim| claim.id).collect();
        for claim in claims {
            held.apply(&crate::step::Change::Volatile(crate::step::Volatile::ClaimEnded(claim)));
        }
        let mut held = held.locks().holdings();
        held.retain(|_, holders| !holders.is_empty());
        assert_eq!(held, again.locks().holdings(), "a restart rebuilds the locks");
    }
}

/// The branches as far as they are stored: whether each has failed, and its place.
fn known(txn: &crate::transaction::GlobalTransaction) -> Vec<(BranchId, u32, bool)> {
    let branches = txn.branches.iter().map(|branch| &branch.row);
    branches.map(|row| (row.id, row.sequence, row.phase_one == PhaseOne::Failed)).collect()
}

fn outcome(status: Status) -> Status {
    match status {
        Status::Active | Status::Delegated => status,
        Status::Committing | Status::Committed => Status::Committed,
        Status::RollingBack(cause) | Status::RolledBack(cause) => Status::RolledBack(cause),
    }
}
