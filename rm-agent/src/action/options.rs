//! The limits of TCC and saga actions on one resource.

use std::time::Duration;

use crate::branch::Environment;

/// How a resource takes part in TCC and saga mode.
#[derive(Clone, Debug)]
pub struct ActionOptions {
    pub(crate) create_tables: bool,
    pub(crate) handler_wait_max: Duration,
    pub(crate) context_bytes_max: usize,
    pub(crate) handlers_at_once: u32,
    pub(crate) local_lock_wait_max: Duration,
    pub(crate) barrier_keep: Duration,
    pub(crate) environment: Environment,
}

impl Default for ActionOptions {
    fn default() -> Self {
        ActionOptions {
            create_tables: false,
            handler_wait_max: Duration::from_secs(10),
            context_bytes_max: 256 << 10,
            handlers_at_once: 8,
            local_lock_wait_max: Duration::from_secs(5),
            barrier_keep: Duration::from_secs(24 * 60 * 60),
            environment: Environment::real(),
        }
    }
}

impl ActionOptions {
    /// Whether the agent creates its tables where they are missing. Default: no, since an
    /// application's account often may not, and must not.
    #[must_use]
    pub fn create_tables(mut self, create: bool) -> Self {
        self.create_tables = create;
        self
    }

    /// How long one call of a handler may take. Default 10 s, and at most 20 s: it holds a local
    /// transaction, and a batch of confirms is given 30 s. Beyond, it is rolled back; a confirm,
    /// cancel or compensation is called again later.
    #[must_use]
    pub fn handler_wait_max(mut self, wait: Duration) -> Self {
        self.handler_wait_max = wait;
        self
    }

    /// The largest context of a TCC action, or input and result of a saga step together, as JSON,
    /// inclusive. Default 256 KiB, at most 1 MiB: it is written in the local transaction, a step's
    /// input travels to the coordinator too, and documents belong in tables of the application.
    #[must_use]
    pub fn context_bytes_max(mut self, bytes: usize) -> Self {
        self.context_bytes_max = bytes;
        self
    }

    /// How many handlers of phase two run side by side, and beside them as many actions of declared sagas,
    /// each on a connection of the agent's own beside the pool. Default 8: enough that their local commits
    /// share an fsync. No effect on SQLite, which has one writer.
    #[must_use]
    pub fn handlers_at_once(mut self, handlers: u32) -> Self {
        self.handlers_at_once = handlers;
        self
    }

    /// How long to wait for a turn or a connection, and on the agent's own connections also for the
    /// database's locks. Default 5 s.
    #[must_use]
    pub fn local_lock_wait_max(mut self, wait: Duration) -> Self {
        self.local_lock_wait_max = wait;
        self
    }

    /// How long used-up rows and tombstones are kept; then they go once the coordinator says that
    /// their transaction has ended. Default 24 h; must be longer than the coordinator's longest
    /// transaction with its longest pause.
    #[must_use]
    pub fn barrier_keep(mut self, keep: Duration) -> Self {
        self.barrier_keep = keep;
        self
    }

    /// What is wrong with them.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let limits = [
            (
                self.handler_wait_max.is_zero() || self.handler_wait_max > HANDLER_WAIT_MOST,
                "handler_wait_max must be longer than zero and at most 20 s",
            ),
            (
                self.context_bytes_max == 0 || self.context_bytes_max > CONTEXT_BYTES_MOST,
                "context_bytes_max must be between 1 byte and 1 MiB",
            ),
            (self.handlers_at_once == 0, "handlers_at_once must be at least 1"),
            (self.local_lock_wait_max.is_zero(), "local_lock_wait_max must be longer than zero"),
        ];
        limits.into_iter().find(|(wrong, _)| *wrong).map(|(_, why)| why)
    }
}

/// A batch of confirms is given 30 s by the session; one that hangs must leave time for the others.
const HANDLER_WAIT_MOST: Duration = Duration::from_secs(20);
/// Messages of the session have a limit of their own, some times this.
const CONTEXT_BYTES_MOST: usize = 1 << 20;
