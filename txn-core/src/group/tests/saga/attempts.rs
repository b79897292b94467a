//! Attempts of a step, and what their answers mean.

use expect_test::expect;

use crate::group::tests::script::check;

#[test]
fn a_step_that_fails_is_tried_again_and_then_the_saga_rolls_back() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a y@a; submit s; did T1 x done
        did T1 y failed
          ~ T1/s1 postponed
          @ 1 step T1/s1
        @2
          @0 resume a from T0
          @1 step T1/s1
          ~ T1/s1 sent
          > act T1/b2 at a, try 2
          @ 12 step T1/s1
        did T1 y failed
          = T1/s1 Failed { certain: false }, no
          = T1 RollingBack(StepFailed)
          ~ T1/s1 sent
          > compensate T1/b2 at a, try 1
          @ 3 step T1/s1
        ask T1 wait=5
          ~ #7 awaits the end of T1
          @ 7 completion T1 #7
        undid T1 y done
          = T1/s1 Undone, no
          ~ T1/s0 sent
          > compensate (done) T1/b1 at a, try 1
          @ 3 step T1/s0
        undid T1 x done
          = T1/s0 Undone, took place
          = T1 RolledBack(StepFailed)
          < #7 T1 RolledBack(StepFailed), y: no
    "#]]);
}

#[test]
fn an_error_that_is_final_is_not_tried_again() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a y@a; submit s; did T1 x done
        did T1 y sold-out
          = T1/s1 Failed { certain: true }, sold-out
          = T1 RollingBack(StepFailed)
          ~ T1/s0 sent
          > compensate (done) T1/b1 at a, try 1
          @ 1 step T1/s0
        undid T1 x done
          = T1/s0 Undone, took place
          = T1 RolledBack(StepFailed)
        submit s
          ~ T2 began
          = T2 Active
          = T2 runs s@1
          ~ T2/s0 sent
          < #7 T2 Active
          > act T2/b1 at a, try 1
          @ 11 step T2/s0
        did T2 x final
          = T2/s0 Failed { certain: true }, never
          = T2 RollingBack(StepFailed)
          = T2 RolledBack(StepFailed)
    "#]]);
}

#[test]
fn an_attempt_without_an_answer_is_repeated_and_then_undone_in_case_it_took_place() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a; define c x@a-
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          < #4 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        @11
          @0 resume a from T0
          @11 step T1/s0
          ~ T1/s0 postponed
          @ 12 step T1/s0
        @13
          @12 step T1/s0
          ~ T1/s0 sent
          > act T1/b1 at a, try 2
          @ 23 step T1/s0
        @25
          @23 step T1/s0
          = T1/s0 Failed { certain: false }, pactum-unknown
          = T1 RollingBack(StepFailed)
          ~ T1/s0 sent
          > compensate T1/b1 at a, try 1
          @ 24 step T1/s0
          @24 step T1/s0
          ~ T1/s0 sent
          > compensate T1/b1 at a, try 2
          @ 25.63 step T1/s0
        undid T1 x done
          = T1/s0 Undone, pactum-unknown
          = T1 RolledBack(StepFailed)
        submit c
          ~ T2 began
          = T2 Active
          = T2 runs c@1
          ~ T2/s0 sent
          < #6 T2 Active
          > act T2/b1 at a, try 1
          @ 36 step T2/s0
        @37
          @25.63 step T1/s0
          @36 step T2/s0
          = T2/s0 Failed { certain: false }, pactum-unknown
          = T2 RollingBack(StepFailed)
          ~ T2/s0 sent
          > compensate T2/b1 at a, try 1
          @ 37 step T2/s0
          @37 step T2/s0
          ~ T2/s0 sent
          > compensate T2/b1 at a, try 2
          @ 38.63 step T2/s0
    "#]]);
}

#[test]
fn later_costs_no_attempt() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a; submit s
        did T1 x later after=3
          ~ T1/s0 postponed
          @ 3 step T1/s0
        @3
          @0 resume a from T0
          @3 step T1/s0
          ~ T1/s0 sent
          > act T1/b1 at a, try 2
          @ 14 step T1/s0
        did T1 x later
          ~ T1/s0 postponed
          @ 4 step T1/s0
        @5
          @4 step T1/s0
          ~ T1/s0 sent
          > act T1/b1 at a, try 3
          @ 15 step T1/s0
        did T1 x later
          ~ T1/s0 postponed
          @ 6 step T1/s0
        @7
          @6 step T1/s0
          ~ T1/s0 sent
          > act T1/b1 at a, try 4
          @ 17 step T1/s0
        did T1 x done
          = T1/s0 Done, took place
          = T1 Committed
    "#]]);
}

/// Who does not know what came of an attempt is as good as one who did not answer in time, but at once.
#[test]
fn an_attempt_of_which_nobody_knows_is_repeated_under_its_key_or_compensated() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a; define c x@a-
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          < #4 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        did T1 x unknown
          ~ T1/s0 postponed
          @ 1 step T1/s0
        @2
          @0 resume a from T0
          @1 step T1/s0
          ~ T1/s0 sent
          > act T1/b1 at a, try 2
          @ 12 step T1/s0
        did T1 x unknown
          = T1/s0 Failed { certain: false }, lost
          = T1 RollingBack(StepFailed)
          ~ T1/s0 sent
          > compensate T1/b1 at a, try 1
          @ 3 step T1/s0
        undid T1 x done
          = T1/s0 Undone, lost
          = T1 RolledBack(StepFailed)
        submit c
          ~ T2 began
          = T2 Active
          = T2 runs c@1
          ~ T2/s0 sent
          < #8 T2 Active
          > act T2/b1 at a, try 1
          @ 13 step T2/s0
        did T2 x unknown
          = T2/s0 Failed { certain: false }, lost
          = T2 RollingBack(StepFailed)
          ~ T2/s0 sent
          > compensate T2/b1 at a, try 1
          @ 3 step T2/s0
        did T2 x done
        @6
          @3 step T1/s0
          @3 step T2/s0
          ~ T2/s0 sent
          > compensate T2/b1 at a, try 2
          @ 4.63 step T2/s0
          @4.63 step T2/s0
          ~ T2/s0 sent
          > compensate T2/b1 at a, try 3
          @ 7.91 step T2/s0
        undid T2 x done
          = T2/s0 Undone, lost
          = T2 RolledBack(StepFailed)
    "#]]);
}

#[test]
fn an_ongoing_step_is_asked_again_or_completed_from_outside() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          < #3 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        complete T1 x done
          < #4 REFUSED StepState { step: "x", why: "it has not answered *ongoing*" }
        did T1 x ongoing after=5
          = T1/s0 Waiting
          ~ T1/s0 postponed
          @ 5 step T1/s0
        @5
          @0 resume a from T0
          @5 step T1/s0
          ~ T1/s0 sent
          > act T1/b1 at a, try 2
          @ 16 step T1/s0
        did T1 x ongoing
          ~ T1/s0 postponed
        @100
          @11 step T1/s0
          @16 step T1/s0
        complete T1 x done
          = T1/s0 Done, took place
          = T1 Committed
          < #7 T1 Active, null
        submit s
          ~ T2 began
          = T2 Active
          = T2 runs s@1
          ~ T2/s0 sent
          < #8 T2 Active
          > act T2/b1 at a, try 1
          @ 111 step T2/s0
        did T2 x ongoing
          = T2/s0 Waiting
          ~ T2/s0 postponed
        complete T2 x failed
          = T2/s0 Failed { certain: false }, no
          = T2 RollingBack(StepFailed)
          ~ T2/s0 sent
          < #10 T2 Active, x: no
          > compensate T2/b1 at a, try 1
          @ 101 step T2/s0
        undid T2 x done
          = T2/s0 Undone, no
          = T2 RolledBack(StepFailed)
    "#]]);
}

#[test]
fn nobody_but_who_proved_the_resource_answers_and_late_answers_change_nothing() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a y@a; submit s
        did T1 x done s=9
        did T1 y done
        did T1 x done
          = T1/s0 Done, took place
          ~ T1/s1 sent
          > act T1/b2 at a, try 1
          @ 11 step T1/s1
        did T1 x failed
        undid T1 x done
        commit T1
          < #9 REFUSED IsSaga(XidNumber(1))
        register T1 b5 a x
          < #10 REFUSED IsSaga(XidNumber(1))
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/s1 sent
          < #11 RollingBack(Requested)
          > compensate T1/b2 at a, try 2
          @ 1.77 step T1/s1
        did T1 y done
        undid T1 x done
        undid T1 y done
          = T1/s1 Undone
          ~ T1/s0 sent
          > compensate (done) T1/b1 at a, try 1
          @ 1 step T1/s0
        undid T1 x done
          = T1/s0 Undone, took place
          = T1 RolledBack(Requested)
    "#]]);
}
