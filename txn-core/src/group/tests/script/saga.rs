//! The lines of a script that are about declared sagas.
//!
//! ```text
//! define s x@a y@b ?e +10 |z@a    steps one after the other: actions at resources, an event, a pause;
//!                                 `|` is one that starts at once; `x@a!` cannot be reversed, `x@a^` parks
//! submit s wait=5 key=k           the next transaction
//! did T1 x done|failed|final|later|ongoing      undid T1 x done|later|parked
//! signal T1 e     complete T1 x done|failed     say T1 pause|resume|cancel|retry|skip|force x
//! ```

use std::sync::Arc;

use serde_json::{Value, json};

use super::parse::Line;
use crate::event::{ActAnswer, Direction, Event, Operate, PhaseTwoAnswer, Submit};
use crate::group::Group;
use crate::id::{SessionId, XidNumber};
use crate::saga::{Defined, DefinitionKey, SagaVerb, Slot, StepError};
use crate::transaction::ParkReason;

pub(super) fn define(line: &Line<'_>, group: &Group) -> Event {
    let steps: Vec<Value> = line.words[1..].iter().map(|word| step(word)).collect();
    let version: u32 = line.option("v").map_or(1, |word| word.parse().unwrap());
    let mut definition = json!({ "saga": line.word(0), "version": version, "steps": steps });
    if let Some(timeout) = line.option("timeout") {
        definition["timeout"] = json!(format!("{timeout}s"));
    }
    let find =
        |key: &DefinitionKey| group.definition(key).map(|defined| Arc::clone(&defined.graph));
    let defined = Defined::read(definition.to_string().as_bytes(), &find).expect("it is fine");
    Event::DefineRequested { defined: Arc::new(defined), reply: line.reply }
}

fn step(word: &str) -> Value {
    let (word, at_once) = word.strip_prefix('|').map_or((word, false), |word| (word, true));
    let mut step = if let Some(id) = word.strip_prefix('?') {
        json!({ "id": id, "wait": { "event": true, "timeout": "60s" } })
    } else if let Some(span) = word.strip_prefix('+') {
        json!({ "id": format!("p{span}"), "wait": { "for": format!("{span}s") } })
    } else {
        let (id, resource) = word.split_once('@').expect("a step names its resource");
        let resource = resource.trim_end_matches(['!', '^', '-']);
        let mut step = json!({ "id": id, "action": id, "resource": resource, "timeout": "10s",
                               "retry": { "attempts": 2, "final": ["sold-out"] } });
        if word.contains('!') {
            step["compensable"] = json!(false);
        }
        if word.contains('^') {
            step["recovery"] = json!("forward");
        }
        if word.contains('-') {
            step["unknown"] = json!("compensate");
        }
        step
    };
    if at_once {
        step["after"] = json!([]);
    }
    step
}

pub(super) fn submit(line: &Line<'_>) -> Event {
    Event::SubmitRequested(Box::new(Submit {
        name: line.word(0).into(),
        version: line.option("v").map(|word| word.parse().unwrap()),
        input: Arc::from(*b"null"),
        idempotency_key: line.option("key").map(Arc::from),
        wait: line.option("wait").map(|_| line.seconds("wait", 0.0)),
        reply: line.reply,
    }))
}

pub(super) fn asked(line: &Line<'_>) -> Event {
    let wait = line.option("wait").map(|_| line.seconds("wait", 0.0));
    Event::SagaRequested { target: line.target(0), wait, reply: line.reply }
}

fn slot(group: &Group, xid: XidNumber, path: &str) -> Slot {
    let slot = group.saga(xid).and_then(|(_, saga)| saga.graph.slot(path));
    slot.unwrap_or(Slot(999))
}

fn session_of(line: &Line<'_>, group: &Group, xid: XidNumber, slot: Slot) -> SessionId {
    if line.option("s").is_some() {
        return line.session();
    }
    let action = group.saga(xid).and_then(|(_, saga)| saga.graph.action(slot));
    let bound = action.and_then(|action| group.bindings.by_id(&action.resource));
    bound.and_then(|row| group.sessions.first_on(row.number)).unwrap_or(SessionId(0))
}

fn error(code: &str) -> Arc<StepError> {
    Arc::new(StepError { code: code.into(), message: "it did not work".into() })
}

pub(super) fn did(line: &Line<'_>, group: &Group) -> Event {
    let xid = line.target(0).xid;
    let slot = slot(group, xid, line.word(1));
    let answer = match line.word(2) {
        "done" => ActAnswer::Done { result: line.option("with").unwrap_or("1").as_bytes().into() },
        "failed" => ActAnswer::Failed { error: error("no"), is_final: false },
        "sold-out" => ActAnswer::Failed { error: error("sold-out"), is_final: false },
        "final" => ActAnswer::Failed { error: error("never"), is_final: true },
        "unknown" => ActAnswer::Unknown { error: error("lost") },
        "later" => ActAnswer::Later {
            after: line.option("after").map(|_| line.seconds("after", 0.0)),
            reason: None,
        },
        "ongoing" => ActAnswer::Ongoing {
            ask_after: line.option("after").map(|_| line.seconds("after", 0.0)),
        },
        other => panic!("{other:?} is no answer"),
    };
    let session = session_of(line, group, xid, slot);
    Event::StepAnswered { session, xid, slot, answer }
}

pub(super) fn undid(line: &Line<'_>, group: &Group) -> Event {
    let xid = line.target(0).xid;
    let slot = slot(group, xid, line.word(1));
    let answer = match line.word(2) {
        "done" => PhaseTwoAnswer::Done,
        "later" => PhaseTwoAnswer::Later { after: None, reason: None },
        "parked" => PhaseTwoAnswer::Parked {
            reason: ParkReason::HandlerFatal,
            report: Arc::from(*b"report"),
        },
        other => panic!("{other:?} is no answer"),
    };
    let session = session_of(line, group, xid, slot);
    let direction = Direction::Rollback;
    Event::PhaseTwoAnswered { session, xid, branch: slot.branch(), direction, answer }
}

pub(super) fn signal(line: &Line<'_>) -> Event {
    let (path, payload) = (line.word(1).into(), Arc::from(*b"\"came\""));
    Event::SignalReceived { target: line.target(0), path, payload, reply: line.reply }
}

pub(super) fn complete(line: &Line<'_>, group: &Group) -> Event {
    let target = line.target(0);
    let result = match line.word(2) {
        "done" => Ok(Arc::from(*b"2")),
        "failed" => Err(error("no")),
        other => panic!("{other:?} is no result"),
    };
    let slot = slot(group, target.xid, line.word(1));
    Event::StepCompleted { target, slot, result, reply: line.reply }
}

pub(super) fn say(line: &Line<'_>) -> Event {
    let verb = match line.word(1) {
        "pause" => SagaVerb::Pause,
        "resume" => SagaVerb::Resume,
        "retry" => SagaVerb::Retry,
        "skip" => SagaVerb::Skip,
        "force" => SagaVerb::Force,
        "cancel" => SagaVerb::Cancel,
        other => panic!("{other:?} is no word"),
    };
    Event::OperateRequested(Box::new(Operate {
        target: line.target(0),
        verb,
        step: line.words.get(2).map(|path| Arc::from(*path)),
        result: Arc::from(*b"3"),
        reason: Arc::from("asked"),
        reply: line.reply,
    }))
}
