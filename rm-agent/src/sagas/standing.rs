//! Where a saga stands.

use pactum_proto::v1;
use serde::de::DeserializeOwned;

use super::{SagaError, StepFailed, StepStanding};
use crate::tm::Outcome;

/// Where a saga stood when the coordinator answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Saga(pub(super) v1::Saga);

impl Saga {
    /// Names it for ever.
    #[must_use]
    pub fn xid(&self) -> &str {
        &self.0.xid
    }

    /// What was decided; `None` while it goes forward.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.outcome.and_then(Outcome::from_wire)
    }

    /// Whether it is over: committed, or everything undone.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.outcome().is_some_and(|outcome| outcome.completed)
    }

    /// Whether it was committed.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.outcome().is_some_and(|outcome| outcome.is_committed())
    }

    /// Whether automatic work on one of its steps has stopped, and a person must look.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.0.outcome.is_some_and(|outcome| outcome.parked > 0)
    }

    /// Whether an operator has paused it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.paused
    }

    /// The step that made it roll back, and why, where one did.
    #[must_use]
    pub fn failure(&self) -> Option<(&str, &StepFailed)> {
        self.0.failure.as_ref().map(|failure| (self.0.failed_step.as_str(), failure))
    }

    /// What it returned, once it is committed; before, and without an `output` in its definition, null.
    ///
    /// # Errors
    /// [`SagaError::Json`] if that is no `T`.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, SagaError> {
        let output: &[u8] = if self.0.output.is_empty() { b"null" } else { &self.0.output };
        serde_json::from_slice(output)
            .map_err(|source| SagaError::Json { what: "the output", source })
    }

    /// The steps that were reached, in the order of the definition, where they were asked for.
    #[must_use]
    pub fn steps(&self) -> &[StepStanding] {
        &self.0.steps
    }
}
