//! The fence: what the barrier row of a TCC or saga branch says about a call that has just come.
//!
//! ```text
//!             try, action    confirm       cancel, compensate          how did phase one end?
//! no row      run            evidence lost bury (or evidence lost,     bury: failed
//!                                          or later)
//! open        refuse, keep   run           run (or forward only)       done
//! spent       refuse, keep   done          never both                  done
//! undone      refuse         never both    done                        failed
//! tombstone   refuse         never both    done                        failed
//! untrusted   refuse         tampered      tampered                    tampered
//! ```
//!
//! [`judge`] looks at the row and at the call, and says what to do; whoever asks does it in the local
//! transaction that read the row, and marks the row in the same one. Every call may come zero, one or
//! many times, in any order: of confirm and cancel at most one takes effect, and once, and nothing
//! takes effect after the tombstone.
//!
//! Easy to get wrong: no row does not say that nothing will come. A phase one may still be under way,
//! so it is answered only by the tombstone, whose key keeps the late one out.

/// What the branch's own database knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// There is no row.
    None,
    /// Phase one is committed.
    Open,
    /// The branch is confirmed.
    Spent,
    /// The branch was cancelled or compensated.
    Undone,
    /// A rollback found nothing, and nothing may come any more.
    Tombstone,
    /// The row is another coordinator's, another mode's, or was changed by hand.
    Untrusted,
}

/// What comes to the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// TCC's phase one.
    Try,
    /// A saga step's phase one, which may be attempted again under the same key.
    Act,
    /// TCC's commit.
    Confirm,
    /// TCC's rollback.
    Cancel {
        /// Whether the coordinator knows that phase one was done.
        phase_one_done: bool,
    },
    /// A saga step's rollback.
    Compensate {
        /// Whether the coordinator knows that phase one was done.
        phase_one_done: bool,
        /// Whether an attempt may still be under way.
        attempt: Attempt,
        /// Whether the step has a compensation.
        step: Step,
    },
    /// The coordinator asks how phase one ended.
    Ask {
        /// Whether an attempt may still be under way.
        attempt: Attempt,
    },
}

/// Whether a phase one of which there is no row may still be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attempt {
    /// Its own time limit has passed, or it has none to be waited for: the tombstone keeps it out.
    Over,
    /// Its own time limit has not passed.
    MayRun,
}

/// Whether a saga step can be reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// It has a compensation.
    Compensable,
    /// It has none, and says so.
    ForwardOnly,
}

/// What is to be done, in the local transaction that read the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use]
pub enum Verdict {
    /// Run the handler, and with it write the open row, or mark it spent or undone.
    Run,
    /// Run nothing: an earlier call did it. For an action: give its kept result.
    AlreadyDone,
    /// Run nothing: phase one did not take place and never will.
    NotDone,
    /// Insert the tombstone, and answer that nothing was done: to a rollback, that it is complete.
    Bury,
    /// Run nothing, and come again.
    Later,
    /// Do not run phase one.
    Refuse(Refusal),
    /// Touch nothing: a person must look.
    Park(Fault),
}

/// Why phase one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It ran before.
    Duplicate,
    /// The branch was rolled back before it came.
    RolledBack,
    /// The row that is there is none of this branch's.
    Untrusted,
}

/// What no repetition cures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Phase one was done, and its row is gone.
    EvidenceLost,
    /// The row cannot be trusted.
    EvidenceTampered,
    /// Confirm of what was cancelled, or cancel of what was confirmed.
    Both,
    /// The step took place and has no compensation.
    ForwardOnly,
}

/// What to do about a call.
pub fn judge(row: Row, call: Call) -> Verdict {
    match call {
        Call::Try => judge_try(row),
        Call::Act => judge_action(row),
        Call::Confirm => judge_confirm(row),
        Call::Cancel { phase_one_done } => {
            judge_rollback(row, phase_one_done, Attempt::Over, Step::Compensable)
        }
        Call::Compensate { phase_one_done, attempt, step } => {
            judge_rollback(row, phase_one_done, attempt, step)
        }
        Call::Ask { attempt } => judge_question(row, attempt),
    }
}

fn judge_try(row: Row) -> Verdict {
    match row {
        Row::None => Verdict::Run,
        Row::Open | Row::Spent => Verdict::Refuse(Refusal::Duplicate),
        Row::Undone | Row::Tombstone => Verdict::Refuse(Refusal::RolledBack),
        Row::Untrusted => Verdict::Refuse(Refusal::Untrusted),
    }
}

fn judge_action(row: Row) -> Verdict {
    match row {
        Row::None => Verdict::Run,
        Row::Open | Row::Spent => Verdict::AlreadyDone,
        Row::Undone | Row::Tombstone => Verdict::Refuse(Refusal::RolledBack),
        Row::Untrusted => Verdict::Refuse(Refusal::Untrusted),
    }
}

fn judge_confirm(row: Row) -> Verdict {
    match row {
        Row::Open => Verdict::Run,
        Row::Spent => Verdict::AlreadyDone,
        // A commit is decided only after phase one was done.
        Row::None => Verdict::Park(Fault::EvidenceLost),
        Row::Undone | Row::Tombstone => Verdict::Park(Fault::Both),
        Row::Untrusted => Verdict::Park(Fault::EvidenceTampered),
    }
}

fn judge_rollback(row: Row, phase_one_done: bool, attempt: Attempt, step: Step) -> Verdict {
    match (row, step) {
        (Row::None, _) => match (phase_one_done, attempt) {
            (true, _) => Verdict::Park(Fault::EvidenceLost),
            (false, Attempt::MayRun) => Verdict::Later,
            // Also for a step without a compensation: it never took place.
            (false, Attempt::Over) => Verdict::Bury,
        },
        (Row::Open, Step::Compensable) => Verdict::Run,
        (Row::Open, Step::ForwardOnly) => Verdict::Park(Fault::ForwardOnly),
        (Row::Undone | Row::Tombstone, _) => Verdict::AlreadyDone,
        (Row::Spent, _) => Verdict::Park(Fault::Both),
        (Row::Untrusted, _) => Verdict::Park(Fault::EvidenceTampered),
    }
}

fn judge_question(row: Row, attempt: Attempt) -> Verdict {
    match (row, attempt) {
        (Row::None, Attempt::MayRun) => Verdict::Later,
        (Row::None, Attempt::Over) => Verdict::Bury,
        (Row::Open | Row::Spent, _) => Verdict::AlreadyDone,
        (Row::Undone | Row::Tombstone, _) => Verdict::NotDone,
        (Row::Untrusted, _) => Verdict::Park(Fault::EvidenceTampered),
    }
}

#[cfg(test)]
mod tests;
