//! The limits of XA mode on one resource.

use std::time::Duration;

use crate::branch::Environment;

/// How a resource takes part in XA mode.
#[derive(Clone, Debug)]
pub struct XaOptions {
    pub(super) create_tables: bool,
    pub(super) local_lock_wait_max: Duration,
    pub(super) barrier_keep: Duration,
    pub(super) environment: Environment,
}

impl Default for XaOptions {
    fn default() -> Self {
        XaOptions {
            create_tables: false,
            local_lock_wait_max: Duration::from_secs(5),
            barrier_keep: Duration::from_secs(24 * 60 * 60),
            environment: Environment::real(),
        }
    }
}

impl XaOptions {
    /// Whether the agent creates its tables where they are missing. Default: no, since an
    /// application's account often may not, and must not.
    #[must_use]
    pub fn create_tables(mut self, create: bool) -> Self {
        self.create_tables = create;
        self
    }

    /// How long to wait for a connection, and for the database's own locks; never past the global
    /// transaction's deadline. Default 5 s: what holds a lock may be a branch of the same transaction,
    /// which waits for the decision, and so for ever.
    #[must_use]
    pub fn local_lock_wait_max(mut self, wait: Duration) -> Self {
        self.local_lock_wait_max = wait;
        self
    }

    /// How long the barrier rows of ended transactions are kept. Default 24 h; must be longer than the
    /// coordinator's longest transaction with its longest pause.
    #[must_use]
    pub fn barrier_keep(mut self, keep: Duration) -> Self {
        self.barrier_keep = keep;
        self
    }
}
