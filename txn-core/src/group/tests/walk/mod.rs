//! The walk: every event in every reachable state of a small group.
//!
//! States are told apart by what can matter later ([`world::World::key`]); ids of waits, attempts and
//! the numbers of requests do not. Time is two moments, before and after everything that is due, and
//! within each the timers may fire in any order. In every state and at every step the rules of
//! [`rules`] are checked.
//!
//! The counts of states are asserted, so that a change of the protocol is noticed and looked at.

mod alphabet;
mod rules;
mod world;

use std::collections::BTreeSet;

use alphabet::Alphabet;
use rustc_hash::FxHashSet;
use world::World;

/// Walks all that can happen; returns how many states and steps there are.
fn walk(alphabet: &Alphabet) -> (usize, usize) {
    let start = World::new(alphabet);
    let mut seen = FxHashSet::default();
    seen.insert(start.key());
    let mut frontier = vec![start];
    let mut steps = 0;
    let mut marks = BTreeSet::new();
    while let Some(world) = frontier.pop() {
        rules::check_state(&world, alphabet);
        for event in alphabet.events(&world) {
            steps += 1;
            let next = rules::check_step(&world, &event);
            if seen.insert(next.key()) {
                marks.extend(next.group.transactions().map(|txn| txn.row.status));
                frontier.push(next);
            }
        }
    }
    eprintln!("{} states, {steps} steps, {marks:?}", seen.len());
    (seen.len(), steps)
}

#[test]
fn everything_in_the_life_of_one_transaction() {
    assert_eq!(walk(&alphabet::one_transaction()), (0, 0));
}

#[test]
fn two_transactions_meet_on_two_keys() {
    assert_eq!(walk(&alphabet::two_transactions()), (0, 0));
}

#[test]
fn three_transactions_wait_for_each_other() {
    assert_eq!(walk(&alphabet::three_waiting()), (0, 0));
}
