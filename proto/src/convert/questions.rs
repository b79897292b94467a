//! *Can this commit?*: questions to participants that no transaction depends on.

use std::sync::Arc;

use bytes::Bytes;
use pactum_core::id::{ResourceId, XidNumber};
use pactum_core::transaction::{Action, BranchMode};

use super::Identity;
use super::branches::action;
use super::enums;
use super::error::invalid;
use super::requests::{RequestReader, check_count, resource_id};
use crate::v1;

/// How many questions one request may ask.
pub const QUESTIONS_MAX: usize = 64;

/// Questions that were understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanCommit {
    /// The transaction that wants to know; nothing of it is looked at.
    pub xid: XidNumber,
    /// What it wants to know.
    pub questions: Vec<Question>,
}

/// Could this action succeed, as things are?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whom to ask.
    pub resource: ResourceId,
    /// Which of its modes.
    pub mode: BranchMode,
    /// For TCC and saga: what would be called.
    pub action: Option<Arc<Action>>,
}

impl Question {
    /// The action's name; empty for AT and XA.
    #[must_use]
    pub fn action_name(&self) -> &str {
        self.action.as_ref().map_or("", |action| &action.name)
    }
}

/// What a participant said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// As far as it can see, yes.
    Yes,
    /// No, and why.
    No(String),
    /// It could not say, and why.
    Nothing(String),
}

impl RequestReader {
    /// A request that asks participants.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn can_commit(&self, request: &v1::CanCommitRequest) -> Result<CanCommit, v1::Error> {
        let xid = self.target(&request.xid, &request.store_id)?.xid;
        check_count("questions", request.questions.len(), QUESTIONS_MAX)?;
        if request.questions.is_empty() {
            return Err(invalid("questions", "`questions` is empty; ask at least one"));
        }
        let questions = request.questions.iter().map(question);
        Ok(CanCommit { xid, questions: questions.collect::<Result<_, _>>()? })
    }
}

fn question(question: &v1::Question) -> Result<Question, v1::Error> {
    let resource = resource_id(&question.resource_id)?;
    let mode = enums::mode(question.mode)?;
    let action = action(mode, &question.action, &question.payload)?;
    Ok(Question { resource, mode, action })
}

impl Identity {
    /// A question as a participant gets it. `number` stands where a branch's id would.
    #[must_use]
    pub fn question(&self, xid: XidNumber, number: u64, question: &Question) -> v1::Work {
        let payload =
            question.action.as_ref().map(|action| Bytes::copy_from_slice(&action.payload));
        v1::Work {
            kind: v1::WorkKind::CanCommit.into(),
            xid: self.xid(xid),
            branch_id: number,
            resource_id: question.resource.as_str().to_owned(),
            mode: v1::BranchMode::from(question.mode).into(),
            attempt: 1,
            action: question.action_name().to_owned(),
            payload: payload.unwrap_or_default(),
            ..v1::Work::default()
        }
    }
}
