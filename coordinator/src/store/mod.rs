//! Where a group's rows are kept.
//!
//! A store does three things: it proves who leads ([`Store::lead`]), it writes batches all or
//! nothing ([`Store::write`]), and it reads rows back ([`Store::load`]). It decides nothing.
//!
//! **To ensure correctness:** `write` returns `Ok` only when the batch is on disk; `lead` raises the
//! epoch durably before it returns, so that a write of an older epoch either lands before it or is
//! refused; `load` sees everything that was ever answered with `Ok`.
//!
//! - [`memory`]: for tests and `Embedded`, with faults that a test asks for.
//! - [`sqlite`]: the embedded default.
//! - `suite`: the rules that every store keeps, as functions that each store's tests run.
//! - `batch`, `codec`, `ended`, `ids`: what the stores share.

mod batch;
mod codec;
mod ended;
mod ids;
pub mod memory;
pub mod sqlite;
#[cfg(test)]
mod suite;

use pactum_core::event::IdBlock;
use pactum_core::id::{Epoch, StoreId, XidNumber};
use pactum_core::recovery::Found;
use pactum_core::saga::{SagaRow, StepRow};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{BranchRow, TransactionRow};

/// What a store is given when it is created, and keeps for ever. Handed in, so that tests and the
/// simulator choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The store's identity: random, 16 bytes.
    pub store_id: StoreId,
    /// The wall clock at creation: the first ids and the first horizon come from it.
    pub created_at: WallTime,
}

/// Leadership of a group, as the store proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The store's identity, random from its creation.
    pub store_id: StoreId,
    /// The epoch that writes must carry.
    pub epoch: Epoch,
    /// The greatest number ever pruned; at creation, one below the first block.
    pub horizon: XidNumber,
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another coordinator leads now: stop, and do not take the lead back.
    #[error("write to the store: epoch {0} no longer leads the group")]
    Refused(Epoch),
    /// The connection broke or the disk failed while the batch was under way: nobody knows whether
    /// it landed. Read back before doing anything else.
    #[error("write to the store: the outcome of the batch is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It could not be read.
    #[error("{doing}")]
    Read {
        /// What was being read.
        doing: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was read is not what a coordinator writes: a person must look.
    #[error("the store holds a row that cannot be: {0}")]
    Corrupt(String),
}

/// A search for transactions, newest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    /// Only those that have not ended.
    pub unfinished: bool,
    /// Only those with a parked branch.
    pub parked: bool,
    /// Only those below this number.
    pub before: Option<XidNumber>,
    /// At most so many.
    pub max: u32,
}

/// A transaction that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What is stored of it.
    pub row: TransactionRow,
    /// How many branches it has.
    pub branches: u32,
    /// How many of them need a person; 0 once it has ended.
    pub parked: u32,
}

/// What the coordinator does once a write came back as [`Error::Unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterUnknown {
    /// Take the lead again and reload: what the store then says is durable.
    Reload,
    /// End the process with the reason. After a failed fsync the operating system may show bytes
    /// that are not on disk, so nothing may be read back before a new process has checkpointed
    /// and synced.
    EndProcess,
}

/// A group's rows. Implemented by SQL stores and by the memory store of the tests.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes the lead: raises the epoch durably, then reads the lease.
    async fn lead(&self) -> Result<Lease, Error>;

    /// Reserves ids durably: xids from max(stored, `wall_ms << 20`) on, branch ids from the stored
    /// end on. Nothing beyond a block may be issued.
    async fn reserve_ids(
        &self,
        epoch: Epoch,
        wall: WallTime,
        xids: u64,
        branches: u64,
    ) -> Result<(IdBlock, IdBlock), Error>;

    /// Writes a batch: first the lease row where the epoch is ours, then every row as it shall be.
    /// Of several writes of one row the last one counts. All or nothing, durable on `Ok`.
    async fn write(&self, epoch: Epoch, batch: Vec<Write>) -> Result<(), Error>;

    /// What has to happen once a write came back as [`Error::Unknown`].
    fn after_unknown(&self) -> AfterUnknown;

    /// Reads the group back.
    async fn load(&self) -> Result<Found, Error>;

    /// Finds transactions. Runs beside the group's writes, never on its task.
    async fn search(&self, search: Search) -> Result<Vec<Listed>, Error>;

    /// One transaction with its branches in order of sequence, ended or not. What the end of a
    /// transaction implies for its branches is filled in.
    async fn transaction(
        &self,
        xid: XidNumber,
    ) -> Result<Option<(TransactionRow, Vec<BranchRow>)>, Error>;

    /// A declared saga with its steps in order of their slots, ended or not; `None` if the transaction is
    /// none.
    async fn saga(&self, xid: XidNumber) -> Result<Option<(SagaRow, Vec<StepRow>)>, Error>;
}
