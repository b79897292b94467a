//! The options by name: where each one goes, its bounds, how it is shown.
//!
//! What each one is for, and why its default is what it is, stands where it is declared
//! (`ServerOptions`, `Policy`) and in `docs/configuration.md`; a test holds this table and that page
//! together.

use std::time::Duration;

use super::Config;
use super::values::{
    ADDRESS, Bytes, Count, Directory, FORMAT, Filter, GROUP, Kind as _, Time, YesNo,
};

/// One option.
pub(super) struct OptionSpec {
    /// Its name in the file, with its section.
    pub(super) name: &'static str,
    /// Reads it from text.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    /// Shows it as a value of TOML.
    pub(super) show: fn(&Config) -> String,
}

impl OptionSpec {
    /// The variable of the environment that sets it.
    pub(super) fn variable(&self) -> String {
        format!("PACTUM_{}", self.name.replace('.', "_").to_uppercase())
    }
}

macro_rules! option {
    ($name:literal, $first:ident $(. $rest:ident)*, $kind:expr) => {
        OptionSpec {
            name: $name,
            set: |config, text| {
                config.$first$(.$rest)* = $kind.parse(text)?;
                Ok(())
            },
            show: |config| $kind.show(&config.$first$(.$rest)*),
        }
    };
}

const ZERO: Duration = Duration::ZERO;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const MILLION: usize = 1_000_000;

/// All options, section by section, in the order in which they are shown.
pub(super) const OPTIONS: &[OptionSpec] = &[
    option!("listen", server.listen, ADDRESS),
    option!("data_dir", data_dir, Directory),
    option!("group", server.group, GROUP),
    option!("transaction_timeout_max", server.transaction_timeout_max, Time(SECOND..=DAY)),
    option!("phase_one_assumed_allowed", server.phase_one_assumed_allowed, YesNo),
    option!("message_bytes_max", server.message_bytes_max, Bytes(64 << 10..=64 << 20)),
    option!("drain_max", server.drain_max, Time(ZERO..=HOUR)),
    option!("log.filter", log.filter, Filter),
    option!("log.format", log.format, FORMAT),
    option!(
        "policy.phase_one_wait_max",
        server.policy.phase_one_wait_max,
        Time(MILLISECOND..=HOUR)
    ),
    option!("policy.completion_wait", server.policy.completion_wait, Time(ZERO..=MINUTE)),
    option!("policy.node_lost_grace", server.policy.node_lost_grace, Time(SECOND..=HOUR)),
    option!("policy.lock_wait_max", server.policy.lock_wait_max, Time(ZERO..=MINUTE)),
    option!("policy.claim_wait_max", server.policy.claim_wait_max, Time(ZERO..=HOUR)),
    option!("policy.claim_keep_max", server.policy.claim_keep_max, Time(MILLISECOND..=MINUTE)),
    option!("policy.overtaken_max", server.policy.overtaken_max, Count(1..=1_000_000)),
    option!(
        "policy.phase_two_retry_first",
        server.policy.phase_two_retry.first,
        Time(MILLISECOND..=MINUTE)
    ),
    option!(
        "policy.phase_two_retry_cap",
        server.policy.phase_two_retry.cap,
        Time(MILLISECOND..=HOUR)
    ),
    option!("policy.history_keep", server.policy.history_keep, Time(ZERO..=YEAR)),
    option!("policy.history_rows_max", server.policy.history_rows_max, Count(0..=100 * MILLION)),
    option!(
        "policy.branches_per_transaction_max",
        server.policy.branches_per_transaction_max,
        Count(1..=100_000)
    ),
    option!("policy.locks_per_branch_max", server.policy.locks_per_branch_max, Count(1..=MILLION)),
    option!(
        "policy.active_transactions_max",
        server.policy.active_transactions_max,
        Count(1..=100 * MILLION)
    ),
    option!("policy.waiters_max", server.policy.waiters_max, Count(0..=10 * MILLION)),
    option!("policy.branch_id_block", server.policy.branch_id_block, Count(1..=1 << 32)),
    option!("policy.xid_block", server.policy.xid_block, Count(1..=1 << 20)),
    option!("policy.definitions_max", server.policy.definitions_max, Count(0..=MILLION)),
    option!("policy.saga_wait_max", server.policy.saga_wait_max, Time(ZERO..=HOUR)),
    option!("policy.attempt_grace", server.policy.attempt_grace, Time(ZERO..=MINUTE)),
    option!("engine.queue_batches_max", server.engine.queue_batches_max, Count(1..=MILLION)),
    option!("engine.begins_queued_max", server.engine.begins_queued_max, Count(1..=10 * MILLION)),
    option!("engine.batch_events_max", server.engine.batch_events_max, Count(1..=MILLION)),
    option!("engine.xids_reserved", server.engine.xids_reserved, Count(1..=1 << 32)),
    option!("engine.branch_ids_reserved", server.engine.branch_ids_reserved, Count(16..=1 << 40)),
    option!("session.request_window", server.session.request_window, Count(1..=1_000_000)),
    option!("session.heartbeat", server.session.heartbeat, Time(MILLISECOND..=HOUR)),
    option!("session.silence_max", server.session.silence_max, Time(MILLISECOND..=HOUR)),
    option!(
        "session.answers_queued_max",
        server.session.answers_queued_max,
        Count(1..=10 * MILLION)
    ),
    option!("session.work_queued_max", server.session.work_queued_max, Count(1..=10 * MILLION)),
    option!(
        "session.frames_per_message_max",
        server.session.frames_per_message_max,
        Count(1..=MILLION)
    ),
    option!("attachment.expires_in", server.attachment.expires_in, Time(SECOND..=HOUR)),
    option!("attachment.take_wait_max", server.attachment.take_wait_max, Time(ZERO..=HOUR)),
    option!("attachment.take_max", server.attachment.take_max, Count(1..=1_000_000)),
    option!("attachment.attachments_max", server.attachment.attachments_max, Count(1..=MILLION)),
];
