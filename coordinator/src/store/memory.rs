//! A store in memory: for tests, for the simulator and for `Embedded`.
//!
//! Clones share their rows, so a coordinator that "restarts" opens a clone of what the first one
//! had. [`Faults`] makes writes fail, get lost or hang where a test asks for it:
//!
//! ```text
//! let store = MemoryStore::new(seed);
//! store.faults().fail_next_write(WriteFault::UnknownLanded);
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pactum_core::event::IdBlock;
use pactum_core::id::{BranchId, Epoch, ResourceNumber, XidNumber};
use pactum_core::recovery::{Ended, Found};
use pactum_core::saga::{DefinitionRow, SagaRow, Slot, StepRow, StepState};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{BranchRow, PhaseTwo, ResourceRow, TransactionRow};
use tokio::sync::watch;

use super::batch::Batch;
use super::{AfterUnknown, Error, Lease, Listed, Search, Seed, Store, codec, ended, ids};

/// A store in memory. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rows: Mutex<Rows>,
    plan: Mutex<FaultPlan>,
    /// Whether writes hang, and how many do now.
    hold: watch::Sender<Hold>,
}

#[derive(Debug)]
struct Rows {
    lease: Lease,
    ids: ids::Ends,
    resources: BTreeMap<ResourceNumber, ResourceRow>,
    transactions: BTreeMap<XidNumber, TransactionRow>,
    branches: BTreeMap<(XidNumber, BranchId), BranchRow>,
    definitions: Vec<DefinitionRow>,
    sagas: BTreeMap<XidNumber, SagaRow>,
    steps: BTreeMap<(XidNumber, Slot), StepRow>,
}

#[derive(Debug, Default)]
struct FaultPlan {
    next_writes: VecDeque<WriteFault>,
    next_loads: u32,
    cut_after: Option<u64>,
    writes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    on: bool,
    waiting: usize,
}

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// Somebody else leads: nothing landed, the epoch is raised behind the writer's back.
    Refused,
    /// It landed, and the answer was lost.
    UnknownLanded,
    /// It was lost, and nobody can tell.
    UnknownLost,
}

/// Makes a [`MemoryStore`] misbehave. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl MemoryStore {
    /// A new, empty store.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let ends = ids::Ends::at_creation(seed.created_at);
        let horizon = XidNumber(ends.xid - 1);
        let rows = Rows {
            lease: Lease { store_id: seed.store_id, epoch: Epoch(0), horizon },
            ids: ends,
            resources: BTreeMap::new(),
            transactions: BTreeMap::new(),
            branches: BTreeMap::new(),
            definitions: Vec::new(),
            sagas: BTreeMap::new(),
            steps: BTreeMap::new(),
        };
        let shared = Shared {
            rows: Mutex::new(rows),
            plan: Mutex::default(),
            hold: watch::Sender::new(Hold::default()),
        };
        MemoryStore { shared: Arc::new(shared) }
    }

    /// The handle that makes it fail.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults { shared: Arc::clone(&self.shared) }
    }

    /// Dropped while it waits: nothing was written.
    async fn wait_while_held(&self) {
        if !self.shared.hold.borrow().on {
            return;
        }
        let _waiting = Waiting::new(&self.shared.hold);
        let mut hold = self.shared.hold.subscribe();
        // The sender lives as long as `self`, so the channel cannot close.
        let _ = hold.wait_for(|hold| !hold.on).await;
    }
}

impl Shared {
    /// A panic while a lock was held came from a test's assertion; the rows are whole, since they
    /// change only after everything that can fail.
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self) -> MutexGuard<'_, FaultPlan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a write that hangs, until it is dropped.
struct Waiting<'a>(&'a watch::Sender<Hold>);

impl<'a> Waiting<'a> {
    fn new(hold: &'a watch::Sender<Hold>) -> Self {
        hold.send_modify(|hold| hold.waiting += 1);
        Waiting(hold)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|hold| hold.waiting -= 1);
    }
}

impl Faults {
    /// The next write that has no fault planned yet fails like this. Several calls plan several
    /// writes, in order.
    pub fn fail_next_write(&self, fault: WriteFault) {
        self.shared.plan().next_writes.push_back(fault);
    }

    /// The next load fails; several calls fail several.
    pub fn fail_next_load(&self) {
        self.shared.plan().next_loads += 1;
    }

    /// After `count` more writes every further one is lost, as if the power had gone: for tests that
    /// stop after each write in turn. [`Faults::mend`] ends it.
    pub fn cut_after(&self, count: u64) {
        self.shared.plan().cut_after = Some(count);
    }

    /// Forgets every planned fault and lets held writes go on.
    pub fn mend(&self) {
        let mut plan = self.shared.plan();
        let writes = plan.writes;
        *plan = FaultPlan { writes, ..FaultPlan::default() };
        drop(plan);
        self.release_writes();
    }

    /// From now on writes hang until [`Faults::release_writes`].
    pub fn hold_writes(&self) {
        self.shared.hold.send_modify(|hold| hold.on = true);
    }

    /// Lets held writes go on. Each proves its epoch only now.
    pub fn release_writes(&self) {
        self.shared.hold.send_modify(|hold| hold.on = false);
    }

    /// Returns once at least `count` writes hang.
    pub async fn until_held(&self, count: usize) {
        let mut hold = self.shared.hold.subscribe();
        // The sender lives as long as `self`, so the channel cannot close.
        let _ = hold.wait_for(|hold| hold.waiting >= count).await;
    }

    /// How many batches have landed.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.shared.plan().writes
    }

    /// Another coordinator takes the lead: the next write of the present one is refused.
    pub fn take_over(&self) {
        self.shared.rows().lease.epoch.0 += 1;
    }
}

/// What a planned fault does to a write.
enum Verdict {
    Land(Answer),
    Lose,
    Refuse,
}

/// Whether the writer hears of it.
enum Answer {
    Given,
    Lost,
}

impl FaultPlan {
    fn next_write(&mut self) -> Verdict {
        if let Some(left) = &mut self.cut_after {
            let Some(fewer) = left.checked_sub(1) else { return Verdict::Lose };
            *left = fewer;
        }
        match self.next_writes.pop_front() {
            None => Verdict::Land(Answer::Given),
            Some(WriteFault::UnknownLanded) => Verdict::Land(Answer::Lost),
            Some(WriteFault::UnknownLost) => Verdict::Lose,
            Some(WriteFault::Refused) => Verdict::Refuse,
        }
    }
}

impl Rows {
    fn write(&mut self, writes: Vec<Write>) {
        let batch = Batch::new(writes);
        for number in &batch.dropped {
            self.resources.remove(number);
        }
        for xid in &batch.pruned {
            self.transactions.remove(xid);
            let branches: Vec<_> = self.branches_of(*xid).map(|row| (row.xid, row.id)).collect();
            for key in branches {
                self.branches.remove(&key);
            }
            self.sagas.remove(xid);
            self.steps.retain(|(of, _), _| of != xid);
        }
        self.resources.extend(batch.resources);
        self.transactions.extend(batch.transactions);
        self.branches.extend(batch.branches);
        self.definitions.extend(batch.definitions);
        self.sagas.extend(batch.sagas);
        self.steps
            .extend(batch.steps.into_iter().map(|(key, row)| (key, Arc::unwrap_or_clone(row))));
        self.lease.horizon = self.lease.horizon.max(batch.horizon.unwrap_or(XidNumber(0)));
    }

    fn branches_of(&self, xid: XidNumber) -> impl Iterator<Item = &BranchRow> {
        let of_it = (xid, BranchId(0))..=(xid, BranchId(u64::MAX));
        self.branches.range(of_it).map(|(_, row)| row)
    }

    /// In order of sequence.
    fn branches_in_order(&self, xid: XidNumber) -> Vec<BranchRow> {
        let mut branches: Vec<_> = self.branches_of(xid).cloned().collect();
        branches.sort_by_key(|branch| (branch.sequence, branch.id));
        branches
    }

    fn steps_of(&self, xid: XidNumber) -> impl Iterator<Item = &StepRow> {
        self.steps.range((xid, Slot(0))..=(xid, Slot(u32::MAX))).map(|(_, row)| row)
    }

    fn load(&self) -> Result<Found, Error> {
        let definitions = codec::definitions(self.definitions.clone())?;
        let mut found = Found { definitions, ..Found::default() };
        found.resources.extend(self.resources.values().cloned());
        for row in self.transactions.values() {
            if row.status.is_ended() {
                let at = row.ended_at.unwrap_or_default();
                let idempotency_key = row.idempotency_key.clone();
                let status = row.status;
                found.history.push(Ended { xid: row.number, status, at, idempotency_key });
            } else {
                found.branches.extend(self.branches_in_order(row.number));
                found.sagas.extend(self.sagas.get(&row.number).cloned());
                found.steps.extend(self.steps_of(row.number).cloned());
                found.unfinished.push(row.clone());
            }
        }
        found.history.sort_by_key(|ended| (ended.at, ended.xid));
        Ok(found)
    }

    fn listed(&self, row: &TransactionRow) -> Listed {
        let mut listed = Listed { row: row.clone(), branches: 0, parked: 0 };
        for step in self.steps_of(row.number) {
            listed.branches += 1;
            let parked = matches!(step.state, StepState::Parked(_) | StepState::UndoParked(_));
            listed.parked += u32::from(parked && !row.status.is_ended());
        }
        for branch in self.branches_of(row.number) {
            listed.branches += 1;
            listed.parked += match branch.phase_two {
                PhaseTwo::Parked(_) if !row.status.is_ended() => 1,
                PhaseTwo::Parked(_) | PhaseTwo::Pending | PhaseTwo::Done => 0,
            };
        }
        listed
    }

    fn search(&self, search: Search) -> Vec<Listed> {
        let below = search.before.unwrap_or(XidNumber(u64::MAX));
        let found = self.transactions.range(..below).rev().map(|(_, row)| row);
        found
            .filter(|row| !search.unfinished || !row.status.is_ended())
            .map(|row| self.listed(row))
            .filter(|listed| !search.parked || listed.parked > 0)
            .take(usize::try_from(search.max).unwrap_or(usize::MAX))
            .collect()
    }
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    async fn lead(&self) -> Result<Lease, Error> {
        let mut rows = self.shared.rows();
        rows.lease.epoch.0 += 1;
        Ok(rows.lease.clone())
    }

    async fn reserve_ids(
        &self,
        epoch: Epoch,
        wall: WallTime,
        xids: u64,
        branches: u64,
    ) -> Result<(IdBlock, IdBlock), Error> {
        let mut rows = self.shared.rows();
        if rows.lease.epoch != epoch {
            return Err(Error::Refused(epoch));
        }
        rows.ids.reserve(wall, xids, branches)
    }

    async fn write(&self, epoch: Epoch, batch: Vec<Write>) -> Result<(), Error> {
        self.wait_while_held().await;
        let mut plan = self.shared.plan();
        let mut rows = self.shared.rows();
        let verdict = plan.next_write();
        if let Verdict::Refuse = verdict {
            rows.lease.epoch.0 += 1;
        }
        if rows.lease.epoch != epoch {
            return Err(Error::Refused(epoch));
        }
        match verdict {
            Verdict::Refuse => Err(Error::Refused(epoch)),
            Verdict::Lose => Err(Error::Unknown("the batch was lost, as planned".into())),
            Verdict::Land(answer) => {
                rows.write(batch);
                plan.writes += 1;
                match answer {
                    Answer::Given => Ok(()),
                    Answer::Lost => Err(Error::Unknown("the answer was lost, as planned".into())),
                }
            }
        }
    }

    fn after_unknown(&self) -> AfterUnknown {
        AfterUnknown::Reload
    }

    async fn load(&self) -> Result<Found, Error> {
        let mut plan = self.shared.plan();
        if let Some(fewer) = plan.next_loads.checked_sub(1) {
            plan.next_loads = fewer;
            let source = "the load failed, as planned".into();
            return Err(Error::Read { doing: "read the group back", source });
        }
        self.shared.rows().load()
    }

    async fn search(&self, search: Search) -> Result<Vec<Listed>, Error> {
        Ok(self.shared.rows().search(search))
    }

    async fn transaction(
        &self,
        xid: XidNumber,
    ) -> Result<Option<(TransactionRow, Vec<BranchRow>)>, Error> {
        let rows = self.shared.rows();
        let Some(row) = rows.transactions.get(&xid).cloned() else { return Ok(None) };
        let mut branches = rows.branches_in_order(xid);
        for branch in &mut branches {
            ended::fill_in(branch, &row);
        }
        Ok(Some((row, branches)))
    }

    async fn saga(&self, xid: XidNumber) -> Result<Option<(SagaRow, Vec<StepRow>)>, Error> {
        let rows = self.shared.rows();
        let saga = rows.sagas.get(&xid).cloned();
        Ok(saga.map(|saga| (saga, rows.steps_of(xid).cloned().collect())))
    }
}

#[cfg(test)]
mod tests;
