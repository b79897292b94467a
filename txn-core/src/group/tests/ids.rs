//! Numbers come from blocks that were reserved, in order, or not at all.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Begin, Event, IdBlock};
use crate::group::Group;
use crate::id::{NodeId, SessionId, XidNumber};
use crate::policy::Policy;
use crate::recovery::Found;
use crate::rejection::Rejection;
use crate::step::{Command, Reply, ReplyTo, Step};
use crate::time::Now;

fn reply() -> ReplyTo {
    ReplyTo { session: SessionId(0), correlation: 0 }
}

fn group(policy: Policy) -> Group {
    let at = Now::default();
    Group::recover(policy, XidNumber(0), Found::default(), at).0
}

fn reserve(group: &mut Group, xids: (u64, u64), branches: (u64, u64)) {
    let block = |(first, end)| IdBlock { first, end };
    let event = Event::IdsReserved { xids: block(xids), branches: block(branches) };
    let _ = group.handle(event, Now::default());
}

fn begin(group: &mut Group) -> Step {
    let begin = Begin {
        name: Arc::from(""),
        timeout: Duration::from_secs(60),
        node: None,
        idempotency_key: None,
        outer: None,
        reply: reply(),
    };
    group.handle(Event::BeginRequested(Box::new(begin)), Now::default())
}

fn begun(step: &Step) -> u64 {
    match step.replies[0].reply {
        Reply::Begun { xid, .. } => xid.0,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn without_reserved_numbers_nothing_begins_and_more_are_asked_for_once() {
    let mut group = group(Policy::default());
    let step = begin(&mut group);
    assert_eq!(step.replies[0].reply, Reply::Rejected(Rejection::NotReady));
    assert_eq!(step.commands, [Command::ReserveIds]);
    assert_eq!(begin(&mut group).commands, []);

    reserve(&mut group, (10, 12), (1, 2));
    let step = begin(&mut group);
    assert_eq!((begun(&step), step.commands), (10, vec![Command::ReserveIds]));
}

/// Also when the spare block was begun upon by nobody when a third one comes.
#[test]
fn blocks_are_used_in_the_order_in_which_they_were_reserved() {
    let mut group = group(Policy::default());
    reserve(&mut group, (10, 12), (1, 2));
    reserve(&mut group, (20, 21), (2, 3));
    let first = [begin(&mut group), begin(&mut group)];
    reserve(&mut group, (30, 32), (3, 4));
    let then = [begin(&mut group), begin(&mut group), begin(&mut group)];
    let numbers: Vec<u64> = first.iter().chain(&then).map(begun).collect();
    assert_eq!(numbers, [10, 11, 20, 30, 31]);
}

#[test]
fn branch_ids_are_handed_out_once_and_never_beyond_what_is_reserved() {
    let mut group = group(Policy { branch_id_block: 3, ..Policy::default() });
    reserve(&mut group, (1, 2), (100, 105));
    let (session, node) = (SessionId(1), NodeId(1));
    let open = Event::SessionOpened { session, node, reply: reply() };
    let opened = group.handle(open, Now::default()).replies[0].reply.clone();
    let mut ask = || {
        let event = Event::BranchIdsRequested { session, reply: reply() };
        group.handle(event, Now::default()).replies[0].reply.clone()
    };
    let block = |first, end| Reply::BranchIds(IdBlock { first, end });
    assert_eq!(opened, block(100, 103));
    assert_eq!(ask(), block(103, 105));
    assert_eq!(ask(), Reply::Rejected(Rejection::NotReady));
}
