//! The walk: every event in every reachable state of a small group.
//!
//! States are told apart by what can matter later ([`world::World::key`]); ids of waits, attempts and
//! the numbers of requests do not. Time is two moments, before and after everything that is due, and
//! within each the timers may fire in any order. In every state and at every step the rules of
//! [`rules`] are checked.
//!
//! The first walk stops and restarts the coordinator in every state as well.
//!
//! The counts of states are asserted, so that a change of the protocol is noticed and looked at.

mod alphabet;
mod rules;
mod sagas;
mod world;

use std::collections::BTreeSet;

use alphabet::Alphabet;
use rustc_hash::FxHashSet;
use world::World;

/// Walks all that can happen; returns how many states there are, and what becomes of transactions.
fn walk(alphabet: &Alphabet) -> (usize, String) {
    let start = World::new(alphabet);
    let mut seen = FxHashSet::default();
    seen.insert(start.key());
    let mut frontier = vec![start];
    let mut fates = BTreeSet::new();
    while let Some(world) = frontier.pop() {
        rules::check_state(&world, alphabet);
        fates.extend(world.group.transactions().map(|txn| txn.row.status));
        let moved = alphabet
            .events(&world)
            .into_iter()
            .filter_map(|event| rules::check_step(&world, &event));
        let later = (world.ticks < alphabet.ticks_max).then(|| world.later());
        let again = alphabet.restarts.then(|| world.restarted()).flatten();
        frontier.extend(moved.chain(later).chain(again).filter(|next| seen.insert(next.key())));
    }
    (seen.len(), format!("{fates:?}"))
}

#[test]
fn everything_in_the_life_of_one_transaction() {
    let fates = "{Active, Committing, RollingBack(Requested), RollingBack(TimedOut), \
                 RollingBack(Vetoed), RollingBack(PhaseOneFailed), RollingBack(ManagerLost)}";
    assert_eq!(walk(&alphabet::one_transaction()), (232_613, fates.to_owned()));
}

#[test]
fn a_scope_rolls_back_while_its_transaction_goes_on() {
    let fates = "{Active, Committing, RollingBack(Requested), RollingBack(TimedOut), \
                 RollingBack(Vetoed), RollingBack(PhaseOneFailed)}";
    assert_eq!(walk(&alphabet::nested_scopes()), (11_236, fates.to_owned()));
}

#[test]
fn somebody_waits_for_a_key_of_a_scope_that_rolls_back() {
    let fates = "{Active, Committing, RollingBack(Requested), RollingBack(Vetoed), \
                 RollingBack(PhaseOneFailed)}";
    assert_eq!(walk(&alphabet::a_scope_and_a_waiter()), (6_023, fates.to_owned()));
}

#[test]
fn a_scope_rolls_back_with_trouble_and_restarts() {
    let fates = "{Active, Committing, RollingBack(Requested), RollingBack(TimedOut), \
                 RollingBack(Vetoed), RollingBack(PhaseOneFailed), RollingBack(ScopeNotUndone)}";
    assert_eq!(walk(&alphabet::a_scope_in_trouble()), (60_503, fates.to_owned()));
}

#[test]
fn a_commit_is_left_to_its_only_branch() {
    let fates = "{Active, Delegated, Committing, RollingBack(Requested), RollingBack(TimedOut), \
                 RollingBack(Vetoed), RollingBack(PhaseOneFailed), RollingBack(ManagerLost)}";
    assert_eq!(walk(&alphabet::a_delegated_commit()), (83_875, fates.to_owned()));
}

#[test]
fn a_session_begins_under_a_number_of_its_own() {
    let fates = "{Active, Committing, RollingBack(Requested), RollingBack(TimedOut), \
                 RollingBack(Vetoed), RollingBack(ManagerLost)}";
    assert_eq!(walk(&alphabet::a_named_begin()), (1_019, fates.to_owned()));
}

#[test]
fn two_transactions_meet_on_two_keys() {
    let fates = "{Active, Committing, RollingBack(Requested), RollingBack(TimedOut), \
                 RollingBack(Vetoed), RollingBack(Deadlock), RollingBack(PhaseOneUnknown), \
                 RollingBack(PhaseOneFailed)}";
    assert_eq!(walk(&alphabet::two_transactions()), (72_255, fates.to_owned()));
}

#[test]
fn three_transactions_wait_for_each_other() {
    let fates = "{Active, Committing, RollingBack(Requested), RollingBack(Vetoed), \
                 RollingBack(Deadlock), RollingBack(PhaseOneFailed)}";
    assert_eq!(walk(&alphabet::three_waiting()), (49_294, fates.to_owned()));
}
