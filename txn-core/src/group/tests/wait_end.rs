//! How a wait ends without its keys.

use expect_test::expect;

use super::script::check;

#[test]
fn a_cancelled_wait_is_not_answered() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x
        register T2 b2 a x wait=5
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        cancel #4
          ~ w1 is over
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          < #6 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        show
          T1 Committing
            T1/b1 Done a:x
          T2 Active
    "#]]);
}

#[test]
fn a_wait_ends_with_its_session() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x
        register T2 b2 a x wait=5 s=2
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        close 2
          ~ w1 is over
          ~ session 2 is gone
          ~ n2 is gone
          < #4 REFUSED NotAttached(ResourceId("a"))
          @ 10 lost n2
        show
          T1 Active
            T1/b1 Unknown a:x?
          T2 Active
          a:x T1
          a:t.* T1~
    "#]]);
}

#[test]
fn a_wait_ends_with_the_decision_of_its_own_transaction() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x
        register T2 b2 a x wait=5
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        register T2 b3 a y
          = T2 Active
          = T2/b3 Unknown a:y
          < #5 registered as 1
        veto T2
          = T2 RollingBack(Vetoed)
          ~ w1 is over
          ~ T2/b3 sent
          < #4 NOT ACTIVE: RollingBack(Vetoed)
          < #6 RollingBack(Vetoed)
          > roll back T2/b3 at a, try 1
          @ 0.95 phase-two T2
        begin
          ~ T3 began
          < #7 begun T3, 60s left
          @ 60 deadline T3
        register T3 b4 a x wait=5
          ~ w2 T3/b4 waits for a:x
          @ 5 wait w2
        register T3 b5 a z
          = T3 Active
          = T3/b5 Unknown a:z
          < #9 registered as 1
        commit T3
          ~ T3 closing for #10
          ~ w2 is over
          < #8 NOT ACTIVE: Active
          @ 5 closing T3
        show
          T1 Active
            T1/b1 Unknown a:x?
          T2 RollingBack(Vetoed)
            T2/b3 Unknown a:y?
          T3 Active, closing
            T3/b5 Unknown a:z?
          a:x T1
          a:y T2
          a:z T3
          a:t.* T1~+T2~+T3~
    "#]]);
}

#[test]
fn a_rollback_turns_away_those_who_hold_row_locks_and_keeps_the_others() {
    check(&expect![[r#"
        given begin; begin; begin; begin; register T1 b1 a x
        register T2 b2 a x wait=1 local
          ~ w1 T2/b2 waits for a:x
          @ 1 wait w1
        register T3 b3 a x wait=9
          ~ w2 T3/b3 waits for a:x
          @ 9 wait w2
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b1 sent
          ~ w1 is over
          < #8 RollingBack(Requested)
          < #6 CONFLICT x with T1
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        register T4 b4 a x wait=1 local
          < #9 CONFLICT x with T1
        register T4 b5 a x wait=9
          ~ w3 T4/b5 waits for a:x
          @ 9 wait w3
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
          ~ w2 is over
          = T3 Active
          = T3/b3 Unknown a:x
          < #7 registered as 1
        outcome T2
          < #12 Active
        show
          T2 Active
          T3 Active
            T3/b3 Unknown a:x?
          T4 Active
          a:x T3 <- w3
          a:t.* T3~
    "#]]);
}

#[test]
fn a_waiter_with_row_locks_does_not_move_behind_one_that_rolls_back() {
    check(&expect![[r#"
        given begin; begin; begin; register T1 b1 a x; register T2 b2 a y
        register T3 b3 a x,y wait=1 local
          ~ w1 T3/b3 waits for a:x,a:y
          @ 1 wait w1
        rollback T2
          = T2 RollingBack(Requested)
          ~ T2/b2 sent
          ~ w1 is over
          < #7 RollingBack(Requested)
          < #6 CONFLICT y with T2
          > roll back T2/b2 at a, try 1
          @ 0.88 phase-two T2
        begin
          ~ T4 began
          < #8 begun T4, 60s left
          @ 60 deadline T4
        register T4 b4 a x,z wait=1 local
          ~ w2 T4/b4 waits for a:x
          @ 1 wait w2
        register T2 b5 a z
          < #10 NOT ACTIVE: RollingBack(Requested)
        begin
          ~ T5 began
          < #11 begun T5, 60s left
          @ 60 deadline T5
        register T5 b6 a z
          = T5 Active
          = T5/b6 Unknown a:z
          < #12 registered as 1
        rollback T5
          = T5 RollingBack(Requested)
          ~ T5/b6 sent
          ~ w2 is over
          < #13 RollingBack(Requested)
          < #9 CONFLICT z with T5
          > roll back T5/b6 at a, try 1
          @ 0.91 phase-two T5
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          < #14 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        show
          T1 Committing
            T1/b1 Done a:x
          T2 RollingBack(Requested)
            T2/b2 Unknown a:y?
          T3 Active
          T4 Active
          T5 RollingBack(Requested)
            T5/b6 Unknown a:z?
          a:y T2
          a:z T5
          a:t.* T2~+T5~
    "#]]);
}

#[test]
fn a_transaction_does_not_wait_for_one_that_it_suspends() {
    check(&expect![[r#"
        given begin; begin outer=T1; begin outer=T2; register T1 b1 a x
        register T2 b2 a x wait=5
          < #5 HELD BY OUTER T1 x
        register T3 b3 a x wait=5
          < #6 HELD BY OUTER T1 x
        begin
          ~ T4 began
          < #7 begun T4, 60s left
          @ 60 deadline T4
        register T4 b4 a x wait=5
          ~ w1 T4/b4 waits for a:x
          @ 5 wait w1
    "#]]);
}

#[test]
fn a_grant_after_the_deadline_is_none() {
    check(&expect![[r#"
        given begin; begin timeout=5; register T1 b1 a x
        register T2 b2 a x wait=9
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        register T2 b3 a y
          = T2 Active
          = T2/b3 Unknown a:y
          < #5 registered as 1
        @6!
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          = T2 RollingBack(TimedOut)
          ~ w1 is over
          ~ T2/b3 sent
          < #6 Committing
          < #4 NOT ACTIVE: RollingBack(TimedOut)
          > commit T1/b1 at a, try 1
          > roll back T2/b3 at a, try 1
          @ 6.81 phase-two T1
          @ 6.95 phase-two T2
    "#]]);
}
