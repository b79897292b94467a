//! What a step costs: time for each two-branch transaction beside a thousand and beside a million
//! active ones, and memory for each active transaction with one branch and one lock.
//!
//! ```text
//! cargo run --release -p pactum-core --example step_cost
//! ```
//!
//! Through `Group::handle` alone: no store, no wire. Each transaction is begin, two registrations
//! with one row lock each, a commit that names both, and two phase-two answers. The history is
//! pruned as it goes, so that it is as long in both runs.

#![allow(clippy::print_stdout, reason = "it prints its measurement")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use pactum_core::event::{
    Begin, Direction, Event, IdBlock, PhaseTwoAnswer, Register, Target, Timer,
};
use pactum_core::group::Group;
use pactum_core::id::{BranchId, NodeId, ScopeId, SessionId, XidNumber};
use pactum_core::lock::LockRequest;
use pactum_core::lock::key::{KeyKind, KeyValue, LockKey, LockMode};
use pactum_core::policy::Policy;
use pactum_core::recovery::Found;
use pactum_core::step::{Reply, ReplyTo, Step};
use pactum_core::time::{Now, Timestamp, WallTime};
use pactum_core::transaction::{BranchMode, Caller, Wait};

const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
/// Transactions in a round. Rounds are short and take turns, and the best of each counts: the machine
/// has other things to do, and they only ever add.
const MEASURED: u32 = 20_000;
const ROUNDS: u32 = 40;

fn main() {
    let mut few = Bench::new(FEW);
    let before = resident_bytes();
    let mut many = Bench::new(MANY);
    let bytes = resident_bytes().saturating_sub(before) / MANY;

    let (mut best_few, mut best_many) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_few = best_few.min(few.round());
        best_many = best_many.min(many.round());
    }
    let each = |best: Duration| best.as_secs_f64() * 1e9 / f64::from(MEASURED);
    let (few, many) = (each(best_few), each(best_many));
    println!("{FEW:>9} active: {few:>6.0} ns for a two-branch transaction");
    println!("{MANY:>9} active: {many:>6.0} ns, {:.2} times as much (at most 1.5)", many / few);
    println!("{bytes} bytes for an active transaction with one branch and one lock (at most 1536)");
}

struct Bench {
    group: Group,
    next_branch: u64,
    next_row: i64,
    clock: u64,
}

impl Bench {
    /// A group in which `active` transactions hold one lock each.
    fn new(active: u64) -> Self {
        let policy = Policy { history_rows_max: 10_000, ..Policy::default() };
        let found = Found::default();
        let (group, _) = Group::recover(policy, XidNumber(0), found, Now::default());
        let mut bench = Bench { group, next_branch: 1, next_row: 0, clock: 0 };
        bench.run(Event::IdsReserved {
            xids: IdBlock { first: 1, end: u64::MAX },
            branches: IdBlock { first: 1 << 40, end: u64::MAX },
        });
        let (session, node) = (SessionId(1), NodeId(1));
        bench.run(Event::SessionOpened { session, node, reply: reply() });
        for resource in ["a", "b"] {
            let resource = resource.parse().expect("a resource id");
            let attach = Event::AttachRequested { session, resource, uid: None, reply: reply() };
            bench.run(attach);
        }
        for _ in 0..active {
            let xid = bench.begin();
            bench.register(xid, "a");
        }
        bench
    }

    fn round(&mut self) -> Duration {
        let start = Instant::now();
        for _ in 0..MEASURED {
            self.transaction();
        }
        let elapsed = start.elapsed();
        self.run(Timer::History.into());
        self.run(Timer::History.into());
        elapsed
    }

    fn transaction(&mut self) {
        let xid = self.begin();
        let branches = [self.register(xid, "a"), self.register(xid, "b")];
        let caller = Caller { reply: reply(), wait: Wait::Completed };
        self.run(Event::CommitRequested { target: target(xid), done: branches.to_vec(), caller });
        for branch in branches {
            let (direction, answer) = (Direction::Commit, PhaseTwoAnswer::Done);
            let session = SessionId(1);
            self.run(Event::PhaseTwoAnswered { session, xid, branch, direction, answer });
        }
        assert!(self.group.transaction(xid).is_none(), "it has ended");
    }

    fn begin(&mut self) -> XidNumber {
        let step = self.handle(Event::BeginRequested(Box::new(Begin {
            name: Arc::from("transfer"),
            timeout: Duration::from_secs(60),
            node: Some(NodeId(1)),
            idempotency_key: None,
            outer: None,
            reply: reply(),
        })));
        match step.replies[0].reply {
            Reply::Begun { xid, .. } => xid,
            ref other => panic!("{other:?}"),
        }
    }

    fn register(&mut self, xid: XidNumber, resource: &str) -> BranchId {
        let branch = BranchId(self.next_branch);
        self.next_branch += 1;
        self.next_row += 1;
        let key = LockKey {
            table: "main.account".to_owned(),
            kind: KeyKind::Row,
            values: vec![KeyValue::Integer(self.next_row)],
        };
        let key = key.encode().expect("a key");
        let step = self.handle(Event::RegisterRequested(Box::new(Register {
            target: target(xid),
            session: SessionId(1),
            branch,
            resource: resource.parse().expect("a resource id"),
            mode: BranchMode::At,
            scope: ScopeId(0),
            lock_only: false,
            locks: Arc::from([LockRequest { key, mode: LockMode::Exclusive }]),
            action: None,
            wait: Duration::ZERO,
            holds_local_locks: false,
            claim: None,
            phase_one_assumed: false,
            reply: reply(),
        })));
        assert!(matches!(step.replies[0].reply, Reply::Registered { .. }));
        branch
    }

    fn run(&mut self, event: Event) {
        drop(self.handle(event));
    }

    fn handle(&mut self, event: Event) -> Step {
        self.clock += 1;
        let at = Now { mono: Timestamp(self.clock), wall: WallTime(self.clock) };
        self.group.handle(event, at)
    }
}

fn reply() -> ReplyTo {
    ReplyTo { session: SessionId(1), correlation: 1 }
}

fn target(xid: XidNumber) -> Target {
    Target { xid, store_named: true }
}

/// The memory of this process that is in use, from the kernel's count of pages.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a Linux kernel");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number is the resident pages") * 4096
}
