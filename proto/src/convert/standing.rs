//! Where a saga stands, on the wire.

use bytes::Bytes;
use pactum_core::id::ResourceId;
use pactum_core::saga::{
    Attempt, DefinitionKey, LiveSaga, Reached, SagaVerb, SagaWord, Slot, Standing, StepError,
    StepState,
};
use pactum_core::step::Outcome;
use pactum_core::transaction::{ParkReason, Status};
use prost::Message as _;

use super::replies::Identity;
use crate::v1;

impl Identity {
    /// The answer to a submission or a question.
    #[must_use]
    pub fn saga(&self, standing: &Standing) -> v1::Saga {
        let (failed_step, failure) = standing.failure.clone().unzip();
        v1::Saga {
            xid: self.xid(standing.xid),
            store_id: self.store_bytes(),
            saga: Some(name(&standing.definition)),
            outcome: Some(standing.outcome.into()),
            paused: standing.paused,
            output: standing.output.as_deref().map(Bytes::copy_from_slice).unwrap_or_default(),
            failed_step: failed_step.unwrap_or_default(),
            failure: failure.map(|error| failed(&error)),
            steps: Vec::new(),
            words: Vec::new(),
        }
    }

    /// A saga with each of its steps that were reached, live or rebuilt from what was stored.
    #[must_use]
    pub fn saga_with_steps(&self, saga: &LiveSaga, outcome: Outcome) -> v1::Saga {
        let words = saga.row.words.iter().map(|word| shown_word(saga, word)).collect();
        v1::Saga { steps: steps(saga, outcome), words, ..self.saga(&saga.standing(outcome)) }
    }
}

/// A name and version.
pub(super) fn name(key: &DefinitionKey) -> v1::SagaName {
    v1::SagaName { name: key.name.as_ref().to_owned(), version: key.version }
}

fn failed(error: &StepError) -> v1::StepFailed {
    let (code, message) = (error.code.as_ref().to_owned(), error.message.as_ref().to_owned());
    v1::StepFailed { code, message, r#final: true }
}

fn steps(saga: &LiveSaga, outcome: Outcome) -> Vec<v1::SagaStep> {
    let mut slots: Vec<(Slot, Reached)> = saga.run.reached(&saga.graph).collect();
    slots.sort_unstable_by_key(|(slot, _)| *slot);
    // An event may have come for a step that is not reached yet.
    let early = saga.run.rows().map(|row| row.slot);
    let early: Vec<Slot> = early
        .filter(|slot| slots.binary_search_by_key(slot, |(known, _)| *known).is_err())
        .collect();
    slots.extend(early.into_iter().map(|slot| (slot, Reached::Done)));
    slots.sort_unstable_by_key(|(slot, _)| *slot);
    slots.into_iter().map(|(slot, reached)| step(saga, slot, reached, outcome)).collect()
}

fn step(saga: &LiveSaga, slot: Slot, reached: Reached, outcome: Outcome) -> v1::SagaStep {
    let row = saga.run.row(slot);
    let action = saga.graph.action(slot);
    let attempt: Option<&Attempt> = saga.attempts.get(&slot);
    let since = row.and_then(|row| match row.state {
        StepState::Waiting { since } => Some(since.0),
        StepState::Done
        | StepState::Failed { .. }
        | StepState::Skipped
        | StepState::Parked(_)
        | StepState::UndoParked(_)
        | StepState::Undone
        | StepState::Open => None,
    });
    let report = row.and_then(|row| match row.state {
        StepState::Parked(reason) | StepState::UndoParked(reason) => {
            Some(park_report(reason, row.report.as_deref(), row.error.as_deref()))
        }
        StepState::Waiting { .. }
        | StepState::Done
        | StepState::Failed { .. }
        | StepState::Skipped
        | StepState::Undone
        | StepState::Open => None,
    });
    v1::SagaStep {
        path: saga.graph.path(slot),
        branch_id: slot.branch().0,
        state: state(saga, slot, reached, outcome).into(),
        action: action.map(|action| action.action.as_ref().to_owned()).unwrap_or_default(),
        resource_id: action
            .map(|action| ResourceId::to_string(&action.resource))
            .unwrap_or_default(),
        result: row
            .and_then(|row| row.result.as_deref())
            .map(Bytes::copy_from_slice)
            .unwrap_or_default(),
        failure: row.and_then(|row| row.error.as_deref()).map(failed),
        attempt: attempt.map_or(0, |attempt| attempt.sent),
        last_reason: attempt
            .and_then(|attempt| attempt.last_reason.as_deref())
            .unwrap_or_default()
            .to_owned(),
        since_unix_ms: since.unwrap_or_default(),
        park_report: report,
    }
}

fn state(saga: &LiveSaga, slot: Slot, reached: Reached, outcome: Outcome) -> v1::SagaStepState {
    use v1::SagaStepState as Wire;
    let undoing = saga.run.is_undoing(slot) && !outcome.status.is_ended();
    match saga.run.row(slot).map(|row| row.state) {
        Some(StepState::UndoParked(_)) => Wire::Parked,
        Some(StepState::Undone) => Wire::Undone,
        _ if undoing => Wire::Undoing,
        Some(StepState::Waiting { .. }) => back_or(Wire::Waiting, outcome.status),
        Some(StepState::Done) => Wire::Done,
        Some(StepState::Failed { .. }) => Wire::Failed,
        Some(StepState::Skipped) => Wire::Skipped,
        Some(StepState::Parked(_)) => Wire::Parked,
        Some(StepState::Open) | None => match reached {
            Reached::Running => back_or(Wire::Running, outcome.status),
            Reached::Done => Wire::Done,
        },
    }
}

/// What is not over: of a saga that rolls back nothing goes on, nor waits for an event. A loop or a sub-saga
/// goes back with its steps.
fn back_or(forward: v1::SagaStepState, status: Status) -> v1::SagaStepState {
    match status {
        Status::Active | Status::Delegated | Status::Committing | Status::Committed => forward,
        Status::RollingBack(_) => v1::SagaStepState::Undoing,
        Status::RolledBack(_) => v1::SagaStepState::Undone,
    }
}

fn park_report(
    reason: ParkReason,
    report: Option<&[u8]>,
    error: Option<&StepError>,
) -> v1::ParkReport {
    let told = report.and_then(|report| v1::ParkReport::decode(report).ok());
    let report = told.unwrap_or_else(|| v1::ParkReport {
        message: error.map_or_else(
            || "the participant gave no report that can be read".to_owned(),
            |error| format!("{}: {}", error.code, error.message),
        ),
        ..v1::ParkReport::default()
    });
    v1::ParkReport { reason: v1::ParkReason::from(reason).into(), ..report }
}

fn shown_word(saga: &LiveSaga, word: &SagaWord) -> v1::SagaWord {
    let verb = match word.verb {
        SagaVerb::Pause => v1::SagaVerb::Pause,
        SagaVerb::Resume => v1::SagaVerb::Resume,
        SagaVerb::Retry => v1::SagaVerb::Retry,
        SagaVerb::Skip => v1::SagaVerb::Skip,
        SagaVerb::Force => v1::SagaVerb::Force,
        SagaVerb::Cancel => v1::SagaVerb::Cancel,
    };
    v1::SagaWord {
        verb: verb.into(),
        step: word.slot.map(|slot| saga.graph.path(slot)).unwrap_or_default(),
        reason: word.reason.as_ref().to_owned(),
        at_unix_ms: word.at.0,
    }
}
