//! Ended transactions stay for late questions, and then go.

use expect_test::expect;

use super::script::{check, check_with};
use crate::policy::Policy;

#[test]
fn an_ended_transaction_answers_every_late_question_with_its_outcome() {
    check(&expect![[r#"
        given begin
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #2 registered as 1
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b1 sent
          < #3 RollingBack(Requested)
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
        commit T1 b1
          < #5 RolledBack(Requested)
        rollback T1
          < #6 RolledBack(Requested)
        outcome T1 completed
          < #7 RolledBack(Requested)
        register T1 b2 a y
          < #8 NOT ACTIVE: RolledBack(Requested)
        done T1 b1 ack
          < #9 recorded
        failed T1 b9 a ack
          < #10 recorded
        restart
          > reserve ids
          @ 0 history
        commit T1 b1
          < #11 RolledBack(Requested)
    "#]]);
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    check_with(
        Policy { history_rows_max: 1, ..Policy::default() },
        &expect![[r#"
            given begin; begin; begin
            commit T2
              = T2 Committed
              < #4 Committed
            commit T1
              = T1 Committed
              < #5 Committed
            commit T3
              = T3 Committed
              < #6 Committed
            timer history
              = prune T2,T1 horizon 2
              @ 1 history
            outcome T2
              < #8 REFUSED Expired
            outcome T1
              < #9 REFUSED Expired
            outcome T3
              < #10 Committed
            restart
              > reserve ids
              @ 0 history
            outcome T2
              < #11 REFUSED Expired
            outcome T3
              < #12 Committed
        "#]],
    );
}

#[test]
fn a_key_can_begin_anew_once_its_transaction_is_pruned() {
    check(&expect![[r#"
        begin key=k
          ~ T1 began
          < #1 begun T1, 60s left
          @ 60 deadline T1
        commit T1
          = T1 Committed
          < #2 Committed
        timer history
          @ 1 history
        begin key=k
          < #4 begun T1, 0ns left
        @86400.5!
        timer history
          = prune T1 horizon 1
          @ 86401.5 history
        begin key=k
          ~ T2 began
          < #6 begun T2, 60s left
          @ 86460.5 deadline T2
    "#]]);
}
