//! The limits of AT mode on one resource.

use std::time::Duration;

use crate::branch::Environment;

/// How a resource takes part in AT mode.
#[derive(Clone, Debug)]
pub struct AtOptions {
    pub(crate) create_tables: bool,
    pub(crate) undo_log_bytes_max: usize,
    pub(crate) row_locks_per_table_max: usize,
    pub(crate) local_lock_wait_max: Duration,
    pub(crate) lock_wait_max: Duration,
    pub(crate) claim_wait_max: Duration,
    pub(crate) barrier_keep: Duration,
    pub(crate) fallback: Fallback,
    pub(crate) environment: Environment,
}

impl Default for AtOptions {
    fn default() -> Self {
        AtOptions {
            create_tables: false,
            undo_log_bytes_max: 4 << 20,
            row_locks_per_table_max: 1000,
            local_lock_wait_max: Duration::from_secs(5),
            lock_wait_max: Duration::from_secs(1),
            claim_wait_max: Duration::from_secs(10),
            barrier_keep: Duration::from_secs(24 * 60 * 60),
            fallback: Fallback::Refuse,
            environment: Environment::real(),
        }
    }
}

impl AtOptions {
    /// Whether the agent creates its tables where they are missing. Default: no, since an
    /// application's account often may not, and must not.
    #[must_use]
    pub fn create_tables(mut self, create: bool) -> Self {
        self.create_tables = create;
        self
    }

    /// The largest undo log of one branch before it is packed, inclusive. Default 4 MiB: it is written
    /// in the same local transaction as the rows, and read whole at a rollback.
    #[must_use]
    pub fn undo_log_bytes_max(mut self, bytes: usize) -> Self {
        self.undo_log_bytes_max = bytes;
        self
    }

    /// How many keys of one table a branch locks before it locks the table instead, inclusive.
    /// Default 1000: they travel in one message and live in the coordinator's memory.
    #[must_use]
    pub fn row_locks_per_table_max(mut self, keys: usize) -> Self {
        self.row_locks_per_table_max = keys;
        self
    }

    /// How long to wait for a turn or a connection, and on the agent's own connections also for the
    /// database's locks. Default 5 s.
    #[must_use]
    pub fn local_lock_wait_max(mut self, wait: Duration) -> Self {
        self.local_lock_wait_max = wait;
        self
    }

    /// How long a local commit waits for global locks while it holds the database's own. Default
    /// 1 s, the most that the coordinator allows: cycles through a local lock are seen by nobody.
    /// No effect on SQLite, where a local transaction keeps every other writer away.
    #[must_use]
    pub fn lock_wait_max(mut self, wait: Duration) -> Self {
        self.lock_wait_max = wait;
        self
    }

    /// How long `transaction` and single statements wait for global locks and run again, in all; never
    /// past the global transaction's deadline. Default 10 s.
    #[must_use]
    pub fn claim_wait_max(mut self, wait: Duration) -> Self {
        self.claim_wait_max = wait;
        self
    }

    /// How long undone rows and tombstones are kept. Default 24 h; must be longer than the
    /// coordinator's longest transaction with its longest pause.
    #[must_use]
    pub fn barrier_keep(mut self, keep: Duration) -> Self {
        self.barrier_keep = keep;
        self
    }

    /// What becomes of a statement that AT cannot undo. Default: it is refused. The server must be able to
    /// prepare transactions, which SQLite cannot; MySQL and MariaDB must be told at the begin, see
    /// [`AtPool::with_fallback`](crate::AtPool::with_fallback).
    #[must_use]
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }
}

/// What becomes of a statement that AT cannot undo.
///
/// A local transaction in which such a statement ran ends as an XA branch: prepared, and undone by the
/// database itself. Until the global decision it keeps the database's own locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// It is refused before it runs.
    #[default]
    Refuse,
    /// It runs, and takes the global locks of the tables that it names; refused if it names none.
    Xa,
    /// It runs also where it names no tables (`CALL`, `DO`, a function): then nothing keeps other
    /// global transactions from rolling back rows that it has built on, and one of them may park.
    XaWithoutLocks,
}
