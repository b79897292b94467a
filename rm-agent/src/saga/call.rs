//! An attempt of a declared saga's step: which step it is, and what an action may answer.

use std::time::Duration;

use crate::branch::Work;

/// What the action of a declared saga's step answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acted<T> {
    /// It took place, and this is its result.
    Done(T),
    /// It goes on elsewhere: the step waits, until the action answers something else when it is asked
    /// again, or until somebody completes the step by its [`StepCall::key`]. `None`: it is not asked again.
    Ongoing {
        /// After how long to ask again.
        ask_after: Option<Duration>,
    },
}

/// For which step of a declared saga a handler is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepCall {
    key: String,
    attempt: u32,
    time_left: Duration,
}

impl StepCall {
    pub(crate) fn new(work: &Work, time_left: Duration) -> Self {
        let key = work.step.as_ref().map_or_else(String::new, |step| step.key.clone());
        StepCall { key, attempt: work.attempt, time_left }
    }

    /// Names the step of this saga: the same for all attempts of its action, and for its compensation.
    /// Pass it on as the idempotency key. [`Sagas::complete`](crate::Sagas::complete) takes it as the token
    /// that ends an action which is *ongoing*. Short, ASCII, and no secret.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The how-manieth attempt this is, as far as the coordinator remembers: from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How much time was left when the handler was called; then its future is dropped.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.time_left
    }
}
