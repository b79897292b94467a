//! The limits and waits of a group, each with its reason. The coordinator's configuration fills it.

use std::time::Duration;

use crate::retry::RetryPolicy;

/// What a group allows, and how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a closing commit waits for phase one to be known; never past the deadline. 5 s: a
    /// report is one message behind the local commit, and a caller is waiting.
    pub phase_one_wait_max: Duration,
    /// How long a caller waits for completion before it hears *decided*. 2 s.
    pub completion_wait: Duration,
    /// How long a node may be without a session before what it began rolls back. 10 s, anew after a
    /// restart.
    pub node_lost_grace: Duration,
    /// How long a registration that holds local row locks may wait for a key. 1 s: a cycle through
    /// the database's own locks is invisible here.
    pub lock_wait_max: Duration,
    /// How long a claim may wait. 10 s.
    pub claim_wait_max: Duration,
    /// How long a granted claim is kept for its transaction. 5 s.
    pub claim_keep_max: Duration,
    /// How often a waiter may be overtaken before it also reserves its free keys.
    pub overtaken_max: u32,
    /// When phase two is tried again.
    pub phase_two_retry: RetryPolicy,
    /// How long ended transactions stay in the history. 24 h: a late retry gets the true answer.
    pub history_keep: Duration,
    /// How many ended transactions stay in the history.
    pub history_rows_max: usize,
    /// How many branches a transaction may have.
    pub branches_per_transaction_max: usize,
    /// How many lock keys a registration may name.
    pub locks_per_branch_max: usize,
    /// How many transactions may be undecided at once.
    pub active_transactions_max: usize,
    /// How many waits may stand in the queue at once.
    pub waiters_max: usize,
    /// How many branch ids a session gets at a time.
    pub branch_id_block: u64,
    /// How many numbers of transactions a session gets at a time. 4096: a second of a busy service,
    /// and a reserved block has hundreds.
    pub xid_block: u64,
    /// How many definitions of sagas are kept, versions counted.
    pub definitions_max: usize,
    /// How long a caller may wait for the end of a saga.
    pub saga_wait_max: Duration,
    /// How much longer than its time an attempt of a step is waited for: its answer is on its way.
    pub attempt_grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            phase_one_wait_max: Duration::from_secs(5),
            completion_wait: Duration::from_secs(2),
            node_lost_grace: Duration::from_secs(10),
            lock_wait_max: Duration::from_secs(1),
            claim_wait_max: Duration::from_secs(10),
            claim_keep_max: Duration::from_secs(5),
            overtaken_max: 16,
            phase_two_retry: RetryPolicy::default(),
            history_keep: Duration::from_secs(24 * 60 * 60),
            history_rows_max: 1_000_000,
            branches_per_transaction_max: 1_000,
            locks_per_branch_max: 10_000,
            active_transactions_max: 4_000_000,
            waiters_max: 100_000,
            branch_id_block: 1 << 16,
            xid_block: 1 << 12,
            definitions_max: 10_000,
            saga_wait_max: Duration::from_secs(60),
            attempt_grace: Duration::from_secs(1),
        }
    }
}
