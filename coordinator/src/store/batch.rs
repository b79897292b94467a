//! A batch, as it is written: of several writes of one row the last one counts.
//!
//! The rows come out apart by kind and in the order of their keys, so that a store needs one
//! statement for each kind and touches neighbouring pages together. Deletions go first: a row that
//! was written before its deletion is gone from the batch, one that is written after it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pactum_core::id::{BranchId, ResourceNumber, XidNumber};
use pactum_core::saga::{DefinitionRow, SagaRow, Slot, StepRow};
use pactum_core::step::Write;
use pactum_core::transaction::{BranchRow, ResourceRow, TransactionRow};

/// The net effect of a batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Transactions that leave the history, with their branches, sagas and steps.
    pub(super) pruned: BTreeSet<XidNumber>,
    /// The greatest number pruned, if anything was.
    pub(super) horizon: Option<XidNumber>,
    /// Bindings that are forgotten.
    pub(super) dropped: BTreeSet<ResourceNumber>,
    pub(super) resources: BTreeMap<ResourceNumber, ResourceRow>,
    pub(super) transactions: BTreeMap<XidNumber, TransactionRow>,
    pub(super) branches: BTreeMap<(XidNumber, BranchId), BranchRow>,
    /// In the order in which they were defined.
    pub(super) definitions: Vec<DefinitionRow>,
    pub(super) sagas: BTreeMap<XidNumber, SagaRow>,
    pub(super) steps: BTreeMap<(XidNumber, Slot), Arc<StepRow>>,
}

impl Batch {
    pub(super) fn new(writes: Vec<Write>) -> Self {
        let mut batch = Batch::default();
        for write in writes {
            batch.add(write);
        }
        batch
    }

    fn add(&mut self, write: Write) {
        match write {
            Write::PutTransaction(row) => {
                self.transactions.insert(row.number, row);
            }
            Write::PutBranch(row) => {
                self.branches.insert((row.xid, row.id), row);
            }
            Write::PutResource(row) => {
                self.resources.insert(row.number, row);
            }
            Write::PutDefinition(defined) => self.definitions.push(defined.row.clone()),
            Write::PutSaga(row) => {
                self.sagas.insert(row.xid, row);
            }
            Write::PutStep(row) => {
                self.steps.insert((row.xid, row.slot), row);
            }
            Write::DropResource(number) => {
                self.resources.remove(&number);
                self.dropped.insert(number);
            }
            Write::Prune { xids, horizon } => {
                for xid in xids {
                    self.prune(xid);
                }
                self.horizon = self.horizon.max(Some(horizon));
            }
        }
    }

    fn prune(&mut self, xid: XidNumber) {
        self.transactions.remove(&xid);
        let of_it = (xid, BranchId(0))..=(xid, BranchId(u64::MAX));
        let branches: Vec<_> = self.branches.range(of_it).map(|(key, _)| *key).collect();
        for key in branches {
            self.branches.remove(&key);
        }
        self.sagas.remove(&xid);
        let of_it = (xid, Slot(0))..=(xid, Slot(u32::MAX));
        let steps: Vec<_> = self.steps.range(of_it).map(|(key, _)| *key).collect();
        for key in steps {
            self.steps.remove(&key);
        }
        self.pruned.insert(xid);
    }
}
