//! Who gets a task, and what a link keeps, with no group and no wire.

use std::sync::Arc;

use pactum_core::id::{BranchId, NodeId, ResourceNumber, XidNumber};
use pactum_core::step::{Change, Reply, ReplyTo, Task, TaskKind, Volatile, Write};
use pactum_core::transaction::{BranchMode, ResourceRow};

use super::*;

const RESOURCE: ResourceNumber = ResourceNumber(1);

struct Bench {
    dispatch: Dispatch,
    links: Arc<Links>,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new(options: SessionOptions) -> Bench {
        let (links, metrics) = (Arc::<Links>::default(), Arc::<Metrics>::default());
        let row = ResourceRow { number: RESOURCE, id: "bank".parse().unwrap(), uid: None };
        let mut dispatch = Dispatch {
            links: links.clone(),
            calls: Arc::default(),
            metrics: metrics.clone(),
            options,
            seats: FxHashMap::default(),
            places: FxHashMap::default(),
            touched: Vec::new(),
            answers: Vec::new(),
        };
        dispatch.note(&Change::Stored(Write::PutResource(row)));
        Bench { dispatch, links, metrics }
    }

    /// A session of this node that works on the resource and granted these credits.
    fn session(&mut self, node: u128, credits: u32) -> Arc<SessionLink> {
        let link = self.links.open(8);
        let opened = Volatile::SessionOpened(link.id(), NodeId(node));
        self.dispatch.note(&Change::Volatile(opened));
        self.dispatch.note(&Change::Volatile(Volatile::SessionAttached(link.id(), RESOURCE)));
        link.grant(credits, 1000);
        link
    }

    fn send(&mut self, node: u128, branches: std::ops::Range<u64>) {
        for branch in branches {
            self.dispatch.send(task(node, branch));
        }
        self.dispatch.flush();
    }
}

fn task(node: u128, branch: u64) -> Task {
    Task {
        kind: TaskKind::Commit,
        xid: XidNumber(1),
        branch: BranchId(branch),
        resource: RESOURCE,
        node: NodeId(node),
        mode: BranchMode::At,
        attempt: 1,
        action: None,
        resolution: None,
        result: None,
    }
}

fn taken(link: &SessionLink) -> Vec<u64> {
    let (mut answers, mut work) = (Vec::new(), Vec::new());
    link.take(&mut answers, &mut work, 1000, usize::MAX);
    work.iter().map(branch_of).collect()
}

/// A question has its number there.
fn branch_of(work: &Work) -> u64 {
    match work {
        Work::Task(task, _) => task.branch.0,
        Work::Question(question) => question.branch_id,
    }
}

fn answered(link: &SessionLink) -> Vec<u64> {
    let (mut answers, mut work) = (Vec::new(), Vec::new());
    link.take(&mut answers, &mut work, 1000, usize::MAX);
    let correlation = |out: Out| match out {
        Out::Reply { correlation, .. }
        | Out::Error { correlation, .. }
        | Out::Opinion { correlation, .. } => correlation,
        Out::Pong { .. } | Out::Ping | Out::Goodbye => 0,
    };
    answers.into_iter().map(correlation).collect()
}

#[test]
fn work_goes_to_the_registering_node_else_in_turn() {
    let mut bench = Bench::new(SessionOptions::default());
    let (first, second) = (bench.session(1, 100), bench.session(2, 100));
    bench.send(2, 0..3);
    assert_eq!((taken(&first), taken(&second)), (vec![], vec![0, 1, 2]));
    bench.send(9, 0..4);
    assert_eq!((taken(&first).len(), taken(&second).len()), (2, 2));
    bench.dispatch.note(&Change::Volatile(Volatile::SessionClosed(second.id())));
    bench.send(2, 0..2);
    assert_eq!((taken(&first), taken(&second)), (vec![0, 1], vec![]));
    assert_eq!(bench.metrics.stats().work_dropped, 0);
}

#[test]
fn work_waits_for_credits_and_is_dropped_beyond_the_buffer() {
    let mut bench = Bench::new(SessionOptions { work_queued_max: 3, ..SessionOptions::default() });
    let link = bench.session(1, 1);
    bench.send(1, 0..5);
    assert_eq!(bench.metrics.stats().work_dropped, 2);
    assert_eq!(taken(&link), [0]);
    assert_eq!(taken(&link), [] as [u64; 0]);
    link.grant(5, 1000);
    assert_eq!(taken(&link), [1, 2]);
    // A full session is passed over, its own node's as well.
    let other = bench.session(2, 0);
    bench.send(1, 0..4);
    assert_eq!((link.work_queued(), other.work_queued()), (3, 1));
}

#[test]
fn work_for_nobody_is_dropped() {
    let mut bench = Bench::new(SessionOptions::default());
    bench.send(1, 0..2);
    assert_eq!(bench.metrics.stats().work_dropped, 2);
}

#[test]
fn a_session_that_takes_nothing_is_ended() {
    let mut bench =
        Bench::new(SessionOptions { answers_queued_max: 2, ..SessionOptions::default() });
    let link = bench.session(1, 0);
    for correlation in 0..3 {
        bench.dispatch.answer(ReplyTo { session: link.id(), correlation }, Reply::KeysFree);
    }
    assert!(!link.ending().is_cancelled(), "answers leave at the flush");
    bench.dispatch.flush();
    assert!(link.ending().is_cancelled());
    assert_eq!(bench.metrics.stats().sessions_overflowed, 1);
}

/// An answer that was released stays true; who was not answered hears *unknown*, once.
#[test]
fn a_reload_tells_every_open_request_unknown_and_no_other() {
    let mut bench = Bench::new(SessionOptions::default());
    let link = bench.session(1, 0);
    assert_eq!(link.admit([1, 2, 3].into_iter()), []);
    bench.dispatch.answer(ReplyTo { session: link.id(), correlation: 2 }, Reply::KeysFree);
    bench.dispatch.flush();
    link.cancel(3);
    bench.dispatch.forget_all_unknown();
    assert_eq!(answered(&link), [2, 1]);
    assert!(link.ending().is_cancelled());
    // What is computed later for a session that is over goes nowhere.
    bench.dispatch.answer(ReplyTo { session: link.id(), correlation: 1 }, Reply::KeysFree);
    bench.dispatch.flush();
    assert_eq!(answered(&link), [] as [u64; 0]);
}

#[test]
fn requests_are_admitted_up_to_the_window_and_once() {
    let links = Links::default();
    let link = links.open(2);
    assert_eq!(link.admit([1, 1].into_iter()), [(1, Excess::Repeated)]);
    assert_eq!(link.admit([2, 3].into_iter()), [(3, Excess::Window)]);
    let outs = &mut vec![Out::Reply { correlation: 1, reply: Reply::KeysFree }];
    assert!(link.deliver(outs, 10));
    assert_eq!(link.admit([3].into_iter()), [(3, Excess::Window)], "not before it has left");
    assert_eq!(answered(&link), [1]);
    assert_eq!(link.admit([3].into_iter()), []);
}

#[tokio::test]
async fn a_dropped_call_is_off_the_list_and_the_others_hear() {
    let calls = Calls::default();
    let dropped = calls.open();
    let mut kept = calls.open();
    let mut unknown = calls.open();
    drop(dropped);
    assert_eq!(calls.count(), 2);
    calls.answer(&mut vec![(1, Reply::KeysFree), (2, Reply::KeysFree)]);
    assert_eq!(kept.heard().await, Heard::Reply(Reply::KeysFree));
    calls.end_all_unknown();
    assert_eq!(unknown.heard().await, Heard::Unknown);
}
