//! The way back: which compensations are asked for, and when.

use expect_test::expect;

use crate::group::tests::script::check;

#[test]
fn a_compensation_is_repeated_and_a_parked_one_waits_for_a_person() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a y@a; submit s; did T1 x done; did T1 y done
        given submit s; did T2 x done; did T2 y final
        undid T2 x later
          ~ T2/s0 postponed
          @ 0.81 step T2/s0
        @2
          @0 resume a from T0
          @0.81 step T2/s0
          ~ T2/s0 sent
          > compensate (done) T2/b1 at a, try 2
          @ 2.45 step T2/s0
          @1 step T2/s0
        undid T2 x parked
          = T2/s0 UndoParked(HandlerFatal), took place
        ask T2 wait=5
          ~ #11 awaits the end of T2
          @ 7 completion T2 #11
        undid T2 x later
        resolve T2 b1 retry
          = T2/s0 Open, took place
          = T2 runs s@1, Retry (asked)
          ~ T2/s0 sent
          < #13 resolved
          > compensate (done) T2/b1 at a, try 1
          @ 3 step T2/s0
        undid T2 x parked
          = T2/s0 UndoParked(HandlerFatal), took place
          ~ #11 awaits the end of T2 no more
          < #11 T2 RollingBack(StepFailed), y: never
        restart
          > reserve ids
          @ 2 saga T2
          @ 2 history
        given open 1 n1; attach 1 a offers=x,y
        @3
          @2 saga T2
          @2 resume a from T0
        resolve T2 b1 keep why=by-hand
          = T2 runs s@1, Retry (asked), Skip (by-hand)
          = T2/s0 Undone, took place
          = T2 RolledBack(StepFailed)
          < #17 resolved
    "#]]);
}

#[test]
fn a_step_that_nothing_reverses_is_looked_for_and_parked_if_it_took_place() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a! y@a
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          < #3 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        did T1 x done
          = T1/s0 Done, took place
          ~ T1/s1 sent
          > act T1/b2 at a, try 1
          @ 11 step T1/s1
        did T1 y final
          = T1/s1 Failed { certain: true }, never
          = T1 RollingBack(StepFailed)
          ~ T1/s0 sent
          > look for T1/b1 at a, try 1
          @ 1 step T1/s0
        undid T1 x parked
          = T1/s0 UndoParked(HandlerFatal), took place
        say T1 skip x
          = T1 runs s@1, Skip (asked)
          = T1/s0 Undone, took place
          = T1 RolledBack(StepFailed)
          < #7 T1 RollingBack(StepFailed), y: never
    "#]]);
}

#[test]
fn a_service_without_a_database_is_undone_only_when_its_attempt_is_over() {
    check(&expect![[r#"
        given attach 1 c: offers=x; define s x@c
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          < #3 T1 Active
          > act T1/b1 at c, try 1
          @ 11 step T1/s0
        say T1 cancel
          = T1 runs s@1, Cancel (asked)
          = T1 RollingBack(Requested)
          ~ T1/s0 postponed
          < #4 T1 RollingBack(Requested)
          @ 11 step T1/s0
        @11
          @0 resume c from T0
          @11 step T1/s0
          ~ T1/s0 sent
          > compensate T1/b1 at c, try 1
          @ 12 step T1/s0
          @11 step T1/s0
        undid T1 x done
          = T1/s0 Undone
          = T1 RolledBack(Requested)
        submit s
          ~ T2 began
          = T2 Active
          = T2 runs s@1
          ~ T2/s0 sent
          < #6 T2 Active
          > act T2/b1 at c, try 1
          @ 22 step T2/s0
        restart
          > reserve ids
          @ 11 saga T2
          @ 316224011 deadline T2
          @ 11 history
        given open 1 n1; attach 1 c: offers=x
        @12
          @11 saga T2
          ~ T2/s0 sent
          > act T2/b1 at c, try 1
          @ 22 step T2/s0
          @11 resume c from T0
        say T2 cancel
          = T2 runs s@1, Cancel (asked)
          = T2 RollingBack(Requested)
          ~ T2/s0 postponed
          < #9 T2 RollingBack(Requested)
          @ 22 step T2/s0
        @22
          @22 step T2/s0
          ~ T2/s0 sent
          > compensate T2/b1 at c, try 1
          @ 23 step T2/s0
          @22 step T2/s0
        undid T2 x done
          = T2/s0 Undone
          = T2 RolledBack(Requested)
    "#]]);
}

#[test]
fn a_cancelled_saga_undoes_what_may_have_happened_side_by_side() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; attach 2 b offers=x,y; define s x@a |y@b
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          ~ T1/s1 sent
          < #4 T1 Active
          > act T1/b1 at a, try 1
          > act T1/b2 at b, try 1
          @ 11 step T1/s0
          @ 11 step T1/s1
        did T1 x done
          = T1/s0 Done, took place
        say T1 cancel
          = T1 runs s@1, Cancel (asked)
          = T1 RollingBack(Requested)
          ~ T1/s0 sent
          ~ T1/s1 sent
          < #6 T1 RollingBack(Requested)
          > compensate (done) T1/b1 at a, try 1
          > compensate T1/b2 at b, try 2
          @ 1 step T1/s0
          @ 1.77 step T1/s1
        @11
          @0 resume a from T0
          @0 resume b from T0
          @1 step T1/s0
          ~ T1/s0 sent
          > compensate (done) T1/b1 at a, try 2
          @ 2.63 step T1/s0
          @1.77 step T1/s1
          ~ T1/s1 sent
          > compensate T1/b2 at b, try 3
          @ 5.33 step T1/s1
          @2.63 step T1/s0
          ~ T1/s0 sent
          > compensate (done) T1/b1 at a, try 3
          @ 5.91 step T1/s0
          @5.33 step T1/s1
          ~ T1/s1 sent
          > compensate T1/b2 at b, try 4
          @ 12.44 step T1/s1
          @5.91 step T1/s0
          ~ T1/s0 sent
          > compensate (done) T1/b1 at a, try 4
          @ 12.47 step T1/s0
          @11 step T1/s0
          @11 step T1/s1
        say T1 cancel
          < #7 T1 RollingBack(Requested)
        undid T1 y done
          = T1/s1 Undone
        say T1 skip x
          = T1 runs s@1, Cancel (asked), Skip (asked)
          = T1/s0 Undone, took place
          = T1 RolledBack(Requested)
          < #9 T1 RollingBack(Requested)
    "#]]);
}
