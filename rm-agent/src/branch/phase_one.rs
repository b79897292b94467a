//! Who answers for a registered branch until it is known how its phase one ended.

use std::sync::Arc;

use pactum_core::id::{BranchId, ResourceId};

use crate::context::TransactionContext;
use crate::link::Link;

/// A registered branch whose local commit is still to come.
///
/// Dropped before [`PhaseOne::sent`], it says that nothing was committed: the local transaction is
/// dropped with it, and every other writer queues behind its rollback.
#[derive(Debug)]
pub(crate) struct PhaseOne {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) context: TransactionContext,
    pub(crate) resource: ResourceId,
    pub(crate) branch: BranchId,
    /// Whether its drop says that it failed.
    pub(crate) armed: bool,
}

impl PhaseOne {
    /// From here on, what was committed is the database's to say.
    pub(crate) fn sent(&mut self) {
        self.armed = false;
    }

    /// Nothing has to be reported.
    pub(crate) fn settled(mut self) {
        self.armed = false;
    }

    pub(crate) fn done(&self) {
        self.link.phase_one_done(&self.context, &self.resource, self.branch);
    }

    pub(crate) fn failed(&self) {
        self.link.phase_one_failed(&self.context, &self.resource, self.branch);
    }
}

impl Drop for PhaseOne {
    fn drop(&mut self) {
        if self.armed {
            self.failed();
        }
    }
}
