//! One line of a script as an event.

use std::sync::Arc;
use std::time::Duration;

use super::{node, saga};
use crate::event::{
    Begin, Direction, Event, KeysFor, NamedBegin, Offer, PhaseOneReport, PhaseOneResult,
    PhaseTwoAnswer, Proof, Register, RequestKeys, Resolve, Target, Timer,
};
use crate::group::Group;
use crate::id::{
    BranchId, NodeId, ResourceId, ResourceNumber, ResourceUid, ScopeId, SessionId, XidNumber,
};
use crate::lock::LockRequest;
use crate::lock::key::{EncodedKey, KeyKind, KeyValue, LockKey, LockMode};
use crate::lock::wait::{ClaimId, WaiterId};
use crate::step::ReplyTo;
use crate::transaction::{BranchMode, Caller, ParkReason, Resolution, Status, Wait};

pub(super) fn event(text: &str, reply: ReplyTo, group: &Group) -> Event {
    let mut words = text.split_whitespace();
    let verb = words.next().expect("a line has a word");
    let (options, words): (Vec<&str>, Vec<&str>) = words.partition(|word| word.contains('='));
    let line = Line { text, words, options, reply };
    match verb {
        "begin" => line.begin(),
        "named" => Event::NamedBegun(Box::new(NamedBegin {
            session: line.session(),
            number: XidNumber(number(line.word(0), 'T')),
            name: Arc::from("test"),
            timeout: line.seconds("timeout", 60.0),
            outer: None,
        })),
        "refuse" => Event::NamedBeginRefused {
            session: line.session(),
            number: XidNumber(number(line.word(0), 'T')),
        },
        "xids" => Event::XidsRequested { session: line.session(), reply },
        "register" => line.register(),
        "claim" => line.keys(KeysFor::Claim),
        "check" => line.keys(KeysFor::Check),
        "commit" => {
            let done = line.words.get(1).filter(|word| word.starts_with('b'));
            let done = done.into_iter().flat_map(|list| list.split(','));
            let done = done.map(|id| BranchId(number(id, 'b'))).collect();
            let delegate_to = line.option("delegate").map(|id| BranchId(number(id, 'b')));
            let (target, caller) = (line.target(0), line.caller());
            Event::CommitRequested { target, done, delegate_to, caller }
        }
        "rollback" => Event::RollbackRequested { target: line.target(0), caller: line.caller() },
        "veto" => {
            let (target, scopes) = (line.target(0), line.scopes());
            Event::Vetoed { target, scopes, caller: line.caller() }
        }
        "undo" => {
            let scope = ScopeId(number(line.word(1), 's'));
            let (target, caller) = (line.target(0), line.caller());
            Event::ScopeRollbackRequested { target, scope, caller }
        }
        "outcome" => Event::OutcomeRequested { target: line.target(0), caller: line.caller() },
        "release" => Event::ClaimReleased {
            session: line.session(),
            claim: ClaimId(number(line.word(0), 'c')),
        },
        "cancel" => {
            let correlation = number(line.word(0), '#');
            Event::WaitCancelled { reply: ReplyTo { correlation, ..reply } }
        }
        "done" => line.phase_one(PhaseOneResult::Done, group),
        "failed" => line.phase_one(PhaseOneResult::Failed, group),
        "answer" => line.phase_two(group),
        "open" => Event::SessionOpened {
            session: SessionId(line.word(0).parse().unwrap()),
            node: node(number(line.word(1), 'n')),
            reply,
        },
        "close" => Event::SessionClosed { session: SessionId(line.word(0).parse().unwrap()) },
        "attach" => Event::AttachRequested {
            session: SessionId(line.word(0).parse().unwrap()),
            proofs: line.words[1..].iter().map(|name| line.proof(name)).collect(),
            reply,
        },
        "define" => saga::define(&line, group),
        "submit" => saga::submit(&line),
        "ask" => saga::asked(&line),
        "did" => saga::did(&line, group),
        "undid" => saga::undid(&line, group),
        "signal" => saga::signal(&line),
        "complete" => saga::complete(&line, group),
        "say" => saga::say(&line),
        "ids" => Event::BranchIdsRequested { session: line.session(), reply },
        "retry" => Event::RetryRequested { target: line.target(0), reply },
        "resolve" => line.resolve(),
        "forget" => Event::ForgetRequested { resource: resource(line.word(0)), reply },
        "timer" => line.timer().into(),
        _ => panic!("{text:?} is no line of a script"),
    }
}

pub(super) struct Line<'a> {
    text: &'a str,
    pub(super) words: Vec<&'a str>,
    options: Vec<&'a str>,
    pub(super) reply: ReplyTo,
}

impl<'a> Line<'a> {
    pub(super) fn word(&self, place: usize) -> &'a str {
        self.words.get(place).unwrap_or_else(|| panic!("{:?} is too short", self.text))
    }

    fn has(&self, flag: &str) -> bool {
        self.words.contains(&flag)
    }

    pub(super) fn option(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    pub(super) fn seconds(&self, name: &str, default: f64) -> Duration {
        Duration::from_secs_f64(self.option(name).map_or(default, |word| word.parse().unwrap()))
    }

    pub(super) fn target(&self, place: usize) -> Target {
        let xid = XidNumber(number(self.word(place), 'T'));
        Target { xid, store_named: !self.has("unnamed") }
    }

    fn caller(&self) -> Caller {
        let wait = if self.has("completed") { Wait::Completed } else { Wait::Decided };
        Caller { reply: self.reply, wait }
    }

    pub(super) fn session(&self) -> SessionId {
        SessionId(self.option("s").map_or(1, |word| word.parse().unwrap()))
    }

    fn scopes(&self) -> Vec<ScopeId> {
        let names = self.option("in").into_iter().flat_map(|list| list.split(','));
        names.map(|name| ScopeId(number(name, 's'))).collect()
    }

    /// What is attached, with the actions that are offered there: `offers=x,y!`, where the second has no
    /// compensation.
    fn proof(&self, text: &str) -> Proof {
        let offers = self.option("offers").into_iter().flat_map(|list| list.split(','));
        let offer = |name: &str| Offer {
            action: name.trim_end_matches('!').into(),
            compensable: !name.ends_with('!'),
        };
        Proof { offers: offers.map(offer).collect(), ..proof(text) }
    }

    fn begin(&self) -> Event {
        let node = match self.option("node") {
            None => Some(node(1)),
            Some("none") => None,
            Some(name) => Some(node(number(name, 'n'))),
        };
        Event::BeginRequested(Box::new(Begin {
            name: Arc::from("test"),
            timeout: self.seconds("timeout", 60.0),
            node,
            idempotency_key: self.option("key").map(Arc::from),
            outer: self.option("outer").map(|name| XidNumber(number(name, 'T'))),
            reply: self.reply,
        }))
    }

    fn register(&self) -> Event {
        Event::RegisterRequested(Box::new(Register {
            target: self.target(0),
            session: self.session(),
            branch: BranchId(number(self.word(1), 'b')),
            resource: resource(self.word(2)),
            mode: mode(self.option("mode").unwrap_or("at")),
            scopes: self.scopes(),
            lock_only: self.has("lock-only"),
            locks: locks(self.word(3)),
            action: None,
            wait: self.seconds("wait", 0.0),
            holds_local_locks: self.has("local"),
            claim: self.option("claim").map(|name| ClaimId(number(name, 'c'))),
            phase_one_assumed: self.has("assumed"),
            reply: self.reply,
        }))
    }

    fn keys(&self, purpose: KeysFor) -> Event {
        let target = self.word(0).starts_with('T').then(|| self.target(0));
        let place = usize::from(target.is_some());
        Event::KeysRequested(Box::new(RequestKeys {
            purpose,
            target,
            session: self.session(),
            resource: resource(self.word(place)),
            locks: locks(self.word(place + 1)),
            wait: self.seconds("wait", 0.0),
            holds_local_locks: self.has("local"),
            reply: self.reply,
        }))
    }

    fn phase_one(&self, result: PhaseOneResult, group: &Group) -> Event {
        let (target, branch) = (self.target(0), BranchId(number(self.word(1), 'b')));
        let of_branch = group.transaction(target.xid).and_then(|txn| txn.branch(branch));
        let of_branch = of_branch.and_then(|branch| {
            group
                .resources()
                .find(|row| row.number == branch.row.resource)
                .map(|row| row.id.clone())
        });
        let known = self.words.get(2).filter(|word| !["ack", "unnamed"].contains(word));
        Event::PhaseOneReported(Box::new(PhaseOneReport {
            target,
            branch,
            node: NodeId(1),
            resource: known
                .map(|name| resource(name))
                .or(of_branch)
                .unwrap_or_else(|| resource("a")),
            result,
            reply: self.has("ack").then_some(self.reply),
        }))
    }

    fn phase_two(&self, group: &Group) -> Event {
        let xid = XidNumber(number(self.word(0), 'T'));
        let status = group.transaction(xid).map(|txn| txn.row.status);
        let decided = match status {
            Some(Status::Committing) => Direction::Commit,
            Some(
                Status::Active
                | Status::Delegated
                | Status::Committed
                | Status::RollingBack(_)
                | Status::RolledBack(_),
            )
            | None => Direction::Rollback,
        };
        let direction = match self.option("to") {
            Some("commit") => Direction::Commit,
            Some("rollback") => Direction::Rollback,
            Some(other) => panic!("{other:?} is no direction"),
            None => decided,
        };
        let answer = match self.word(2) {
            "done" => PhaseTwoAnswer::Done,
            "later" => PhaseTwoAnswer::Later {
                after: self.option("after").map(|_| self.seconds("after", 0.0)),
                reason: self.option("why").map(Arc::from),
            },
            "parked" => PhaseTwoAnswer::Parked {
                reason: ParkReason::DirtyWrite,
                report: Arc::from(&b"report"[..]),
            },
            other => panic!("{other:?} is no answer"),
        };
        let branch = BranchId(number(self.word(1), 'b'));
        let branch_of = group.transaction(xid).and_then(|txn| txn.branch(branch));
        let proven = branch_of.and_then(|branch| group.sessions.first_on(branch.row.resource));
        let session = match self.option("s") {
            Some(_) => self.session(),
            None => proven.unwrap_or(SessionId(0)),
        };
        Event::PhaseTwoAnswered { session, xid, branch, direction, answer }
    }

    fn resolve(&self) -> Event {
        let resolution = match self.word(2) {
            "retry" => Resolution::Retry,
            "restore" => Resolution::Restore,
            "keep" => Resolution::Keep,
            other => panic!("{other:?} is no resolution"),
        };
        Event::ResolveRequested(Box::new(Resolve {
            target: self.target(0),
            branch: BranchId(number(self.word(1), 'b')),
            resolution,
            reason: Arc::from(self.option("why").unwrap_or("asked")),
            reply: self.reply,
        }))
    }

    fn timer(&self) -> Timer {
        let xid = || XidNumber(number(self.word(1), 'T'));
        match self.word(0) {
            "deadline" => Timer::Deadline(xid()),
            "closing" => Timer::Closing(xid()),
            "phase-two" => Timer::PhaseTwo(xid()),
            "completion" => {
                let correlation = number(self.word(2), '#');
                Timer::Completion(xid(), ReplyTo { correlation, ..self.reply })
            }
            "wait" => Timer::WaitBound(WaiterId(number(self.word(1), 'w'))),
            "claim" => Timer::ClaimKept(ClaimId(number(self.word(1), 'c'))),
            "lost" => Timer::NodeLost(node(number(self.word(1), 'n'))),
            "resume" => {
                let resource = u32::try_from(number(self.word(1), 'r')).unwrap();
                Timer::Resume(ResourceNumber(resource), XidNumber(0))
            }
            "history" => Timer::History,
            other => panic!("{other:?} is no timer"),
        }
    }
}

fn number(word: &str, prefix: char) -> u64 {
    let digits = word.strip_prefix(prefix);
    let digits = digits.unwrap_or_else(|| panic!("{word:?} does not begin with {prefix}"));
    digits.parse().unwrap()
}

fn resource(name: &str) -> ResourceId {
    name.parse().unwrap()
}

/// `c` is a database of its own, `c:7` the database 7, `c:` a service.
fn proof(text: &str) -> Proof {
    let (name, uid) = text.split_once(':').unwrap_or((text, text));
    let uid = match uid {
        "" => None,
        number if number.starts_with(|first: char| first.is_ascii_digit()) => {
            Some(number.parse().unwrap())
        }
        name => Some(name.bytes().map(u128::from).sum()),
    };
    Proof { resource: resource(name), uid: uid.map(ResourceUid), offers: Vec::new() }
}

fn mode(name: &str) -> BranchMode {
    match name {
        "at" => BranchMode::At,
        "tcc" => BranchMode::Tcc,
        "saga" => BranchMode::Saga,
        "xa" => BranchMode::Xa,
        other => panic!("{other:?} is no mode"),
    }
}

fn locks(list: &str) -> Arc<[LockRequest]> {
    list.split(',').filter(|name| *name != "-").map(lock).collect()
}

pub(in crate::group::tests) fn lock(name: &str) -> LockRequest {
    let (name, mode) = match name.strip_suffix('~') {
        Some(name) => (name, LockMode::Shared),
        None => (name, LockMode::Exclusive),
    };
    LockRequest { key: key(name), mode }
}

fn key(name: &str) -> EncodedKey {
    let key = if let Some(table) = name.strip_suffix(".*") {
        LockKey { table: table.to_owned(), kind: KeyKind::Table, values: Vec::new() }
    } else {
        let (table, row) = name.split_once(':').unwrap_or(("t", name));
        let values = vec![KeyValue::Text(row.to_owned())];
        LockKey { table: table.to_owned(), kind: KeyKind::Row, values }
    };
    key.encode().unwrap()
}
