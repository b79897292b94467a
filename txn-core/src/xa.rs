//! The hardest rule of XA, as a pure function: what does a database's answer mean?
//!
//! A prepared transaction that a database does not know was finished, or rolled back, or never
//! prepared; its error says the same of all of them. Two things together tell which: whether the
//! branch is *listed* as prepared, and its barrier row, which lies inside the prepared transaction
//! and so is seen by nobody before that is committed.
//!
//! ```text
//!                  commit             rollback             how did phase one end?
//! listed           finish it          finish it, bury      done
//! not listed,
//!   no row         heuristic          bury, done           bury, failed
//!   row committed  done               heuristic            done
//!   buried         heuristic          done                 failed
//! ```
//!
//! *Bury* is to insert the tombstone, whose insert waits for a branch that is still open: so nothing
//! can be prepared after it. *Heuristic* means that somebody else finished the branch, otherwise than
//! decided; it is told to a person and never called success. That phase one was reported done makes
//! no difference to a rollback: a prepared transaction that is gone is rolled back.
//!
//! Easy to get wrong: the order of looking, which is the list first and the row second. A commit that
//! comes in between makes the row seen before it takes the branch off the list; who looked the other
//! way round would take it for a heuristic outcome.

/// What is asked about a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Commit it.
    Commit,
    /// Roll it back.
    Rollback,
    /// How did its phase one end?
    PhaseOne,
}

/// What a database shows of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is listed as prepared, so nobody can see its row.
    Listed,
    /// It is not listed, and has no row that could be seen.
    Nothing,
    /// It is not listed, and its row is there: what it did is committed.
    Committed,
    /// It is not listed, and a tombstone stands in its place: it never will be.
    Buried,
}

/// How a branch ended that was to end otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heuristic {
    /// It was to be committed and is rolled back.
    RolledBack,
    /// It was to be rolled back and is committed.
    Committed,
}

/// What is to be done and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Finish the prepared transaction as was asked, then look again: what is seen then is true.
    Finish,
    /// Insert the tombstone, then look again.
    Bury,
    /// It is as was asked, or phase one is done.
    Done,
    /// Phase one failed, for certain and for ever.
    Failed,
    /// Somebody finished it otherwise: a person must look.
    Heuristic(Heuristic),
}

/// Judges a branch by what its database shows of it.
pub fn judge(asked: Asked, seen: Seen) -> Verdict {
    match (seen, asked) {
        (Seen::Listed, Asked::Commit | Asked::Rollback) => Verdict::Finish,
        (Seen::Listed, Asked::PhaseOne) => Verdict::Done,

        (Seen::Nothing, Asked::Commit) => Verdict::Heuristic(Heuristic::RolledBack),
        (Seen::Nothing, Asked::Rollback | Asked::PhaseOne) => Verdict::Bury,

        (Seen::Committed, Asked::Commit | Asked::PhaseOne) => Verdict::Done,
        (Seen::Committed, Asked::Rollback) => Verdict::Heuristic(Heuristic::Committed),

        (Seen::Buried, Asked::Commit) => Verdict::Heuristic(Heuristic::RolledBack),
        (Seen::Buried, Asked::Rollback) => Verdict::Done,
        (Seen::Buried, Asked::PhaseOne) => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: [Asked; 3] = [Asked::Commit, Asked::Rollback, Asked::PhaseOne];

    #[test]
    fn what_a_database_shows_of_a_branch_means_one_thing() {
        use Verdict::{Bury, Done, Failed, Finish};
        let rolled_back = Verdict::Heuristic(Heuristic::RolledBack);
        let committed = Verdict::Heuristic(Heuristic::Committed);
        let table = [
            (Seen::Listed, [Finish, Finish, Done]),
            (Seen::Nothing, [rolled_back, Bury, Bury]),
            (Seen::Committed, [Done, committed, Done]),
            (Seen::Buried, [rolled_back, Done, Failed]),
        ];
        for (seen, verdicts) in table {
            assert_eq!(ASKED.map(|asked| judge(asked, seen)), verdicts, "{seen:?}");
        }
    }

    /// Finishing and burying change what is seen, and then there is an answer.
    #[test]
    fn every_question_is_answered_after_one_step() {
        for asked in ASKED {
            for seen in [Seen::Listed, Seen::Nothing, Seen::Committed, Seen::Buried] {
                let after = match (judge(asked, seen), asked) {
                    (Verdict::Finish, Asked::Commit) => Seen::Committed,
                    // The tombstone follows.
                    (Verdict::Finish, Asked::Rollback | Asked::PhaseOne) => Seen::Nothing,
                    (Verdict::Bury, _) => Seen::Buried,
                    (Verdict::Done | Verdict::Failed | Verdict::Heuristic(_), _) => continue,
                };
                let next = judge(asked, after);
                let last = if next == Verdict::Bury { judge(asked, Seen::Buried) } else { next };
                assert!(matches!(last, Verdict::Done | Verdict::Failed), "{asked:?} {seen:?}");
            }
        }
    }
}
