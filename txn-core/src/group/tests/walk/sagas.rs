//! The walk over declared sagas: every answer, time-out, word, signal and restart in every state.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use serde_json::{Value, json};

use super::alphabet::{self, Alphabet, attach};
use super::rules;
use super::world::World;
use crate::event::{ActAnswer, Direction, Event, Operate, PhaseTwoAnswer, Submit, Target, Timer};
use crate::id::{NodeId, SessionId, XidNumber};
use crate::invariants;
use crate::saga::{Defined, SagaVerb, Slot, StepError, StepState};
use crate::step::ReplyTo;
use crate::transaction::{ParkReason, Status};

const SAGA: XidNumber = XidNumber(1);
/// More steps than the longest way to the end of a saga.
const STEPS_TO_THE_END_MAX: usize = 60;

/// A saga, and what may happen to it.
struct Cast {
    steps: Value,
    timeout: bool,
    words: &'static [SagaVerb],
    restarts: bool,
    sessions_go: bool,
    ongoing: bool,
}

fn start(cast: &Cast) -> World {
    let mut world = World::new(&nobody());
    let mut definition = json!({ "saga": "s", "version": 1, "steps": cast.steps });
    if cast.timeout {
        definition["timeout"] = json!("1h");
    }
    let defined = Defined::read(definition.to_string().as_bytes(), &|_| None).expect("it is fine");
    let reply = world.reply();
    let _ = world.handle(Event::DefineRequested { defined: Arc::new(defined), reply });
    let submit = submit(reply);
    let _ = world.handle(with_offers(1, "a", reply));
    let _ = world.handle(submit);
    world
}

fn nobody() -> Alphabet {
    Alphabet { timeouts: vec![], parts: vec![], ..alphabet::one_transaction() }
}

fn with_offers(session: u64, resource: &str, reply: ReplyTo) -> Event {
    let mut event = attach(session, resource, reply);
    if let Event::AttachRequested { proofs, .. } = &mut event {
        let offer = |action: &str| crate::event::Offer { action: action.into(), compensable: true };
        proofs[0].offers = vec![offer("x"), offer("y"), offer("z")];
    }
    event
}

fn submit(reply: ReplyTo) -> Event {
    Event::SubmitRequested(Box::new(Submit {
        name: "s".into(),
        version: None,
        input: Arc::from(*b"null"),
        idempotency_key: Some("key".into()),
        wait: None,
        reply,
    }))
}

fn target() -> Target {
    Target { xid: SAGA, store_named: true }
}

fn events(cast: &Cast, world: &World) -> Vec<Event> {
    let reply = world.reply();
    let mut events = vec![submit(reply), Timer::Deadline(SAGA).into()];
    if let Some((_, saga)) = world.group.saga(SAGA) {
        for slot in (0..saga.graph.slots()).map(Slot) {
            if saga.graph.action(slot).is_some() {
                answers(cast, slot, reply, &mut events);
            } else {
                let (path, payload) = (saga.graph.path(slot).into(), Arc::from(*b"1"));
                events.push(Event::SignalReceived { target: target(), path, payload, reply });
            }
            events.push(Timer::Step(SAGA, slot).into());
            let steps = [None, Some(Arc::from(saga.graph.path(slot)))];
            for (verb, step) in
                cast.words.iter().flat_map(|verb| steps.clone().map(|step| (verb, step)))
            {
                let (reason, result) = ("why".into(), Arc::from(*b"9"));
                let verb = *verb;
                let word = Operate { target: target(), verb, step, result, reason, reply };
                events.push(Event::OperateRequested(Box::new(word)));
            }
        }
    }
    if cast.sessions_go {
        let session = SessionId(1);
        events.push(match world.group.sessions.is_open(session) {
            true => Event::SessionClosed { session },
            false => Event::SessionOpened { session, node: NodeId(1), reply },
        });
        events.push(with_offers(1, "a", reply));
        events.push(Timer::Resume(crate::id::ResourceNumber(1), XidNumber(0)).into());
    }
    events
}

fn answers(cast: &Cast, slot: Slot, reply: ReplyTo, events: &mut Vec<Event>) {
    let error = || Arc::new(StepError { code: "no".into(), message: "no".into() });
    let mut said = vec![
        ActAnswer::Done { result: Arc::from(*b"1") },
        ActAnswer::Failed { error: error(), is_final: false },
        ActAnswer::Failed { error: error(), is_final: true },
        ActAnswer::Unknown { error: error() },
        ActAnswer::Later { after: None, reason: None },
    ];
    if cast.ongoing {
        said.push(ActAnswer::Ongoing { ask_after: None });
        let result = Ok(Arc::from(*b"2"));
        events.push(Event::StepCompleted { target: target(), slot, result, reply });
    }
    let session = SessionId(1);
    events.extend(said.into_iter().map(|answer| Event::StepAnswered {
        session,
        xid: SAGA,
        slot,
        answer,
    }));
    let undone = [
        PhaseTwoAnswer::Done,
        PhaseTwoAnswer::Later { after: None, reason: None },
        PhaseTwoAnswer::Parked { reason: ParkReason::HandlerFatal, report: Arc::from(*b"r") },
    ];
    let (branch, direction) = (slot.branch(), Direction::Rollback);
    events.extend(undone.map(|answer| Event::PhaseTwoAnswered {
        session,
        xid: SAGA,
        branch,
        direction,
        answer,
    }));
}

fn walk(cast: &Cast) -> (usize, String) {
    let start = start(cast);
    let mut seen = FxHashSet::default();
    seen.insert(start.key());
    let mut frontier = vec![start];
    let mut fates = std::collections::BTreeSet::new();
    while let Some(world) = frontier.pop() {
        if let Err((rule, why)) = invariants::holds(&world.group) {
            panic!("{rule} does not hold: {why}");
        }
        world.rows.check_recovery(&world.group, world.at());
        check_end(world.clone());
        fates.extend(world.rows.transactions.values().map(|row| row.status));
        let moved = events(cast, &world);
        let moved: Vec<World> =
            moved.iter().filter_map(|event| rules::check_step(&world, event)).collect();
        let later = (world.ticks < 1).then(|| world.later());
        let again = cast.restarts.then(|| world.restarted()).flatten();
        let next = moved.into_iter().chain(later).chain(again);
        frontier.extend(next.filter(|next| seen.insert(next.key())));
    }
    (seen.len(), format!("{fates:?}"))
}

/// Once faults stop and a person does what is asked for, it ends, and no action is left that may have
/// happened and is neither wanted nor undone (SG-1, LV-1).
fn check_end(mut world: World) {
    let reply = world.reply();
    let (session, node) = (SessionId(9), NodeId(9));
    let _ = world.handle(Event::SessionOpened { session, node, reply });
    let mut attach = with_offers(1, "a", reply);
    if let Event::AttachRequested { session: own, .. } = &mut attach {
        *own = session;
    }
    let _ = world.handle(attach);
    for _ in 0..STEPS_TO_THE_END_MAX {
        let Some((txn, saga)) = world.group.saga(SAGA) else {
            assert!(world.rows.transactions[&SAGA].status.is_ended());
            return;
        };
        let back = matches!(txn.row.status, Status::RollingBack(_));
        let word = |verb, step: Option<String>| {
            let (reason, result) = (Arc::from("end"), Arc::from(*b"0"));
            let step = step.map(Arc::from);
            Event::OperateRequested(Box::new(Operate {
                target: target(),
                verb,
                step,
                result,
                reason,
                reply,
            }))
        };
        let mut next = Vec::new();
        if saga.row.paused {
            next.push(word(SagaVerb::Resume, None));
        }
        for slot in (0..saga.graph.slots()).map(Slot) {
            let state = saga.run.row(slot).map(|row| row.state);
            let path = saga.graph.path(slot);
            if matches!(state, Some(StepState::Parked(_) | StepState::UndoParked(_))) {
                next.push(word(SagaVerb::Retry, Some(path.clone())));
            }
            next.push(Timer::Step(SAGA, slot).into());
            if saga.graph.action(slot).is_none() {
                let (path, payload) = (path.into(), Arc::from(*b"1"));
                next.push(Event::SignalReceived { target: target(), path, payload, reply });
            } else if back {
                let (branch, direction) = (slot.branch(), Direction::Rollback);
                let answer = PhaseTwoAnswer::Done;
                next.push(Event::PhaseTwoAnswered {
                    session,
                    xid: SAGA,
                    branch,
                    direction,
                    answer,
                });
            } else {
                let answer = ActAnswer::Done { result: Arc::from(*b"1") };
                next.push(Event::StepAnswered { session, xid: SAGA, slot, answer });
            }
        }
        next.push(Timer::Resume(crate::id::ResourceNumber(1), XidNumber(0)).into());
        for event in next {
            let _ = world.handle(event);
        }
        world.ticks += 1;
    }
    panic!("it does not end: {:?}", world.group.saga(SAGA));
}

fn action(id: &str) -> Value {
    json!({ "id": id, "action": id, "resource": "a", "retry": { "attempts": 2 } })
}

#[test]
fn a_saga_of_two_steps_with_every_trouble() {
    let cast = Cast {
        steps: json!([action("x"), action("y")]),
        timeout: true,
        words: &[],
        restarts: true,
        sessions_go: true,
        ongoing: true,
    };
    let fates = "{Active, Committed, RollingBack(TimedOut), RollingBack(StepFailed), RolledBack(TimedOut), RolledBack(StepFailed)}";
    assert_eq!(walk(&cast), (1_542, fates.to_owned()));
}

#[test]
fn a_saga_with_two_sides_and_an_event() {
    let mut z = action("z");
    z["after"] = json!(["x", "e"]);
    let cast = Cast {
        steps: json!([action("x"), { "id": "e", "after": [], "wait": { "event": true } }, z]),
        timeout: false,
        words: &[SagaVerb::Cancel],
        restarts: true,
        sessions_go: false,
        ongoing: false,
    };
    let fates = "{Active, Committed, RollingBack(Requested), RollingBack(StepFailed), RolledBack(Requested), RolledBack(StepFailed)}";
    assert_eq!(walk(&cast), (219, fates.to_owned()));
}

#[test]
fn a_saga_with_an_operator_who_says_everything() {
    let mut x = action("x");
    x["recovery"] = json!("forward");
    let cast = Cast {
        steps: json!([x, action("y")]),
        timeout: false,
        words: &[
            SagaVerb::Pause,
            SagaVerb::Resume,
            SagaVerb::Retry,
            SagaVerb::Skip,
            SagaVerb::Force,
            SagaVerb::Cancel,
        ],
        restarts: true,
        sessions_go: false,
        ongoing: false,
    };
    let fates = "{Active, Committed, RollingBack(Requested), RollingBack(StepFailed), RolledBack(Requested), RolledBack(StepFailed)}";
    assert_eq!(walk(&cast), (1_880, fates.to_owned()));
}

#[test]
fn a_saga_whose_step_must_not_be_repeated() {
    let mut x = action("x");
    x["unknown"] = json!("compensate");
    let cast = Cast {
        steps: json!([x]),
        timeout: false,
        words: &[SagaVerb::Pause, SagaVerb::Resume],
        restarts: true,
        sessions_go: true,
        ongoing: true,
    };
    let fates = "{Active, Committed, RollingBack(StepFailed), RolledBack(StepFailed)}";
    assert_eq!(walk(&cast), (692, fates.to_owned()));
}
