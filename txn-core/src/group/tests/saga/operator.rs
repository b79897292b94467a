//! An operator's words.

use expect_test::expect;

use crate::group::tests::script::check;

#[test]
fn forward_recovery_parks_the_step_and_a_person_decides() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a^ y@a; submit s
        did T1 x final
          = T1/s0 Parked(HandlerFatal), never
        ask T1
          < #5 T1 Active, 1 parked
        retry T1
          = T1/s0 Open, never
          ~ T1/s0 sent
          < #6 retried 1
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        did T1 x final
          = T1/s0 Parked(HandlerFatal), never
        say T1 retry x
          = T1/s0 Open, never
          = T1 runs s@1, Retry (asked)
          ~ T1/s0 sent
          < #8 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        did T1 x final
          = T1/s0 Parked(HandlerFatal), never
        say T1 skip x
          = T1 runs s@1, Retry (asked), Skip (asked)
          = T1/s0 Skipped, never
          ~ T1/s1 sent
          < #10 T1 Active
          > act T1/b2 at a, try 1
          @ 11 step T1/s1
        did T1 x done
        did T1 y done
          = T1/s1 Done, took place
          = T1 Committed
    "#]]);
}

#[test]
fn a_forced_step_is_done_and_undone_as_one_of_which_nothing_is_known() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a^ y@a; submit s; did T1 x final
        say T1 force x
          = T1 runs s@1, Force (asked)
          = T1/s0 Done
          ~ T1/s1 sent
          < #5 T1 Active
          > act T1/b2 at a, try 1
          @ 11 step T1/s1
        did T1 y final
          = T1/s1 Failed { certain: true }, never
          = T1 RollingBack(StepFailed)
          ~ T1/s0 sent
          > compensate T1/b1 at a, try 1
          @ 1 step T1/s0
        undid T1 x done
          = T1/s0 Undone
          = T1 RolledBack(StepFailed)
    "#]]);
}

#[test]
fn a_paused_saga_starts_nothing_and_goes_on_where_it_was() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; define s x@a y@a; submit s
        say T1 pause
          = T1 runs s@1, paused, Pause (asked)
          < #4 T1 Active, paused
        did T1 x done
          = T1/s0 Done, took place
        say T1 pause y
          < #6 REFUSED StepState { step: "y", why: "this is said of a whole saga: name no step" }
        say T1 resume
          = T1 runs s@1, Pause (asked), Resume (asked)
          ~ T1/s1 sent
          < #7 T1 Active
          > act T1/b2 at a, try 1
          @ 11 step T1/s1
        did T1 y failed
          ~ T1/s1 postponed
          @ 1 step T1/s1
        say T1 pause
          = T1 runs s@1, paused, Pause (asked), Resume (asked), Pause (asked)
          < #9 T1 Active, paused
        @5
          @0 resume a from T0
          @1 step T1/s1
        restart
          > reserve ids
          @ 5 saga T1
          @ 316224000 deadline T1
          @ 5 history
        given open 1 n1; attach 1 a offers=x,y
        @6
          @5 saga T1
          @5 resume a from T0
        say T1 resume
          = T1 runs s@1, Pause (asked), Resume (asked), Pause (asked), Resume (asked)
          ~ T1/s1 sent
          < #12 T1 Active
          > act T1/b2 at a, try 1
          @ 17 step T1/s1
        say T1 cancel
          = T1 runs s@1, Pause (asked), Resume (asked), Pause (asked), Resume (asked), Cancel (asked)
          = T1 RollingBack(Requested)
          ~ T1/s1 sent
          < #13 T1 RollingBack(Requested)
          > compensate T1/b2 at a, try 2
          @ 7.77 step T1/s1
        @60
          @7.77 step T1/s1
          ~ T1/s1 sent
          > compensate T1/b2 at a, try 3
          @ 11.33 step T1/s1
          @11.33 step T1/s1
          ~ T1/s1 sent
          > compensate T1/b2 at a, try 4
          @ 18.44 step T1/s1
          @17 step T1/s1
          @18.44 step T1/s1
          ~ T1/s1 sent
          > compensate T1/b2 at a, try 5
          @ 32.66 step T1/s1
          @32.66 step T1/s1
          ~ T1/s1 sent
          > compensate T1/b2 at a, try 6
          @ 61.09 step T1/s1
    "#]]);
}

#[test]
fn an_attempt_whose_time_ended_in_a_pause_means_what_its_step_says() {
    check(&expect![[r#"
        given attach 1 a offers=x; define c x@a-; submit c; say T1 pause
        @20
          @0 resume a from T0
          @11 step T1/s0
        say T1 resume
          = T1 runs c@1, Pause (asked), Resume (asked)
          = T1/s0 Failed { certain: false }, pactum-unknown
          = T1 RollingBack(StepFailed)
          ~ T1/s0 sent
          < #5 T1 Active, x: pactum-unknown
          > compensate T1/b1 at a, try 1
          @ 21 step T1/s0
        undid T1 x done
          = T1/s0 Undone, pactum-unknown
          = T1 RolledBack(StepFailed)
        given define s x@a; submit s; say T2 pause
        @40
          @21 step T1/s0
          @31 step T2/s0
        say T2 resume
          = T2 runs s@1, Pause (asked), Resume (asked)
          ~ T2/s0 postponed
          < #10 T2 Active
          @ 41 step T2/s0
        @42
          @41 step T2/s0
          ~ T2/s0 sent
          > act T2/b1 at a, try 2
          @ 52 step T2/s0
        say T2 pause
          = T2 runs s@1, paused, Pause (asked), Resume (asked), Pause (asked)
          < #11 T2 Active, paused
        @60
          @52 step T2/s0
        say T2 resume
          = T2 runs s@1, Pause (asked), Resume (asked), Pause (asked), Resume (asked)
          = T2/s0 Failed { certain: false }, pactum-unknown
          = T2 RollingBack(StepFailed)
          ~ T2/s0 sent
          < #12 T2 Active, x: pactum-unknown
          > compensate T2/b1 at a, try 1
          @ 61 step T2/s0
    "#]]);
}

#[test]
fn a_paused_saga_sends_nothing_when_it_is_tried_again() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a; submit s
        say T1 pause
          = T1 runs s@1, paused, Pause (asked)
          < #4 T1 Active, paused
        say T1 retry x
          < #5 REFUSED StepState { step: "x", why: "it is not parked, and nothing of it can be tried again now" }
        did T1 x failed
          ~ T1/s0 postponed
          @ 1 step T1/s0
        say T1 retry x
          ~ T1/s0 postponed
          < #7 T1 Active, paused
        say T1 retry
          ~ T1/s0 postponed
          < #8 T1 Active, paused
        say T1 resume
          = T1 runs s@1, Pause (asked), Resume (asked)
          ~ T1/s0 sent
          < #9 T1 Active
          > act T1/b1 at a, try 2
          @ 11 step T1/s0
        say T1 pause
          = T1 runs s@1, paused, Pause (asked), Resume (asked), Pause (asked)
          < #10 T1 Active, paused
        say T1 cancel
          = T1 runs s@1, paused, Pause (asked), Resume (asked), Pause (asked), Cancel (asked)
          = T1 RollingBack(Requested)
          < #11 T1 RollingBack(Requested), paused
        retry T1
          < #12 retried 0
        say T1 resume
          = T1 runs s@1, Pause (asked), Resume (asked), Pause (asked), Cancel (asked), Resume (asked)
          ~ T1/s0 sent
          < #13 T1 RollingBack(Requested)
          > compensate T1/b1 at a, try 3
          @ 3.27 step T1/s0
    "#]]);
}

#[test]
fn nobody_hurries_a_compensation_whose_attempt_may_be_under_way() {
    check(&expect![[r#"
        given attach 1 c: offers=x; define s x@c; submit s; say T1 cancel
        @1
          @0 resume c from T0
        retry T1
          < #5 retried 0
        say T1 retry x
          < #6 REFUSED StepState { step: "x", why: "it is not parked, and nothing of it can be tried again now" }
        say T1 pause
          = T1 runs s@1, paused, Cancel (asked), Pause (asked)
          < #7 T1 RollingBack(Requested), paused
        say T1 retry
          < #8 T1 RollingBack(Requested), paused
        say T1 resume
          = T1 runs s@1, Cancel (asked), Pause (asked), Resume (asked)
          < #9 T1 RollingBack(Requested)
        @11
          @11 step T1/s0
          ~ T1/s0 sent
          > compensate T1/b1 at c, try 1
          @ 12 step T1/s0
          @11 step T1/s0
        restart
          > reserve ids
          @ 11 saga T1
          @ 11 history
        given open 1 n1; attach 1 c: offers=x
        undid T1 x later
          ~ T1/s0 postponed
          @ 11.81 step T1/s0
        say T1 retry x
          ~ T1/s0 sent
          < #13 T1 RollingBack(Requested)
          > compensate T1/b1 at c, try 2
          @ 12.63 step T1/s0
    "#]]);
}
