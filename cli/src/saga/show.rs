//! How a saga looks: as text for people, as JSON for programs.

use std::fmt::Write as _;

use pactum_proto::v1::{Saga, SagaStep, SagaStepState, SagaVerb, SagaWord, TransactionStatus};
use serde_json::{Value, json};

use crate::show::json::park_report;
use crate::show::text::{Table, one_line, outcome};
use crate::show::{UNKNOWN, cause, moment, status};

/// How much of a result or an error a line of the table shows, in characters.
const CELL_CHARS_MAX: usize = 60;

fn state(step: &SagaStep) -> &'static str {
    match step.state() {
        SagaStepState::Unspecified => UNKNOWN,
        SagaStepState::Running => "running",
        SagaStepState::Waiting => "waiting",
        SagaStepState::Done => "done",
        SagaStepState::Failed => "failed",
        SagaStepState::Skipped => "skipped",
        SagaStepState::Parked => "parked",
        SagaStepState::Undoing => "undoing",
        SagaStepState::Undone => "undone",
    }
}

fn verb(word: &SagaWord) -> &'static str {
    match word.verb() {
        SagaVerb::Unspecified => UNKNOWN,
        SagaVerb::Pause => "pause",
        SagaVerb::Resume => "resume",
        SagaVerb::Retry => "retry",
        SagaVerb::Skip => "skip",
        SagaVerb::Force => "force",
        SagaVerb::Cancel => "cancel",
    }
}

fn name(saga: &Saga) -> String {
    saga.saga.as_ref().map_or_else(String::new, |saga| format!("{}@{}", saga.name, saga.version))
}

pub(super) fn has_ended(saga: &Saga) -> bool {
    match saga.outcome.unwrap_or_default().status() {
        TransactionStatus::Committed | TransactionStatus::RolledBack => true,
        TransactionStatus::Unspecified
        | TransactionStatus::Active
        | TransactionStatus::Delegated
        | TransactionStatus::Committing
        | TransactionStatus::RollingBack => false,
    }
}

/// One line: which saga, and where it stands.
pub(super) fn line(saga: &Saga) -> String {
    let mut text = format!("{}  {}", saga.xid, outcome(&saga.outcome.unwrap_or_default()));
    if saga.paused && !has_ended(saga) {
        text.push_str(", paused");
    }
    if let Some(why) = failure(saga) {
        let _ = write!(text, ", {}", one_line(&why));
    }
    text.push('\n');
    text
}

/// Which step made it roll back, and why.
pub(super) fn failure(saga: &Saga) -> Option<String> {
    let failure = saga.failure.as_ref()?;
    Some(format!("{} failed: {} ({})", saga.failed_step, failure.message, failure.code))
}

/// Everything.
pub(super) fn text(saga: &Saga) -> String {
    let mut text = format!("saga {}\n", saga.xid);
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<9} {}", one_line(value));
        }
    };
    field("name", &name(saga));
    field("status", &outcome(&saga.outcome.unwrap_or_default()));
    let is_held = saga.paused && !has_ended(saga);
    field("paused", if is_held { "until it is resumed" } else { "" });
    field("because", &failure(saga).unwrap_or_default());
    field("output", &String::from_utf8_lossy(&saga.output));
    if !saga.steps.is_empty() {
        let mut table = Table::new(&["STEP", "STATE", "TRY", "SINCE", "ACTION", "WHAT CAME OF IT"]);
        for step in &saga.steps {
            table.row([
                step.path.clone(),
                state(step).to_owned(),
                if step.attempt > 0 { step.attempt.to_string() } else { String::new() },
                moment(step.since_unix_ms),
                action(step),
                came_of(step),
            ]);
        }
        let _ = write!(text, "\n{}", table.show("  "));
    }
    if !saga.words.is_empty() {
        let mut table = Table::new(&["SAID", "OF", "AT", "BECAUSE"]);
        for word in &saga.words {
            let of = if word.step.is_empty() { "all" } else { &word.step };
            let cells = [verb(word), of, &moment(word.at_unix_ms), &word.reason];
            table.row(cells.map(str::to_owned));
        }
        let _ = write!(text, "\n{}", table.show("  "));
    }
    if saga.outcome.is_some_and(|outcome| outcome.parked > 0) {
        let _ = write!(
            text,
            "\nMend what stands in the way, then: pactum saga retry {xid} --reason TEXT\n\
             Or decide about a step: pactum saga skip|force {xid} STEP --reason TEXT\n",
            xid = saga.xid
        );
    }
    text
}

fn action(step: &SagaStep) -> String {
    match step.action.as_str() {
        "" => String::new(),
        action => format!("{action} at {}", step.resource_id),
    }
}

fn came_of(step: &SagaStep) -> String {
    let parked = step.park_report.as_ref().map(|report| report.message.clone());
    let failed = step.failure.as_ref().map(|why| format!("{}: {}", why.code, why.message));
    let result =
        (!step.result.is_empty()).then(|| String::from_utf8_lossy(&step.result).into_owned());
    let text = parked.or(failed).or(result).unwrap_or_else(|| step.last_reason.clone());
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// JSON that somebody else wrote; text if it is none.
fn value(json: &[u8]) -> Value {
    if json.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(json).unwrap_or_else(|_| String::from_utf8_lossy(json).into())
}

pub(super) fn json(saga: &Saga) -> Value {
    let failure = saga
        .failure
        .as_ref()
        .map(|why| json!({ "step": saga.failed_step, "code": why.code, "message": why.message }));
    let steps: Vec<Value> = saga.steps.iter().map(step_json).collect();
    let word = |word: &SagaWord| {
        json!({ "verb": verb(word), "step": word.step, "reason": word.reason,
                "at": moment(word.at_unix_ms) })
    };
    let outcome = saga.outcome.unwrap_or_default();
    json!({
        "xid": saga.xid,
        "saga": saga.saga.as_ref().map(|saga| json!({ "name": saga.name, "version": saga.version })),
        "status": status(&outcome),
        "cause": cause(&outcome),
        "parked": outcome.parked,
        "paused": saga.paused,
        "output": value(&saga.output),
        "failure": failure,
        "steps": steps,
        "words": saga.words.iter().map(word).collect::<Vec<_>>(),
    })
}

fn step_json(step: &SagaStep) -> Value {
    let failure =
        step.failure.as_ref().map(|why| json!({ "code": why.code, "message": why.message }));
    json!({
        "path": step.path,
        "branch_id": step.branch_id.to_string(),
        "state": state(step),
        "attempt": step.attempt,
        "action": step.action,
        "resource_id": step.resource_id,
        "result": value(&step.result),
        "failure": failure,
        "last_reason": step.last_reason,
        "since": moment(step.since_unix_ms),
        "park_report": step.park_report.as_ref().map(park_report),
    })
}
