//! What a group answered, in few words.

use std::fmt::Write as _;

use crate::event::Timer;
use crate::group::Group;
use crate::id::ResourceNumber;
use crate::lock::key::{EncodedKey, KeyKind, KeyValue, LockMode};
use crate::lock::wait::{WaitFor, Waiter};
use crate::lock::{LockRequest, ResourceKey};
use crate::rejection::Rejection;
use crate::saga::{SagaRow, StepRow, StepState};
use crate::step::{
    Change, Command, Outcome, Reply, ScopeOutcome, Step, Task, TaskKind, Volatile, Write,
};
use crate::time::Timestamp;
use crate::transaction::{
    BranchMode, BranchRow, PhaseOne, PhaseTwo, ResourceRow, Status, UndoneScope, Wait,
};

pub(super) fn step(step: &Step) -> String {
    let mut out = String::new();
    for change in &step.changes {
        let _ = match change {
            Change::Stored(write) => writeln!(out, "  = {}", stored(write)),
            Change::Volatile(volatile) => writeln!(out, "  ~ {}", note(volatile)),
        };
    }
    for answer in &step.replies {
        let _ = writeln!(out, "  < #{} {}", answer.to.correlation, reply(&answer.reply));
    }
    for command in &step.commands {
        let _ = match command {
            Command::Send(task) => writeln!(out, "  > {}", send(task)),
            Command::ReserveIds => writeln!(out, "  > reserve ids"),
        };
    }
    for (due, due_timer) in &step.timers {
        let _ = writeln!(out, "  @ {} {}", seconds(*due), timer(due_timer));
    }
    for rule in &step.violations {
        let _ = writeln!(out, "  ! {rule}");
    }
    out
}

/// To a hundredth: the last digits are jitter.
pub(super) fn seconds(at: Timestamp) -> f64 {
    ((at.0 / 10_000) as f64) / 100.0
}

fn stored(write: &Write) -> String {
    match write {
        Write::PutTransaction(row) => {
            format!("T{} {}{}", row.number, status(row.status), scopes(&row.undone_scopes))
        }
        Write::PutBranch(row) => branch(row),
        Write::PutResource(row) => format!("{} is {}", place(row.number), row.id),
        Write::DropResource(number) => format!("{} is no more", place(*number)),
        Write::PutDefinition(defined) => format!("saga {}", defined.row.key),
        Write::PutSaga(row) => saga(row),
        Write::PutStep(row) => step_row(row),
        Write::Prune { xids, horizon } => {
            let xids: Vec<_> = xids.iter().map(|xid| format!("T{xid}")).collect();
            format!("prune {} horizon {horizon}", xids.join(","))
        }
    }
}

fn saga(row: &SagaRow) -> String {
    let paused = if row.paused { ", paused" } else { "" };
    let words = row.words.iter().map(|word| format!(", {:?} ({})", word.verb, word.reason));
    format!("T{} runs {}{paused}{}", row.xid, row.definition, words.collect::<String>())
}

fn step_row(row: &StepRow) -> String {
    let state = match row.state {
        StepState::Waiting { .. } => "Waiting".to_owned(),
        state => format!("{state:?}"),
    };
    let took_place = if row.took_place { ", took place" } else { "" };
    let error = row.error.as_ref().map_or_else(String::new, |error| format!(", {}", error.code));
    format!("T{}/s{} {state}{took_place}{error}", row.xid, row.slot)
}

fn scopes(undone: &[UndoneScope]) -> String {
    let one = |undone: &UndoneScope| match undone.requested {
        true => format!(", without s{}", undone.scope()),
        false => format!(", without s{} (vetoed)", undone.scope()),
    };
    undone.iter().map(one).collect()
}

fn branch(row: &BranchRow) -> String {
    let mut out = format!("T{}/b{} {:?}", row.xid, row.id, row.phase_one);
    match row.phase_two {
        PhaseTwo::Pending => {}
        PhaseTwo::Done | PhaseTwo::Parked(_) => {
            let _ = write!(out, ", {:?}", row.phase_two);
        }
    }
    for word in row.resolutions.iter() {
        let _ = write!(out, ", {:?} ({}, {:?})", word.resolution, word.reason, word.parked);
    }
    let _ = write!(out, " {}:{}", place(row.resource), locks(&row.locks));
    if row.mode != BranchMode::At {
        let _ = write!(out, " {:?}", row.mode);
    }
    out
}

fn note(volatile: &Volatile) -> String {
    match volatile {
        Volatile::Began { row, .. } => format!("T{} began", row.number),
        Volatile::DeadlineSet(xid, _) => format!("T{xid} has a deadline"),
        Volatile::PhaseOneDone(xid, branch) => format!("T{xid}/b{branch} done"),
        Volatile::CloseRequested { xid, caller, .. } => {
            format!("T{xid} closing for #{}{}", caller.reply.correlation, wait(caller.wait))
        }
        Volatile::CompletionAwaited(xid, reply) => {
            format!("#{} awaits the end of T{xid}", reply.correlation)
        }
        Volatile::CompletionTold(xid, reply) => {
            format!("#{} awaits the end of T{xid} no more", reply.correlation)
        }
        Volatile::ScopeAwaited(xid, scope, reply) => {
            format!("#{} awaits the undo of T{xid}/s{scope}", reply.correlation)
        }
        Volatile::ScopeTold(xid, reply) => {
            format!("#{} awaits the undo in T{xid} no more", reply.correlation)
        }
        Volatile::PhaseTwoConfirmed(xid, branch) => format!("T{xid}/b{branch} confirmed"),
        Volatile::Attempted { xid, branch, .. } => format!("T{xid}/b{branch} sent"),
        Volatile::Postponed { xid, branch, reason, .. } => {
            let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("T{xid}/b{branch} postponed{why}")
        }
        Volatile::WaitBegan(wait) => format!("w{} {}", wait.id.0, waiter(wait)),
        Volatile::WaitMoved { waiter, taken } => format!("w{} waits for {}", waiter.0, keys(taken)),
        Volatile::Overtaken(waiter) => format!("w{} is overtaken", waiter.0),
        Volatile::WaitEnded(waiter) => format!("w{} is over", waiter.0),
        Volatile::ClaimKept(claim) => {
            format!("c{} keeps {} for T{}", claim.id.0, locks(&claim.locks), claim.xid)
        }
        Volatile::ClaimEnded(claim) => format!("c{} is over", claim.0),
        Volatile::SessionOpened(session, node) => format!("session {session} of n{}", node.0),
        Volatile::SessionAttached(session, resource) => {
            format!("session {session} works on {}", place(*resource))
        }
        Volatile::SessionClosed(session) => format!("session {session} is gone"),
        Volatile::NodeGone(node, _) => format!("n{} is gone", node.0),
        Volatile::NodeLost(node) => format!("n{} is lost", node.0),
        Volatile::OffersMade(session, resource, offers) => {
            let names: Vec<_> = offers.iter().map(|offer| &*offer.action).collect();
            format!("session {session} offers {} at {}", names.join(","), place(*resource))
        }
        Volatile::SagaLoaded(xid, _) => format!("T{xid} is loaded"),
        Volatile::StepAttempted(xid, slot, attempt) if attempt.under_way => {
            format!("T{xid}/s{slot} sent")
        }
        Volatile::StepAttempted(xid, slot, _) => format!("T{xid}/s{slot} postponed"),
        Volatile::BranchIdsIssued(block, node) => {
            format!("branch ids to {} for n{}", block.end, node.0)
        }
        Volatile::XidsIssued(block, session) => {
            format!("T{}..{} are for session {session} to begin", block.first, block.end)
        }
        Volatile::NeverBegun(session, number) => {
            format!("session {session} never begins T{number}")
        }
        Volatile::IdsAskedFor => "ids asked for".to_owned(),
        Volatile::IdsReserved(..) => "ids reserved".to_owned(),
    }
}

fn wait(wait: Wait) -> &'static str {
    match wait {
        Wait::Decided => "",
        Wait::Completed => " to its end",
    }
}

fn waiter(waiter: &Waiter) -> String {
    let xid = waiter.xid.map_or_else(|| "nobody".to_owned(), |xid| format!("T{xid}"));
    let what = match &waiter.purpose {
        WaitFor::Branch(register) => format!("T{}/b{}", register.target.xid, register.branch),
        WaitFor::Keys(request) => format!("{xid} ({:?})", request.purpose),
    };
    format!("{what} waits for {}", keys(&waiter.taken))
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Begun { xid, remaining } => format!("begun T{xid}, {remaining:?} left"),
        Reply::Outcome(told) => outcome(*told),
        Reply::Scope(ScopeOutcome { undone, transaction }) => {
            let undone = if *undone { "scope undone" } else { "scope rolling back" };
            format!("{undone}, {}", outcome(*transaction))
        }
        Reply::Registered { sequence } => format!("registered as {sequence}"),
        Reply::ClaimGranted(claim) => format!("claim c{}", claim.0),
        Reply::KeysFree => "free".to_owned(),
        Reply::PhaseOneRecorded => "recorded".to_owned(),
        Reply::BranchIds(block) => format!("branch ids {}..{}", block.first, block.end),
        Reply::Xids(block) => format!("T{}..{} to begin", block.first, block.end),
        Reply::Attached(rows) => {
            let one = |row: &ResourceRow| format!("{} as {}", row.id, place(row.number));
            format!("attached {}", rows.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Reply::Retried(count) => format!("retried {count}"),
        Reply::Resolved => "resolved".to_owned(),
        Reply::Forgotten => "forgotten".to_owned(),
        Reply::Defined(key) => format!("defined {key}"),
        Reply::SagaEnded(xid, told) => format!("T{xid} has ended: {}", outcome(*told)),
        Reply::Saga(standing) => {
            let paused = if standing.paused { ", paused" } else { "" };
            let output = standing.output.as_ref();
            let output = output
                .map_or_else(String::new, |json| format!(", {}", String::from_utf8_lossy(json)));
            let failure = standing.failure.as_ref();
            let failure = failure
                .map_or_else(String::new, |(path, error)| format!(", {path}: {}", error.code));
            format!("T{} {}{paused}{output}{failure}", standing.xid, outcome(standing.outcome))
        }
        Reply::Rejected(why) => rejection(why),
    }
}

fn rejection(rejection: &Rejection) -> String {
    match rejection {
        Rejection::LockConflict { holder, key, .. } => {
            let holder = holder.map_or_else(|| "someone".to_owned(), |xid| format!("T{xid}"));
            format!("CONFLICT {} with {holder}", key_name(key))
        }
        Rejection::HeldByOuter { holder, key } => {
            format!("HELD BY OUTER T{holder} {}", key_name(key))
        }
        Rejection::NotActive(told) => format!("NOT ACTIVE: {}", outcome(*told)),
        Rejection::NotReady
        | Rejection::NotBegun
        | Rejection::Expired
        | Rejection::UnknownTransaction
        | Rejection::LostState(_)
        | Rejection::NotAttached(_)
        | Rejection::ScopeRolledBack(_)
        | Rejection::NotDelegable(_)
        | Rejection::BranchMismatch(_)
        | Rejection::BranchFailed(_)
        | Rejection::UnknownBranch(_)
        | Rejection::NotParked(_)
        | Rejection::ForeignBranchId(_)
        | Rejection::NoDatabase { .. }
        | Rejection::BranchDone(_)
        | Rejection::WrongResource(..)
        | Rejection::NotResolvable { .. }
        | Rejection::Limit { .. }
        | Rejection::ResourceBound { .. }
        | Rejection::UnknownResource(_)
        | Rejection::ResourceBusy { .. }
        | Rejection::IsSaga(_)
        | Rejection::IsNoSaga(_)
        | Rejection::UnknownSaga { .. }
        | Rejection::DefinitionTaken(_)
        | Rejection::UnknownAction { .. }
        | Rejection::StepState { .. }
        | Rejection::Invariant(_) => format!("REFUSED {rejection:?}"),
    }
}

fn outcome(outcome: Outcome) -> String {
    match outcome.parked {
        0 => status(outcome.status),
        parked => format!("{}, {parked} parked", status(outcome.status)),
    }
}

fn status(status: Status) -> String {
    format!("{status:?}")
}

fn send(task: &Task) -> String {
    let what = match task.kind {
        TaskKind::Commit => "commit",
        TaskKind::Rollback { phase_one_done: true } => "roll back (done)",
        TaskKind::Rollback { phase_one_done: false } => "roll back",
        TaskKind::AskPhaseOne => "ask about",
        TaskKind::Act { .. } => "act",
        TaskKind::Compensate { forward_only: true, .. } => "look for",
        TaskKind::Compensate { took_place: true, .. } => "compensate (done)",
        TaskKind::Compensate { took_place: false, .. } => "compensate",
    };
    let resolution = task.resolution.map_or_else(String::new, |word| format!(", {word:?}"));
    format!(
        "{what} T{}/b{} at {}, try {}{resolution}",
        task.xid,
        task.branch,
        place(task.resource),
        task.attempt
    )
}

pub(super) fn timer(timer: &Timer) -> String {
    match timer {
        Timer::Deadline(xid) => format!("deadline T{xid}"),
        Timer::Closing(xid) => format!("closing T{xid}"),
        Timer::PhaseTwo(xid) => format!("phase-two T{xid}"),
        Timer::Step(xid, slot) => format!("step T{xid}/s{slot}"),
        Timer::Saga(xid) => format!("saga T{xid}"),
        Timer::Completion(xid, reply) => format!("completion T{xid} #{}", reply.correlation),
        Timer::WaitBound(waiter) => format!("wait w{}", waiter.0),
        Timer::ClaimKept(claim) => format!("claim c{}", claim.0),
        Timer::NodeLost(node) => format!("lost n{}", node.0),
        Timer::Resume(resource, from) => format!("resume {} from T{from}", place(*resource)),
        Timer::History => "history".to_owned(),
    }
}

fn place(resource: ResourceNumber) -> &'static str {
    match resource.0 {
        1 => "a",
        2 => "b",
        3 => "c",
        _ => "?",
    }
}

fn locks(locks: &[LockRequest]) -> String {
    let name = |lock: &LockRequest| match lock.mode {
        LockMode::Exclusive => key_name(&lock.key),
        LockMode::Shared => format!("{}~", key_name(&lock.key)),
    };
    locks.iter().map(name).collect::<Vec<_>>().join(",")
}

fn keys(keys: &[ResourceKey]) -> String {
    let name = |key: &ResourceKey| format!("{}:{}", place(key.resource), key_name(&key.key));
    keys.iter().map(name).collect::<Vec<_>>().join(",")
}

fn key_name(key: &EncodedKey) -> String {
    let key = key.decode();
    let row: Vec<_> = key
        .values
        .iter()
        .map(|value| match value {
            KeyValue::Text(text) => text.clone(),
            KeyValue::Integer(_)
            | KeyValue::Unsigned(_)
            | KeyValue::Float(_)
            | KeyValue::Bytes(_) => format!("{value:?}"),
        })
        .collect();
    match (key.kind, key.table.as_str()) {
        (KeyKind::Table, table) => format!("{table}.*"),
        (KeyKind::Row | KeyKind::Unique(_), "t") => row.join("+"),
        (KeyKind::Row | KeyKind::Unique(_), table) => format!("{table}:{}", row.join("+")),
    }
}

/// All that is live: transactions and branches, who holds what, who waits.
pub(super) fn state(group: &Group) -> String {
    let mut out = String::new();
    for txn in group.transactions() {
        let closing = if txn.closing.is_some() { ", closing" } else { "" };
        let _ = writeln!(out, "  T{} {}{closing}", txn.row.number, status(txn.row.status));
        for known in &txn.branches {
            let unknown = if known.row.phase_one == PhaseOne::Unknown { "?" } else { "" };
            let _ = writeln!(out, "    {}{unknown}", branch(&known.row));
        }
    }
    for (key, holders) in group.locks().holdings() {
        let name = |(xid, exclusive): &(crate::id::XidNumber, bool)| {
            format!("T{xid}{}", if *exclusive { "" } else { "~" })
        };
        let holders: Vec<_> = holders.iter().map(name).collect();
        let queued = group.waiting().waiters().filter(|waiter| waiter.taken.contains(&key));
        let waiters: Vec<_> = queued.map(|waiter| format!("w{}", waiter.id.0)).collect();
        let queue = if waiters.is_empty() { String::new() } else { " <- ".to_owned() };
        let key = format!("{}:{}", place(key.resource), key_name(&key.key));
        let line = format!("  {key} {}{queue}{}", holders.join("+"), waiters.join(","));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for claim in group.waiting().claims() {
        let _ = writeln!(out, "  c{} T{} {}", claim.id.0, claim.xid, locks(&claim.locks));
    }
    out
}
