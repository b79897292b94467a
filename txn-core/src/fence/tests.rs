//! The table, whole; and every order of calls, with every crash between them.

use std::collections::BTreeSet;

use super::*;

const ROWS: [Row; 6] =
    [Row::None, Row::Open, Row::Spent, Row::Undone, Row::Tombstone, Row::Untrusted];

const CANCEL: Call = Call::Cancel { phase_one_done: false };
const CANCEL_DONE: Call = Call::Cancel { phase_one_done: true };
const ASK: Call = Call::Ask { attempt: Attempt::Over };

fn compensate(phase_one_done: bool, attempt: Attempt, step: Step) -> Call {
    Call::Compensate { phase_one_done, attempt, step }
}

#[test]
fn every_call_meets_every_row_as_the_table_says() {
    use Verdict::*;
    let both = Park(Fault::Both);
    let lost = Park(Fault::EvidenceLost);
    let tampered = Park(Fault::EvidenceTampered);
    let forward = Park(Fault::ForwardOnly);
    let [duplicate, rolled_back, untrusted] =
        [Refusal::Duplicate, Refusal::RolledBack, Refusal::Untrusted].map(Refuse);
    let (over, may_run) = (Attempt::Over, Attempt::MayRun);
    let (able, only) = (Step::Compensable, Step::ForwardOnly);
    // No row, open, spent, undone, tombstone, untrusted.
    let table = [
        (Call::Try, [Run, duplicate, duplicate, rolled_back, rolled_back, untrusted]),
        (Call::Act, [Run, AlreadyDone, AlreadyDone, rolled_back, rolled_back, untrusted]),
        (Call::Confirm, [lost, Run, AlreadyDone, both, both, tampered]),
        (CANCEL, [Bury, Run, both, AlreadyDone, AlreadyDone, tampered]),
        (CANCEL_DONE, [lost, Run, both, AlreadyDone, AlreadyDone, tampered]),
        (compensate(false, over, able), [Bury, Run, both, AlreadyDone, AlreadyDone, tampered]),
        (compensate(false, may_run, able), [Later, Run, both, AlreadyDone, AlreadyDone, tampered]),
        (compensate(true, over, able), [lost, Run, both, AlreadyDone, AlreadyDone, tampered]),
        (compensate(true, may_run, able), [lost, Run, both, AlreadyDone, AlreadyDone, tampered]),
        (compensate(false, over, only), [Bury, forward, both, AlreadyDone, AlreadyDone, tampered]),
        (
            compensate(false, may_run, only),
            [Later, forward, both, AlreadyDone, AlreadyDone, tampered],
        ),
        (compensate(true, over, only), [lost, forward, both, AlreadyDone, AlreadyDone, tampered]),
        (
            compensate(true, may_run, only),
            [lost, forward, both, AlreadyDone, AlreadyDone, tampered],
        ),
        (ASK, [Bury, AlreadyDone, AlreadyDone, NotDone, NotDone, tampered]),
        (
            Call::Ask { attempt: may_run },
            [Later, AlreadyDone, AlreadyDone, NotDone, NotDone, tampered],
        ),
    ];
    for (call, verdicts) in table {
        for (row, verdict) in ROWS.into_iter().zip(verdicts) {
            assert_eq!(judge(row, call), verdict, "{call:?} at {row:?}");
        }
    }
}

/// A branch and its database, as local transactions leave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    row: Row,
    phase_ones: u8,
    confirms: u8,
    undos: u8,
    /// A rollback was answered as complete.
    rolled_back: bool,
    /// A commit was answered as complete.
    confirmed: bool,
    /// The coordinator was told that phase one failed.
    told_failed: bool,
}

/// Where a call stops.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// Before its local commit: nothing stays.
    Before,
    /// After its local commit, before its answer.
    After,
    Never,
}

impl World {
    const NEW: World = World {
        row: Row::None,
        phase_ones: 0,
        confirms: 0,
        undos: 0,
        rolled_back: false,
        confirmed: false,
        told_failed: false,
    };

    fn after(self, call: Call, stop: Stop) -> World {
        let verdict = judge(self.row, call);
        let mut then = self;
        match (verdict, call) {
            (Verdict::Run, Call::Try | Call::Act) => {
                then.row = Row::Open;
                then.phase_ones += 1;
            }
            (Verdict::Run, Call::Confirm) => {
                then.row = Row::Spent;
                then.confirms += 1;
            }
            (Verdict::Run, Call::Cancel { .. } | Call::Compensate { .. }) => {
                then.row = Row::Undone;
                then.undos += 1;
            }
            (Verdict::Run, Call::Ask { .. }) => panic!("a question runs nothing"),
            (Verdict::Bury, _) => then.row = Row::Tombstone,
            (
                Verdict::AlreadyDone
                | Verdict::NotDone
                | Verdict::Later
                | Verdict::Refuse(_)
                | Verdict::Park(_),
                _,
            ) => {}
        }
        match stop {
            Stop::Before => return self,
            Stop::After => return then,
            Stop::Never => {}
        }
        let done = matches!(verdict, Verdict::Run | Verdict::AlreadyDone | Verdict::Bury);
        match call {
            Call::Confirm => then.confirmed |= done,
            Call::Cancel { .. } | Call::Compensate { .. } => then.rolled_back |= done,
            Call::Ask { .. } => {
                then.told_failed |= matches!(verdict, Verdict::Bury | Verdict::NotDone);
            }
            Call::Try | Call::Act => {}
        }
        then
    }

    fn check(&self, before: &World, call: Call) {
        let at = format!("{before:?} --{call:?}--> {self:?}");
        assert!(self.phase_ones <= 1, "phase one took effect twice: {at}");
        assert!(self.confirms <= self.phase_ones, "confirmed what was not tried: {at}");
        assert!(self.undos <= self.phase_ones, "undone what was not done: {at}");
        assert!(self.confirms + self.undos <= 1, "two effects of phase two: {at}");
        if self.rolled_back {
            assert_eq!(self.undos, self.phase_ones, "rolled back, and an effect stayed: {at}");
            assert_eq!(self.confirms, 0, "rolled back and confirmed: {at}");
        }
        if self.confirmed {
            assert_eq!((self.phase_ones, self.confirms), (1, 1), "confirmed without effect: {at}");
        }
        if self.told_failed {
            assert_eq!(self.undos, self.phase_ones, "failed, and an effect stayed: {at}");
        }
    }
}

/// Every call, also those that a coordinator in its senses would not make together.
fn calls() -> Vec<Call> {
    let mut calls = vec![Call::Try, Call::Act, Call::Confirm, CANCEL, CANCEL_DONE];
    for attempt in [Attempt::Over, Attempt::MayRun] {
        calls.push(Call::Ask { attempt });
        for step in [Step::Compensable, Step::ForwardOnly] {
            calls.extend([false, true].map(|done| compensate(done, attempt, step)));
        }
    }
    calls
}

/// Walks every reachable state by every call, stopped at every point. The states are few, so the walk
/// covers interleavings of any length.
#[test]
fn whatever_comes_in_whatever_order_at_most_one_of_confirm_and_cancel_takes_effect_and_once() {
    let mut seen = BTreeSet::from([World::NEW]);
    let mut next = vec![World::NEW];
    while let Some(world) = next.pop() {
        for call in calls() {
            for stop in [Stop::Before, Stop::After, Stop::Never] {
                let then = world.after(call, stop);
                then.check(&world, call);
                if seen.insert(then) {
                    next.push(then);
                }
            }
        }
    }
    assert_eq!(seen.len(), 12, "the space of states changed");
}

/// A call that came to its end changes nothing when it comes again, and a lost answer is given then.
#[test]
fn a_repeated_call_changes_nothing_and_says_the_same() {
    for row in ROWS {
        for call in calls() {
            let world = World { row, ..World::NEW };
            let then = world.after(call, Stop::After);
            let again = then.after(call, Stop::After);
            assert_eq!(then, again, "{call:?} at {row:?}");
        }
    }
}

/// What is not known to have ended is never passed over: only a tombstone or an undone row is silent.
#[test]
fn a_rollback_is_complete_only_over_a_row_that_keeps_phase_one_out() {
    for row in ROWS {
        for call in calls() {
            let (Call::Cancel { .. } | Call::Compensate { .. }) = call else { continue };
            let world = World { row, ..World::NEW };
            let then = world.after(call, Stop::Never);
            if then.rolled_back {
                let late = [Call::Try, Call::Act].map(|late| judge(then.row, late));
                assert_eq!(late, [Verdict::Refuse(Refusal::RolledBack); 2], "{call:?} at {row:?}");
            }
        }
    }
}
