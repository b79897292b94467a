//! Every option of a coordinator, typed, with its default and the reason for it.

use std::net::SocketAddr;
use std::time::Duration;

use pactum_core::id::GroupName;
use pactum_core::policy::Policy;
use pactum_proto::convert::RequestLimits;

/// The options of one coordinator.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen. 127.0.0.1:8091: nobody else can reach it before someone says so.
    pub listen: SocketAddr,
    /// The group that this coordinator leads. `default`.
    pub group: GroupName,
    /// The limits and waits of the group.
    pub policy: Policy,
    /// The longest timeout of a transaction. 1 h: barrier rows are kept longer than that.
    pub transaction_timeout_max: Duration,
    /// Whether a registration may say that its participant never reports phase one. No: a commit
    /// could then be decided without the work; only guest protocols need it.
    pub phase_one_assumed_allowed: bool,
    /// The longest request message. 4 MiB: a registration with its largest locks fits four times.
    pub message_bytes_max: usize,
    /// How long a drain waits for callers before it ends what is left. 10 s.
    pub drain_max: Duration,
    /// The group task.
    pub engine: EngineOptions,
    /// The session streams.
    pub session: SessionOptions,
    /// The long poll.
    pub attachment: AttachmentOptions,
}

/// Options of the group task.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How many batches of events may queue up; then readers wait, and their streams with them.
    /// 4096: one a session and a drain, with room.
    pub queue_batches_max: usize,
    /// How many events may queue up before begins are refused. 32 768: about a tenth of a second of
    /// work, so that what has begun is finished first.
    pub begins_queued_max: usize,
    /// How many events are decided into one batch while another is being written. 8192: beyond that
    /// a batch gets slower, not cheaper.
    pub batch_events_max: usize,
    /// How many transaction ids are reserved at a time. 2^20: one durable write a million.
    pub xids_reserved: u64,
    /// How many branch ids are reserved at a time. 2^24: some hundred blocks for sessions.
    pub branch_ids_reserved: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            queue_batches_max: 4096,
            begins_queued_max: 32 * 1024,
            batch_events_max: 8192,
            xids_reserved: 1 << 20,
            branch_ids_reserved: 1 << 24,
        }
    }
}

/// Options of the session streams.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How many requests of a session may be under way. 8192: it bounds what is owed to a session.
    pub request_window: u32,
    /// After how long without a word a side sends a ping. 5 s: half of `node_lost_grace`.
    pub heartbeat: Duration,
    /// After how long without a word a session is given up. 15 s: three pings.
    pub silence_max: Duration,
    /// How many answers may wait for a session's connection before it is closed. 65 536: a window
    /// of answers and the errors of one-way frames, several times over.
    pub answers_queued_max: usize,
    /// How much phase-two work may wait for a session's credits; more is dropped and tried again
    /// later. 65 536.
    pub work_queued_max: usize,
    /// How many frames a client may put into one message. 16 384: two windows of requests; a message
    /// is decided in one go.
    pub frames_per_message_max: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            request_window: 8192,
            heartbeat: Duration::from_secs(5),
            silence_max: Duration::from_secs(15),
            answers_queued_max: 65_536,
            work_queued_max: 65_536,
            frames_per_message_max: 16_384,
        }
    }
}

/// Options of the long poll for clients that hold no stream.
#[derive(Clone, Debug)]
pub struct AttachmentOptions {
    /// How long an attachment lives after the end of its last take. 30 s.
    pub expires_in: Duration,
    /// The longest wait of a take. 30 s: proxies cut longer ones.
    pub take_wait_max: Duration,
    /// How much work one take may ask for. 1000.
    pub take_max: u32,
    /// How many attachments there may be. 10 000.
    pub attachments_max: usize,
}

impl Default for AttachmentOptions {
    fn default() -> Self {
        AttachmentOptions {
            expires_in: Duration::from_secs(30),
            take_wait_max: Duration::from_secs(30),
            take_max: 1000,
            attachments_max: 10_000,
        }
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 8091)),
            group: "default".parse().expect("the default group name is well-formed"),
            policy: Policy::default(),
            transaction_timeout_max: Duration::from_secs(60 * 60),
            phase_one_assumed_allowed: false,
            message_bytes_max: 4 * 1024 * 1024,
            drain_max: Duration::from_secs(10),
            engine: EngineOptions::default(),
            session: SessionOptions::default(),
            attachment: AttachmentOptions::default(),
        }
    }
}

/// An option that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{option}`: {problem}")]
pub struct InvalidOption {
    /// Its name, with its section.
    pub option: &'static str,
    /// What is wrong, and how to fix it.
    pub problem: String,
}

impl ServerOptions {
    /// All that is wrong with the options, at once.
    ///
    /// # Errors
    /// One [`InvalidOption`] for each problem.
    pub fn validate(&self) -> Result<(), Vec<InvalidOption>> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, option, problem: &str| {
            if !holds {
                problems.push(InvalidOption { option, problem: problem.to_owned() });
            }
        };
        let (engine, session) = (&self.engine, &self.session);
        let policy = &self.policy;
        let day = Duration::from_secs(24 * 60 * 60);
        let timeout = self.transaction_timeout_max;
        require(
            !timeout.is_zero() && timeout <= day,
            "transaction_timeout_max",
            "must be above zero and at most 24 h, because barrier rows are kept that long",
        );
        require(
            (64 * 1024..=64 * 1024 * 1024).contains(&self.message_bytes_max),
            "message_bytes_max",
            "must be from 64 KiB to 64 MiB",
        );
        require(engine.queue_batches_max > 0, "engine.queue_batches_max", "must be above zero");
        require(engine.begins_queued_max > 0, "engine.begins_queued_max", "must be above zero");
        require(engine.batch_events_max > 0, "engine.batch_events_max", "must be above zero");
        require(
            (1..=1 << 32).contains(&engine.xids_reserved),
            "engine.xids_reserved",
            "must be from 1 to 2^32",
        );
        require(
            engine.branch_ids_reserved >= policy.branch_id_block.saturating_mul(16),
            "engine.branch_ids_reserved",
            "must be at least 16 times `policy.branch_id_block`, or sessions wait for ids",
        );
        require(session.request_window > 0, "session.request_window", "must be above zero");
        require(
            !session.heartbeat.is_zero() && session.silence_max > session.heartbeat,
            "session.silence_max",
            "must be longer than `session.heartbeat`, and that above zero",
        );
        let window = usize::try_from(session.request_window).unwrap_or(usize::MAX);
        require(
            session.answers_queued_max >= window,
            "session.answers_queued_max",
            "must be at least `session.request_window`",
        );
        require(
            session.frames_per_message_max > 0,
            "session.frames_per_message_max",
            "must be above zero",
        );
        require(
            !self.attachment.expires_in.is_zero(),
            "attachment.expires_in",
            "must be above zero",
        );
        require(self.attachment.take_max > 0, "attachment.take_max", "must be above zero");
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// What requests may ask for.
    pub(crate) fn request_limits(&self) -> RequestLimits {
        RequestLimits {
            transaction_timeout_max: self.transaction_timeout_max,
            branches_per_transaction_max: self.policy.branches_per_transaction_max,
            locks_per_branch_max: self.policy.locks_per_branch_max,
            phase_one_assumed_allowed: self.phase_one_assumed_allowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_all_problems_are_told_at_once() {
        assert_eq!(ServerOptions::default().validate(), Ok(()));
        let transaction_timeout_max = Duration::ZERO;
        let mut wrong = ServerOptions { transaction_timeout_max, ..ServerOptions::default() };
        wrong.session.silence_max = wrong.session.heartbeat;
        wrong.engine.batch_events_max = 0;
        let options = wrong.validate().unwrap_err();
        let options: Vec<_> = options.iter().map(|problem| problem.option).collect();
        assert_eq!(
            options,
            ["transaction_timeout_max", "engine.batch_events_max", "session.silence_max"]
        );
    }
}
