//! What is checked in every state of the walk, and at every step.

use super::alphabet::{Alphabet, attach, named_begin};
use super::world::World;
use crate::event::{
    Direction, Event, PhaseOneReport, PhaseOneResult, PhaseTwoAnswer, Target, Timer,
};
use crate::id::{BranchId, NodeId, SessionId, XidNumber};
use crate::invariants;
use crate::rejection::Rejection;
use crate::saga::definition::OnUnknown;
use crate::saga::{LiveSaga, SagaVerb, Slot, StepState};
use crate::step::{Command, Reply, Step, Task, TaskKind};
use crate::transaction::{GlobalTransaction, RollbackCause, Status};

/// More steps than the longest way to the end of a group.
const STEPS_TO_THE_END_MAX: usize = 100;

/// The rules of a state: all that always holds, what a restart would make of it, and that it ends.
pub(super) fn check_state(world: &World, alphabet: &Alphabet) {
    if let Err((rule, why)) = invariants::holds(&world.group) {
        panic!("{rule} does not hold: {why}");
    }
    world.rows.check_recovery(&world.group, world.at());
    check_end(world.clone(), alphabet);
}

/// The rules of a step, and the state that it leads to if that is another one. `Rows::write` has
/// checked that no decision changes (GT-1).
pub(super) fn check_step(world: &World, event: &Event) -> Option<World> {
    let step = world.group.step(event, world.at());
    if step.changes.is_empty() && step.follow_ups.is_empty() {
        check_replies(world, event, world, &step);
        check_unrecorded(world, &step);
        return None;
    }
    let mut next = world.clone();
    let step = next.handle(event.clone());
    assert_eq!(step.violations, Vec::<&str>::new(), "{event:?}");
    check_replies(world, event, &next, &step);
    check_tasks(&next, &step);
    check_repeats(world, event, &step);
    check_unrecorded(&next, &step);

    // The same once more, as a repeat that was under way: whatever it answers, it stores nothing.
    let mut again = next.clone();
    let _ = again.handle(event.clone());
    assert!(next.rows == again.rows, "GT-5: a repeat of {event:?} changed what is stored");
    Some(next)
}

/// Nobody is told another decision than the one that stands, and undo goes newest first (I-10).
fn check_tasks(next: &World, step: &Step) {
    for command in &step.commands {
        let Command::Send(task) = command else { continue };
        let txn = next.group.transaction(task.xid).expect("only what lives is sent");
        let status = txn.row.status;
        if let Some(saga) = &txn.saga {
            check_saga_task(saga, status, task);
            continue;
        }
        let row = &txn.branch(task.branch).expect("only branches of it are sent").row;
        assert_eq!(task.resolution, row.resolution(), "the word in force goes with every task");
        match task.kind {
            TaskKind::Commit => assert_eq!(status, Status::Committing),
            TaskKind::AskPhaseOne => {
                assert!(txn.closing.is_some() || status == Status::Delegated, "{status:?}");
            }
            TaskKind::Rollback { .. } => {
                let of_scope = status == Status::Active && txn.row.has_undone(&row.scopes);
                assert!(of_scope || matches!(status, Status::RollingBack(_)), "{status:?}");
                let newer =
                    txn.branches.iter().rev().take_while(|other| other.row.id != task.branch);
                let mut waiting = newer.filter(|other| other.awaits_phase_two(status));
                assert!(!waiting.any(|other| other.row.resource == task.resource), "{txn:?}");
            }
            TaskKind::Act { .. } | TaskKind::Compensate { .. } => {
                panic!("a branch is no step of a declared saga: {txn:?}")
            }
        }
    }
}

/// What must not be repeated is repeated by nobody but a person. After a restart nobody knows that it was sent.
fn check_repeats(world: &World, event: &Event, step: &Step) {
    let by_hand = matches!(event, Event::OperateRequested(word) if word.verb == SagaVerb::Retry);
    for command in &step.commands {
        let Command::Send(task) = command else { continue };
        let Some((_, saga)) = world.group.saga(task.xid) else { continue };
        let slot = Slot::of_branch(task.branch).expect("a step has a slot");
        let known = saga.attempts.get(&slot).is_some_and(|attempt| attempt.under_way);
        let node = saga.graph.action(slot).expect("only actions are sent");
        if matches!(task.kind, TaskKind::Act { .. }) && known && !by_hand {
            assert_eq!(node.unknown, OnUnknown::Retry, "{task:?} after {event:?}");
        }
    }
}

/// Who was told *unrecorded* was told for ever: no begin of that number is taken any more.
fn check_unrecorded(next: &World, step: &Step) {
    let unrecorded = Status::RolledBack(RollbackCause::Unrecorded);
    let told = step.replies.iter().any(|answer| {
        matches!(&answer.reply,
            Reply::Outcome(told) | Reply::Rejected(Rejection::NotActive(told))
                if told.status == unrecorded)
            || matches!(answer.reply, Reply::Rejected(Rejection::LostState(_)))
    });
    if told && next.group.transaction(XidNumber(1)).is_none() {
        let begun = next.group.step(&named_begin(1.5), next.at());
        assert_eq!(begun.changes, [], "it was told to be rolled back, and begins");
    }
}

/// SG-1: nothing is attempted before what it depends on is over, and nothing undone before what depends
/// on it.
fn check_saga_task(saga: &LiveSaga, status: Status, task: &Task) {
    let slot = Slot::of_branch(task.branch).expect("a step has a slot");
    let place = saga.graph.locate(slot).expect("a step has a place");
    assert!(!saga.row.paused, "{task:?} while it is paused");
    match task.kind {
        TaskKind::Act { .. } => {
            assert_eq!(status, Status::Active);
            assert!(saga.run.is_running(&saga.graph, slot), "{task:?} before its turn");
            for before in &place.node().before {
                let before = place.sibling(*before).slot();
                assert!(!saga.run.is_running(&saga.graph, before), "{task:?} before {before}");
            }
        }
        TaskKind::Compensate { took_place: told, forward_only: _ } => {
            assert!(matches!(status, Status::RollingBack(_)));
            assert!(saga.run.is_undoing(slot), "{task:?} before its turn");
            let took_place = saga.run.row(slot).is_some_and(|row| row.took_place);
            assert_eq!(told, took_place);
            for after in &place.node().after {
                let after = place.sibling(*after).slot();
                let row = saga.run.row(after).map(|row| row.state);
                let undone = matches!(
                    row,
                    None | Some(StepState::Undone | StepState::Failed { certain: true })
                );
                assert!(undone && !saga.run.is_undoing(after), "{task:?} before {after}");
            }
        }
        TaskKind::Commit | TaskKind::AskPhaseOne | TaskKind::Rollback { .. } => {
            panic!("a saga has no {task:?}")
        }
    }
}

/// Whoever asked is answered once, at once or later; nobody else is answered, and nobody is lost.
fn check_replies(world: &World, event: &Event, next: &World, step: &Step) {
    let mut promised = world.outstanding();
    promised.extend(event.reply_to());
    if let Event::WaitCancelled { reply } = event {
        promised.retain(|other| other != reply);
    }
    promised.sort_unstable();
    let mut kept = next.outstanding();
    kept.extend(step.replies.iter().map(|answer| answer.to));
    kept.sort_unstable();
    assert_eq!(promised, kept, "{event:?} answers one request once");
}

/// LV-1: once sessions are attached, participants answer and timers fire, everything ends.
fn check_end(mut world: World, alphabet: &Alphabet) {
    let reply = world.reply();
    for number in [1, 2] {
        let (session, node) = (SessionId(number), NodeId(u128::from(number)));
        if !world.group.sessions.is_open(session) {
            let _ = world.handle(Event::SessionOpened { session, node, reply });
        }
    }
    for event in [attach(1, "a", reply), attach(2, "b", reply)] {
        let _ = world.handle(event);
    }
    world.ticks = alphabet.ticks_max + 3;
    let timers: Vec<Timer> = world
        .group
        .waiting
        .waiters()
        .map(|waiter| Timer::WaitBound(waiter.id))
        .chain(world.group.waiting.claims().map(|claim| Timer::ClaimKept(claim.id)))
        .chain(world.group.transactions().map(|txn| Timer::Deadline(txn.row.number)))
        .collect();
    for timer in timers {
        let _ = world.handle(timer.into());
    }
    for _ in 0..STEPS_TO_THE_END_MAX {
        let Some(xid) = world.group.transactions().next().map(|txn| txn.row.number) else {
            let left = world.group.summary();
            assert_eq!((left.locks, left.waiters, left.unfinished), (0, 0, 0), "{left:?}");
            assert_eq!(world.group.waiting.claims().count(), 0);
            assert_eq!(world.outstanding(), []);
            return;
        };
        go_on(&mut world, xid);
    }
    panic!("LV-1: this does not end: {:?}", world.group.transactions().collect::<Vec<_>>());
}

/// Lets a decided transaction be told and answered: by its timer, or where that tells nobody because
/// a branch is parked, by a person.
fn go_on(world: &mut World, xid: XidNumber) {
    world.ticks += 1;
    let mut sent = sent(&world.handle(Timer::PhaseTwo(xid).into()));
    if sent.is_empty() {
        let parked = world.group.transaction(xid).map_or(0, GlobalTransaction::parked_count);
        assert!(parked > 0, "LV-1: nothing is sent for {xid}");
        let (target, reply) = (Target { xid, store_named: true }, world.reply());
        sent = self::sent(&world.handle(Event::RetryRequested { target, reply }));
    }
    let txn = world.group.transaction(xid).expect("it is live");
    if txn.row.status == Status::Delegated {
        return decide_for(world, xid, sent[0]);
    }
    let direction = direction(txn);
    for branch in sent {
        let answer = PhaseTwoAnswer::Done;
        let resource = world.group.transaction(xid).and_then(|txn| txn.branch(branch));
        let resource = resource.expect("it was sent").row.resource;
        let session = world.group.sessions.first_on(resource).expect("it was sent to a session");
        let _ = world.handle(Event::PhaseTwoAnswered { session, xid, branch, direction, answer });
    }
}

/// A delegated branch is found to have committed.
fn decide_for(world: &mut World, xid: XidNumber, branch: BranchId) {
    let txn = world.group.transaction(xid).expect("it is live");
    let number = txn.branch(branch).expect("it was sent").row.resource;
    let resource = world.group.resources().find(|row| row.number == number);
    let _ = world.handle(Event::PhaseOneReported(Box::new(PhaseOneReport {
        target: Target { xid, store_named: true },
        branch,
        node: NodeId(2),
        resource: resource.expect("it is bound").id.clone(),
        result: PhaseOneResult::Done,
        reply: None,
    })));
}

fn sent(step: &Step) -> Vec<BranchId> {
    let tasks = step.commands.iter().filter_map(|command| match command {
        Command::Send(task) => Some(task.branch),
        Command::ReserveIds => None,
    });
    tasks.collect()
}

fn direction(txn: &GlobalTransaction) -> Direction {
    match txn.row.status {
        Status::Committing => Direction::Commit,
        Status::RollingBack(_) => Direction::Rollback,
        Status::Active | Status::Delegated | Status::Committed | Status::RolledBack(_) => {
            panic!("LV-1: {} is {:?}", txn.row.number, txn.row.status)
        }
    }
}
