//! The client against a real coordinator in memory: what it counts is what happened.

use pactum_coordinator::Embedded;
use pactum_core::id::NodeId;
use pactum_proto::v1;

use super::{Ending, Keys, Load, Session, Stop, databases};
use crate::client::load::run;

const LOAD: Load = Load {
    slots: 4,
    branches: 2,
    keys: Keys::OfItsOwn,
    ending: Ending::Commit(v1::Wait::Completed),
    stop: Stop::Count(20),
};

#[tokio::test]
async fn a_load_ends_what_it_begins_and_the_session_can_be_used_again() {
    let coordinator = Embedded::start().await.unwrap();
    let mut session = Session::open(&coordinator.url(), NodeId(7), databases()).await.unwrap();
    for round in 1..=2 {
        let tally = run(&mut session, LOAD).await.unwrap();
        assert_eq!((tally.ended, tally.only_decided), (20, 0));
        assert_eq!(tally.latencies.count(), 20);
        // Begin, two registrations, commit, two answers to work; and nothing twice.
        assert_eq!(tally.received.frames, 20 * 6);
        assert_eq!(coordinator.server().unwrap().stats().committed, 20 * round);
    }
}

#[tokio::test]
async fn a_hot_key_is_granted_in_the_order_of_asking() {
    let coordinator = Embedded::start().await.unwrap();
    let mut session = Session::open(&coordinator.url(), NodeId(7), databases()).await.unwrap();
    let load = Load { slots: 8, branches: 1, keys: Keys::Hot, ..LOAD };
    let tally = run(&mut session, load).await.unwrap();
    assert_eq!((tally.ended, tally.out_of_order), (20, 0));
}

#[tokio::test]
async fn what_is_left_stays_active() {
    let coordinator = Embedded::start().await.unwrap();
    let mut session = Session::open(&coordinator.url(), NodeId(7), databases()).await.unwrap();
    let tally = run(&mut session, Load { ending: Ending::Leave, ..LOAD }).await.unwrap();
    assert_eq!(tally.ended, 20);
    let summary = coordinator.server().unwrap().summary().await.unwrap();
    // A row for each branch, and the intent on the table of each of the two resources.
    assert_eq!((summary.active, summary.locks), (20, 42));
}
