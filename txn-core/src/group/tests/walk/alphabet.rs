//! What can happen in a walk: the requests of a small cast, and whatever timers their state allows.

use std::sync::Arc;
use std::time::Duration;

use super::world::World;
use crate::event::{
    Begin, Direction, Event, KeysFor, NamedBegin, PhaseOneReport, PhaseOneResult, PhaseTwoAnswer,
    Proof, Register, RequestKeys, Resolve, Target, Timer,
};
use crate::group::tests::script::lock;
use crate::id::{BranchId, NodeId, ResourceNumber, ResourceUid, ScopeId, SessionId, XidNumber};
use crate::lock::LockRequest;
use crate::policy::Policy;
use crate::step::ReplyTo;
use crate::transaction::{BranchMode, Caller, ParkReason, Resolution, Wait};

/// A branch that may be registered.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) xid: u64,
    pub(super) id: u64,
    pub(super) resource: &'static str,
    pub(super) locks: &'static str,
    pub(super) mode: BranchMode,
    pub(super) local: bool,
    pub(super) scopes: &'static [u64],
}

/// The cast of a walk, and what it may do.
pub(super) struct Alphabet {
    pub(super) policy: Policy,
    /// The timeouts of the transactions, in ticks of the clock.
    pub(super) timeouts: Vec<f64>,
    pub(super) parts: Vec<Part>,
    pub(super) ticks_max: u32,
    /// Who claims what at which resource.
    pub(super) claims: Vec<(u64, &'static str, &'static str)>,
    /// The branches that report Done by a call that is answered, and not only one-way.
    pub(super) acknowledged: Vec<u64>,
    /// Whether session 1, of node 1 and resource `a`, comes and goes.
    pub(super) sessions_go: bool,
    /// Whether the coordinator stops and comes back.
    pub(super) restarts: bool,
    /// Whether phase two may park and answer *later*.
    pub(super) trouble: bool,
    /// Whether requests are made that wait for the end.
    pub(super) completion: bool,
    /// The paths of nested scopes that are rolled back, by the manager or a veto.
    pub(super) scopes: &'static [&'static [u64]],
    /// The branches that commits may be left to.
    pub(super) delegates: &'static [u64],
    /// Whether session 1 begins transaction 1 under a number of its own, perhaps after others have
    /// spoken of it.
    pub(super) named: bool,
}

const A: ResourceNumber = ResourceNumber(1);

pub(super) fn one_transaction() -> Alphabet {
    let part = |id, locks, mode| Part { id, locks, mode, ..PART };
    Alphabet {
        policy: Policy::default(),
        timeouts: vec![0.5],
        parts: vec![part(11, "x", BranchMode::At), part(12, "y", BranchMode::Tcc)],
        ticks_max: 1,
        claims: vec![],
        acknowledged: vec![11],
        sessions_go: true,
        restarts: true,
        trouble: true,
        completion: true,
        scopes: &[],
        delegates: &[],
        named: false,
    }
}

const PART: Part = Part {
    xid: 1,
    id: 11,
    resource: "a",
    locks: "x",
    mode: BranchMode::At,
    local: false,
    scopes: &[],
};

/// A scope within a scope, each with a branch, on one key.
pub(super) fn nested_scopes() -> Alphabet {
    Alphabet {
        parts: vec![
            Part { scopes: &[1], ..PART },
            Part { id: 12, locks: "x,y", scopes: &[1, 2], ..PART },
        ],
        acknowledged: vec![],
        sessions_go: false,
        restarts: false,
        trouble: false,
        completion: false,
        scopes: &[&[1], &[1, 2]],
        ..one_transaction()
    }
}

/// A scope, what holds one of its keys outside of it, and somebody with row locks who waits.
pub(super) fn a_scope_and_a_waiter() -> Alphabet {
    Alphabet {
        timeouts: vec![0.5, 1.5],
        parts: vec![
            PART,
            Part { id: 12, locks: "x,y", scopes: &[1], ..PART },
            Part { xid: 2, id: 21, locks: "y", local: true, ..PART },
        ],
        acknowledged: vec![],
        sessions_go: false,
        restarts: false,
        trouble: false,
        completion: false,
        scopes: &[&[1]],
        ticks_max: 0,
        ..one_transaction()
    }
}

/// One scope, with participants that park and coordinators that restart.
pub(super) fn a_scope_in_trouble() -> Alphabet {
    Alphabet {
        parts: vec![Part { scopes: &[1], ..PART }, Part { id: 12, locks: "x,y", ..PART }],
        acknowledged: vec![],
        sessions_go: false,
        scopes: &[&[1]],
        ..one_transaction()
    }
}

/// A branch that may decide, another that must not be there then, a scope that may roll it back.
pub(super) fn a_delegated_commit() -> Alphabet {
    Alphabet {
        parts: vec![
            Part { mode: BranchMode::Xa, ..PART },
            Part { id: 12, locks: "y", scopes: &[1], ..PART },
        ],
        acknowledged: vec![11],
        trouble: false,
        scopes: &[&[1]],
        delegates: &[11],
        ..one_transaction()
    }
}

/// A begin that nobody asked for, on a session that goes; its number may be spoken of before and after.
pub(super) fn a_named_begin() -> Alphabet {
    Alphabet {
        parts: vec![PART],
        acknowledged: vec![],
        trouble: false,
        named: true,
        ..one_transaction()
    }
}

pub(super) fn two_transactions() -> Alphabet {
    let part = |xid, id, resource, local| Part { xid, id, resource, locks: "x", local, ..PART };
    Alphabet {
        policy: Policy { overtaken_max: 1, ..Policy::default() },
        timeouts: vec![0.5, 1.5],
        parts: vec![
            part(1, 11, "a", false),
            part(1, 12, "b", true),
            part(2, 21, "a", true),
            part(2, 22, "b", false),
        ],
        ticks_max: 1,
        claims: vec![],
        acknowledged: vec![],
        sessions_go: false,
        restarts: false,
        trouble: false,
        completion: false,
        scopes: &[],
        delegates: &[],
        named: false,
    }
}

pub(super) fn three_waiting() -> Alphabet {
    let part = |xid, id, locks, local| Part { xid, id, locks, local, ..PART };
    Alphabet {
        policy: Policy { overtaken_max: 1, ..Policy::default() },
        timeouts: vec![1.5, 1.5, 1.5],
        parts: vec![
            part(1, 11, "x", false),
            part(2, 21, "x~", false),
            part(2, 22, "y", true),
            part(3, 31, "x,y", true),
        ],
        ticks_max: 0,
        claims: vec![(1, "a", "y")],
        acknowledged: vec![],
        sessions_go: false,
        restarts: false,
        trouble: false,
        completion: false,
        scopes: &[],
        delegates: &[],
        named: false,
    }
}

impl Alphabet {
    pub(super) fn set_up(&self) -> Vec<Event> {
        let reply = ReplyTo { session: SessionId(0), correlation: 0 };
        let open = |number: u64| Event::SessionOpened {
            session: SessionId(number),
            node: NodeId(u128::from(number)),
            reply,
        };
        let xids = self.named.then_some(Event::XidsRequested { session: SessionId(1), reply });
        let opened = vec![open(1), attach(1, "a", reply), open(2), attach(2, "b", reply)];
        opened.into_iter().chain(xids).collect()
    }

    /// All that may happen now.
    pub(super) fn events(&self, world: &World) -> Vec<Event> {
        let reply = world.reply();
        let mut events = Vec::new();
        for (place, timeout) in self.timeouts.iter().enumerate() {
            let xid = place as u64 + 1;
            let known = world.rows.transactions.contains_key(&XidNumber(xid));
            let begun = known || world.group.transaction(XidNumber(xid)).is_some();
            let before = xid == 1 || world.group.idempotency.contains_key(&key(xid - 1));
            if self.named {
                events.push(named_begin(*timeout));
                let (session, number) = (SessionId(1), XidNumber(xid));
                events.push(Event::NamedBeginRefused { session, number });
            } else if before {
                events.push(self.begin(xid, *timeout, reply));
            }
            if begun || self.named {
                self.of_transaction(xid, reply, &mut events);
            }
        }
        for part in &self.parts {
            if self.named || world.group.idempotency.contains_key(&key(part.xid)) {
                self.of_branch(part, world, reply, &mut events);
            }
        }
        self.of_waits(world, reply, &mut events);
        if self.sessions_go {
            of_session(world, reply, &mut events);
        }
        events
    }

    fn begin(&self, xid: u64, timeout: f64, reply: ReplyTo) -> Event {
        Event::BeginRequested(Box::new(Begin {
            name: Arc::from(""),
            timeout: super::world::TICK.mul_f64(timeout),
            // The first is begun by a node that may go, the others by unary calls.
            node: (xid == 1).then_some(NodeId(1)),
            idempotency_key: Some(key(xid)),
            outer: None,
            reply,
        }))
    }

    fn of_transaction(&self, xid: u64, reply: ReplyTo, events: &mut Vec<Event>) {
        let target = target(xid);
        let caller = |wait| Caller { reply, wait };
        let of_it = || self.parts.iter().filter(|part| part.xid == xid);
        let all: Vec<BranchId> = of_it().map(|part| BranchId(part.id)).collect();
        for done in [vec![], vec![all[0]], all] {
            let (delegate_to, caller) = (None, caller(Wait::Decided));
            events.push(Event::CommitRequested { target, done, delegate_to, caller });
        }
        for to in self.delegates {
            let (delegate_to, caller) = (Some(BranchId(*to)), caller(Wait::Completed));
            events.push(Event::CommitRequested { target, done: vec![], delegate_to, caller });
        }
        for path in self.scopes.iter().filter(|_| xid == 1) {
            let path: Vec<ScopeId> = path.iter().copied().map(ScopeId).collect();
            let scope = *path.last().expect("a path names its scope");
            let request = |wait| {
                let caller = caller(wait);
                Event::ScopeRollbackRequested { target, scope, caller }
            };
            events.push(request(Wait::Decided));
            events.extend(self.completion.then(|| request(Wait::Completed)));
            events.push(Event::Vetoed { target, scopes: path, caller: caller(Wait::Decided) });
        }
        if self.completion {
            let (done, delegate_to, caller) = (vec![], None, caller(Wait::Completed));
            events.push(Event::CommitRequested { target, done, delegate_to, caller });
            events.push(Event::OutcomeRequested { target, caller });
        }
        events.push(Event::RollbackRequested { target, caller: caller(Wait::Decided) });
        events.push(Event::Vetoed { target, scopes: vec![], caller: caller(Wait::Decided) });
        events.push(Event::RetryRequested { target, reply });
        let xid = XidNumber(xid);
        let timers = [Timer::Deadline(xid), Timer::Closing(xid), Timer::PhaseTwo(xid)];
        events.extend(timers.map(Event::from));
    }

    fn of_branch(&self, part: &Part, world: &World, reply: ReplyTo, events: &mut Vec<Event>) {
        let (xid, branch) = (XidNumber(part.xid), BranchId(part.id));
        let waits = world.group.waiting.of_transaction(xid);
        let waiting = waits.filter(|waiter| waiter.is_for_branch(branch)).count();
        // The same request may wait twice, and no more is to be seen of it waiting three times.
        let longest = if waiting < 2 { Duration::from_secs(1) } else { Duration::ZERO };
        for wait in [Duration::ZERO, longest] {
            events.push(register(part, wait, reply));
        }
        let acknowledged = self.acknowledged.contains(&part.id);
        let mut reports = vec![(PhaseOneResult::Done, None), (PhaseOneResult::Failed, Some(reply))];
        reports.extend(acknowledged.then_some((PhaseOneResult::Done, Some(reply))));
        for (result, reply) in reports {
            events.push(Event::PhaseOneReported(Box::new(PhaseOneReport {
                target: target(part.xid),
                branch,
                node: node_of(part),
                resource: part.resource.parse().unwrap(),
                result,
                reply,
            })));
        }
        let mut answers = vec![PhaseTwoAnswer::Done];
        if self.trouble {
            answers.push(PhaseTwoAnswer::Later { after: None, reason: None });
            let report = Arc::from([]);
            answers.push(PhaseTwoAnswer::Parked { reason: ParkReason::DirtyWrite, report });
        }
        if self.trouble {
            // `retry` is what a retry of the whole attaches, and `restore` differs only in its name.
            events.push(resolve(part, Resolution::Keep, reply));
        }
        for direction in [Direction::Commit, Direction::Rollback] {
            events.extend(answers.iter().map(|answer| {
                let answer = answer.clone();
                let session = session_of(part.resource);
                Event::PhaseTwoAnswered { session, xid, branch, direction, answer }
            }));
        }
    }

    fn of_waits(&self, world: &World, reply: ReplyTo, events: &mut Vec<Event>) {
        let waiting = &world.group.waiting;
        for waiter in waiting.waiters() {
            events.push(Timer::WaitBound(waiter.id).into());
            events.push(Event::WaitCancelled { reply: waiter.reply() });
        }
        for claim in waiting.claims() {
            events.push(Timer::ClaimKept(claim.id).into());
            events.push(Event::ClaimReleased { session: claim.session, claim: claim.id });
        }
        for (xid, resource, locks) in &self.claims {
            let claims = waiting.claims_of(XidNumber(*xid)).count();
            let waits = waiting.of_transaction(XidNumber(*xid)).count();
            if world.group.idempotency.contains_key(&key(*xid)) && claims + waits == 0 {
                events.push(Event::KeysRequested(Box::new(RequestKeys {
                    purpose: KeysFor::Claim,
                    target: Some(target(*xid)),
                    session: session_of(resource),
                    resource: resource.parse().unwrap(),
                    locks: locks_of(locks),
                    wait: Duration::from_secs(1),
                    holds_local_locks: false,
                    reply,
                })));
            }
        }
        for txn in world.group.transactions() {
            let waiting = txn.awaiting.iter();
            let waiting = waiting.chain(txn.awaiting_scope.iter().map(|(_, reply)| reply));
            let timers = waiting.map(|caller| Timer::Completion(txn.row.number, *caller));
            events.extend(timers.map(Event::from));
        }
    }
}

pub(super) fn named_begin(timeout: f64) -> Event {
    Event::NamedBegun(Box::new(NamedBegin {
        session: SessionId(1),
        number: XidNumber(1),
        name: Arc::from(""),
        timeout: super::world::TICK.mul_f64(timeout),
        outer: None,
    }))
}

fn of_session(world: &World, reply: ReplyTo, events: &mut Vec<Event>) {
    let (session, node) = (SessionId(1), NodeId(1));
    if world.group.sessions.is_open(session) {
        events.push(Event::SessionClosed { session });
    } else {
        events.push(Event::SessionOpened { session, node, reply });
    }
    events.push(attach(1, "a", reply));
    events.push(Timer::NodeLost(node).into());
    events.push(Timer::Resume(A, XidNumber(0)).into());
}

pub(super) fn attach(number: u64, resource: &str, reply: ReplyTo) -> Event {
    let uid = Some(ResourceUid(u128::from(number)));
    let offers = Vec::new();
    let proofs = vec![Proof { resource: resource.parse().unwrap(), uid, offers }];
    Event::AttachRequested { session: SessionId(number), proofs, reply }
}

fn register(part: &Part, wait: Duration, reply: ReplyTo) -> Event {
    Event::RegisterRequested(Box::new(Register {
        target: target(part.xid),
        session: session_of(part.resource),
        branch: BranchId(part.id),
        resource: part.resource.parse().unwrap(),
        mode: part.mode,
        scopes: part.scopes.iter().copied().map(ScopeId).collect(),
        lock_only: false,
        locks: locks_of(part.locks),
        action: None,
        wait,
        holds_local_locks: part.local,
        claim: None,
        phase_one_assumed: false,
        reply,
    }))
}

fn resolve(part: &Part, resolution: Resolution, reply: ReplyTo) -> Event {
    let (target, branch) = (target(part.xid), BranchId(part.id));
    let reason = Arc::default();
    Event::ResolveRequested(Box::new(Resolve { target, branch, resolution, reason, reply }))
}

pub(super) fn key(xid: u64) -> Arc<str> {
    Arc::from(xid.to_string())
}

fn target(xid: u64) -> Target {
    Target { xid: XidNumber(xid), store_named: true }
}

fn session_of(resource: &str) -> SessionId {
    SessionId(if resource == "a" { 1 } else { 2 })
}

fn node_of(part: &Part) -> NodeId {
    NodeId(u128::from(session_of(part.resource).0))
}

fn locks_of(list: &str) -> Arc<[LockRequest]> {
    list.split(',').map(lock).collect()
}
