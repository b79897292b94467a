//! Begins that nobody asked for, under numbers of the session's own.

use expect_test::expect;

use super::script::{check, check_with};
use crate::policy::Policy;

fn blocks_of_four() -> Policy {
    Policy { xid_block: 4, ..Policy::default() }
}

#[test]
fn a_session_begins_under_a_number_of_its_block_and_a_repeat_changes_nothing() {
    check_with(
        blocks_of_four(),
        &expect![[r#"
            xids s=1
              ~ T1..5 are for session 1 to begin
              < #1 T1..5 to begin
            named T2 s=1 timeout=60
              ~ T2 began
              @ 60 deadline T2
            named T2 s=1 timeout=60
            register T2 b1 a x
              = T2 Active
              = T2/b1 Unknown a:x
              < #4 registered as 1
            begin
              ~ T5 began
              < #5 begun T5, 60s left
              @ 60 deadline T5
            commit T2 b1
              ~ T2/b1 done
              = T2 Committing
              ~ T2/b1 sent
              < #6 Committing
              > commit T2/b1 at a, try 1
              @ 0.81 phase-two T2
            named T2 s=1
        "#]],
    );
}

#[test]
fn a_number_of_another_session_or_of_no_block_is_not_begun() {
    check_with(
        blocks_of_four(),
        &expect![[r#"
            xids s=1
              ~ T1..5 are for session 1 to begin
              < #1 T1..5 to begin
            named T1 s=2
            named T5 s=1
            outcome T5
              < #4 REFUSED UnknownTransaction
        "#]],
    );
}

/// Another service may hear of the transaction, and register, before the begin has arrived.
#[test]
fn what_overtakes_the_begin_is_asked_to_come_again() {
    check_with(
        blocks_of_four(),
        &expect![[r#"
            xids s=1
              ~ T1..5 are for session 1 to begin
              < #1 T1..5 to begin
            register T1 b1 b y s=2
              < #2 REFUSED NotBegun
            commit T1
              < #3 REFUSED NotBegun
            outcome T1 unnamed
              < #4 REFUSED NotBegun
            named T1 s=1
              ~ T1 began
              @ 60 deadline T1
            register T1 b1 b y s=2
              = T1 Active
              = T1/b1 Unknown b:y
              < #6 registered as 1
        "#]],
    );
}

#[test]
fn once_the_session_is_gone_no_begin_comes_and_the_transaction_is_unrecorded() {
    check_with(
        blocks_of_four(),
        &expect![[r#"
            xids s=1
              ~ T1..5 are for session 1 to begin
              < #1 T1..5 to begin
            named T1 s=1
              ~ T1 began
              @ 60 deadline T1
            close 1
              ~ session 1 is gone
              ~ n1 is gone
              @ 10 lost n1
            outcome T1
              < #4 Active
            outcome T2
              < #5 RolledBack(Unrecorded)
            open 3 n1
              ~ branch ids to 296608 for n1
              ~ session 3 of n1
              < #6 branch ids 231072..296608
            named T2 s=3
            outcome T2
              < #8 RolledBack(Unrecorded)
        "#]],
    );
}

#[test]
fn a_refused_begin_is_heard_by_whoever_asks_for_the_transaction() {
    check_with(
        Policy { active_transactions_max: 1, ..blocks_of_four() },
        &expect![[r#"
            xids s=1
              ~ T1..5 are for session 1 to begin
              < #1 T1..5 to begin
            named T1 s=1
              ~ T1 began
              @ 60 deadline T1
            named T2 s=1
              ~ session 1 never begins T2
            refuse T3 s=1
              ~ session 1 never begins T3
            refuse T1 s=1
            register T2 b1 a x
              < #6 NOT ACTIVE: RolledBack(Unrecorded)
            outcome T3
              < #7 RolledBack(Unrecorded)
            rollback T1
              = T1 RolledBack(Requested)
              < #8 RolledBack(Requested)
            named T2 s=1
            named T3 s=1
            named T4 s=1
              ~ T4 began
              @ 60 deadline T4
        "#]],
    );
}

#[test]
fn nothing_begins_at_or_below_the_horizon() {
    check_with(
        Policy { history_rows_max: 0, ..blocks_of_four() },
        &expect![[r#"
            given xids s=1; begin; rollback T5
            timer history
              = prune T5 horizon 5
              @ 1 history
            named T1 s=1
            outcome T1
              < #6 REFUSED Expired
        "#]],
    );
}

#[test]
fn numbers_are_forgotten_with_a_restart() {
    check(&expect![[r#"
        given xids s=1
        restart
          > reserve ids
          @ 0 history
        open 3 n1
          ~ branch ids to 200065536 for n1
          ~ session 3 of n1
          < #2 branch ids 200000000..200065536
        named T1 s=3
        outcome T1
          < #4 RolledBack(Unrecorded)
    "#]]);
}

/// The third block takes the place of the first: what it named is on its way no more.
#[test]
fn a_session_has_its_last_two_blocks() {
    check_with(
        blocks_of_four(),
        &expect![[r#"
            xids s=1
              ~ T1..5 are for session 1 to begin
              < #1 T1..5 to begin
            xids s=1
              ~ T5..9 are for session 1 to begin
              < #2 T5..9 to begin
            xids s=1
              ~ T9..13 are for session 1 to begin
              < #3 T9..13 to begin
            named T1 s=1
            outcome T1
              < #5 RolledBack(Unrecorded)
            named T5 s=1
              ~ T5 began
              @ 60 deadline T5
        "#]],
    );
}
