//! *Can this commit?*: advice that is asked for before the first try.
//!
//! Nothing is reserved by it and nothing promised: only phase one reserves, and after phase one nobody
//! decides by asking or by waiting.

use pactum_core::transaction::{Action, BranchMode};
use serde::Serialize;

use super::error::ActionError;
use super::pool::{ActionDatabase, Shared};
use crate::agent::Agent;
use crate::context::TransactionContext;
use crate::session;

/// What an action thinks of its chances, as things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chance {
    /// Nothing is seen that would stand in the way.
    Good,
    /// It would fail, and why.
    None(String),
}

/// A question to a registered action, as [`Tcc::question`](crate::Tcc::question) and
/// [`Step::question`](crate::Step::question) make it.
#[derive(Clone, Debug)]
pub struct Question(session::Question);

/// What the actions that were named think together. Any *no* outweighs an *unknown*, and that a *yes*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// Nobody sees what would stand in the way.
    Yes,
    /// This one would fail: begin nothing.
    No {
        /// The resource.
        resource: String,
        /// The action's name.
        action: String,
        /// What it says.
        reason: String,
    },
    /// This one could not be asked, or did not answer in time. That is not a no.
    Unknown {
        /// The resource.
        resource: String,
        /// The action's name.
        action: String,
        /// What is known of it.
        reason: String,
    },
}

/// The largest input of a question, as JSON: the coordinator takes no larger one.
const QUESTION_BYTES_MAX: usize = 64 << 10;

impl Question {
    pub(crate) fn new<DB: ActionDatabase>(
        shared: &Shared<DB>,
        mode: BranchMode,
        action: &'static str,
        input: &impl Serialize,
    ) -> Result<Self, ActionError> {
        let payload =
            serde_json::to_vec(input).map_err(|source| ActionError::Encode { action, source })?;
        let bytes = payload.len();
        if bytes > QUESTION_BYTES_MAX {
            let limit = QUESTION_BYTES_MAX;
            return Err(ActionError::ContextTooLarge { action, bytes, limit });
        }
        Ok(Question(session::Question {
            resource: shared.resource.clone(),
            mode,
            action: Some(Action { name: action.into(), payload: payload.into() }),
        }))
    }
}

impl Agent {
    /// Asks actions, also those of other services, whether they have a chance at all, so that a
    /// hopeless transaction fails before it reserves anything. Advice: nothing is reserved, and a *yes*
    /// may be wrong a moment later.
    ///
    /// # Errors
    /// The coordinator did not answer, or refused the question; nothing has changed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing.
    pub async fn can_commit(
        &self,
        transaction: &TransactionContext,
        questions: &[Question],
    ) -> Result<Opinion, session::CallError> {
        if questions.is_empty() {
            return Ok(Opinion::Yes);
        }
        let questions: Vec<session::Question> =
            questions.iter().map(|question| question.0.clone()).collect();
        Ok(match self.session().can_commit(transaction, &questions).await? {
            session::Opinion::Yes => Opinion::Yes,
            session::Opinion::No { resource, action, reason } => {
                Opinion::No { resource, action, reason }
            }
            session::Opinion::Unknown { resource, action, reason } => {
                Opinion::Unknown { resource, action, reason }
            }
        })
    }
}
