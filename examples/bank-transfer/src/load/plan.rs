//! Which transfers are run.
//!
//! One sends from one or two accounts to a third, always of different banks. A transfer that is to
//! fail finds a sender short after another leg was done, so that this one has to be undone. Exactly as
//! many fail as the flags say, at random places in the run.
//!
//! Most transfers touch the banks in one order, as a careful service sees to: who waits for a row then
//! holds none that comes later, and there is no deadlock. Some do not, so that there are deadlocks too.
//!
//! Where a bank is in a saga, whoever gives comes first: what was credited can be spent before it is
//! booked back, so nothing is credited before all the money is there. That holds no locks, so there
//! it needs no other order.

use fastrand::Rng;

use crate::args::Mode;
use crate::audit::{Heard, Sent};
use crate::services::order::Leg;
use crate::world::BANKS;

/// What every account holds at first: more than any run can send away.
pub(crate) const OPENING: i64 = 1_000_000_000;
/// The most that one sender sends.
const AMOUNT_MAX: i64 = 100;
/// One in so many transfers touches the banks in any order.
const DISORDERLY_IN: u32 = 10;
/// What no account holds.
const TOO_MUCH: i64 = 1_000_000_000_000;

/// How many transfers, and between how many accounts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) transfers: u32,
    pub(crate) accounts: u32,
    pub(crate) fail_percent: u32,
}

impl Size {
    /// How many transfers are to fail.
    pub(crate) fn failing(self) -> u32 {
        let failing = u64::from(self.transfers) * u64::from(self.fail_percent) / 100;
        u32::try_from(failing).expect("at most a hundred in a hundred")
    }
}

/// In which order a transfer touches the banks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By their names, but for some.
    Banks,
    /// As these, and who gives before who is given to.
    GiversFirst,
}

impl Order {
    pub(crate) fn of(mode: Mode) -> Self {
        match mode {
            Mode::At | Mode::Tcc | Mode::Xa => Order::Banks,
            Mode::Saga | Mode::SagaDeclared | Mode::Mixed | Mode::All => Order::GiversFirst,
        }
    }
}

/// Draws the transfers. `run` makes their ids this run's own.
pub(crate) fn draw(rng: &mut Rng, run: &str, size: Size, order: Order) -> Vec<Sent> {
    let failing = size.failing();
    let mut fails: Vec<bool> = (0..size.transfers).map(|number| number < failing).collect();
    rng.shuffle(&mut fails);
    let drawn = fails.into_iter().enumerate().map(|(number, fails)| Sent {
        id: format!("{run}-{number}"),
        legs: legs(rng, size.accounts, fails, order),
        heard: Heard::Nothing,
        xid: None,
    });
    drawn.collect()
}

fn legs(rng: &mut Rng, accounts: u32, fails: bool, order: Order) -> Vec<Leg> {
    let mut banks = BANKS;
    rng.shuffle(&mut banks);
    let account = |bank| (bank, i64::from(rng.u32(1..=accounts)));
    let [from, also_from, to] = banks.map(account);
    let leg = |(bank, account): (&str, i64), amount| Leg::new(bank, account, amount);
    let (first, second) = (rng.i64(1..=AMOUNT_MAX), rng.i64(1..=AMOUNT_MAX));
    let mut legs = if fails {
        vec![leg(from, -first), leg(also_from, -TOO_MUCH), leg(to, first + TOO_MUCH)]
    } else if rng.bool() {
        vec![leg(from, -first), leg(also_from, -second), leg(to, first + second)]
    } else {
        vec![leg(from, -first), leg(to, first)]
    };
    if rng.u32(0..DISORDERLY_IN) > 0 {
        legs.sort_by(|one, other| one.bank.cmp(&other.bank));
    }
    if order == Order::GiversFirst {
        legs.sort_by_key(|leg| !leg.is_debit());
    }
    if fails && legs[0].amount == -TOO_MUCH {
        // Nothing would be done before it fails.
        legs.swap(0, 1);
    }
    legs
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { transfers: 500, accounts: 10, fail_percent: 20 };

    fn drawn(seed: u64) -> Vec<Sent> {
        draw(&mut Rng::with_seed(seed), "run", SIZE, Order::Banks)
    }

    #[test]
    fn no_transfer_makes_or_loses_money_and_no_bank_is_asked_twice() {
        for transfer in drawn(1) {
            assert_eq!(transfer.legs.iter().map(|leg| leg.amount).sum::<i64>(), 0);
            let mut banks: Vec<&str> = transfer.legs.iter().map(|leg| leg.bank.as_str()).collect();
            banks.sort_unstable();
            banks.dedup();
            assert_eq!(banks.len(), transfer.legs.len());
            assert!(transfer.legs.iter().all(|leg| (1..=10).contains(&leg.account)));
        }
    }

    #[test]
    fn as_many_fail_as_asked_and_never_at_their_first_leg() {
        let drawn = drawn(2);
        let short = |leg: &Leg| leg.amount < -OPENING;
        let failing = drawn.iter().filter(|transfer| transfer.legs.iter().any(short));
        assert_eq!(failing.clone().count(), 100);
        assert!(drawn.iter().all(|transfer| !short(&transfer.legs[0])));
    }

    #[test]
    fn most_but_not_all_touch_the_banks_in_order() {
        let drawn = drawn(5);
        let in_order = |sent: &&Sent| sent.legs.is_sorted_by_key(|leg| leg.bank.as_str());
        let orderly = drawn.iter().filter(in_order).count();
        assert!((400..500).contains(&orderly), "{orderly}");
    }

    #[test]
    fn in_a_saga_nobody_is_given_anything_before_all_have_given() {
        let drawn = draw(&mut Rng::with_seed(6), "run", SIZE, Order::of(Mode::Saga));
        assert!(drawn.iter().all(|sent| sent.legs.is_sorted_by_key(|leg| !leg.is_debit())));
        let short = |sent: &Sent| sent.legs[0].amount < -OPENING;
        assert!(!drawn.iter().any(short));
    }

    #[test]
    fn a_seed_draws_the_same_again() {
        let legs = |seed| drawn(seed).into_iter().map(|sent| sent.legs).collect::<Vec<_>>();
        assert_eq!(legs(3), legs(3));
        assert_ne!(legs(3), legs(4));
    }
}
