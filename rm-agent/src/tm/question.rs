//! Asking before the first try whether it has a chance: 3PC's first phase, as advice.
//!
//! Nothing is reserved or stored by it. A *yes* may be wrong the moment it is given, and after phase
//! one nobody ever decides by what was said here. It saves a hopeless transaction its reservations.

use pactum_core::id::{Malformed, ResourceId};
use pactum_core::transaction::{Action, BranchMode};
use serde::Serialize;

use crate::context::TransactionContext;
use crate::session::{self, CallError, Opinion, Session};

/// Could this succeed, as things are? See [`Agent::can_commit`](crate::Agent::can_commit).
#[derive(Clone, Debug)]
pub struct Question(session::Question);

/// Why a question is none.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The resource id is malformed.
    #[error("the resource `{resource}` that is to be asked")]
    Resource {
        /// What was given.
        resource: String,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
    /// What the action would be given cannot be serialised.
    #[error("the input of action `{action}`")]
    Input {
        /// The action.
        action: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// What the participants think of the actions that were named. Any *no* outweighs an *unknown*, and
/// that a *yes*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanCommit {
    /// Nobody sees what would stand in the way. No promise.
    Yes,
    /// This one cannot succeed as things are.
    No {
        /// The resource, with the action if one was named.
        who: String,
        /// In the participant's words.
        why: String,
    },
    /// This one could not be asked, or did not answer in time, which says nothing about it.
    Unknown {
        /// The resource, with the action if one was named; or the coordinator.
        who: String,
        /// What happened.
        why: String,
    },
}

impl Question {
    /// Could this TCC action's try succeed with this context?
    ///
    /// # Errors
    ///
    /// The resource id is malformed, or the context cannot be serialised.
    pub fn tcc(
        resource: &str,
        action: &str,
        context: &impl Serialize,
    ) -> Result<Self, QuestionError> {
        Question::of_action(resource, BranchMode::Tcc, action, context)
    }

    /// Could this saga step succeed with this input?
    ///
    /// # Errors
    ///
    /// The resource id is malformed, or the input cannot be serialised.
    pub fn saga(
        resource: &str,
        action: &str,
        input: &impl Serialize,
    ) -> Result<Self, QuestionError> {
        Question::of_action(resource, BranchMode::Saga, action, input)
    }

    /// Does anyone serve this database in AT mode?
    ///
    /// # Errors
    ///
    /// The resource id is malformed.
    pub fn at(resource: &str) -> Result<Self, QuestionError> {
        Question::of(resource, BranchMode::At, None)
    }

    /// Does anyone serve this database in XA mode?
    ///
    /// # Errors
    ///
    /// The resource id is malformed.
    pub fn xa(resource: &str) -> Result<Self, QuestionError> {
        Question::of(resource, BranchMode::Xa, None)
    }

    fn of_action(
        resource: &str,
        mode: BranchMode,
        action: &str,
        input: &impl Serialize,
    ) -> Result<Self, QuestionError> {
        let payload = serde_json::to_vec(input)
            .map_err(|source| QuestionError::Input { action: action.to_owned(), source })?;
        Question::of(resource, mode, Some(Action { name: action.into(), payload: payload.into() }))
    }

    fn of(resource: &str, mode: BranchMode, action: Option<Action>) -> Result<Self, QuestionError> {
        let parsed: Result<ResourceId, Malformed> = resource.parse();
        let resource = parsed
            .map_err(|source| QuestionError::Resource { resource: resource.to_owned(), source })?;
        Ok(Question(session::Question { resource, mode, action }))
    }
}

pub(crate) async fn can_commit(
    session: &Session,
    context: &TransactionContext,
    questions: &[Question],
) -> Result<CanCommit, CallError> {
    let questions: Vec<session::Question> =
        questions.iter().map(|Question(question)| question.clone()).collect();
    if questions.is_empty() {
        return Ok(CanCommit::Yes);
    }
    let who = |resource: String, action: String| {
        if action.is_empty() { resource } else { format!("{action} at {resource}") }
    };
    match session.can_commit(context, &questions).await {
        Ok(Opinion::Yes) => Ok(CanCommit::Yes),
        Ok(Opinion::No { resource, action, reason }) => {
            Ok(CanCommit::No { who: who(resource, action), why: reason })
        }
        Ok(Opinion::Unknown { resource, action, reason }) => {
            Ok(CanCommit::Unknown { who: who(resource, action), why: reason })
        }
        // An advice that nobody gave is none; it stands in the way of nothing.
        Err(CallError::NoAnswer(why)) => {
            Ok(CanCommit::Unknown { who: "the coordinator".to_owned(), why })
        }
        Err(refused @ CallError::Refused(_)) => Err(refused),
    }
}
