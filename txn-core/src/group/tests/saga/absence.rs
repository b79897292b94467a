//! Services that are away and come back, and times that are over.

use expect_test::expect;

use crate::group::tests::script::check;

#[test]
fn a_saga_waits_for_a_service_that_is_away() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a; close 1; close 2
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          < #5 T1 Active
        open 3 n3
          ~ branch ids to 296608 for n3
          ~ session 3 of n3
          < #6 branch ids 231072..296608
        attach 3 a offers=x
          ~ session 3 works on a
          ~ session 3 offers x at a
          < #7 attached a as a
          @ 0 resume a from T0
        @0
          @0 resume a from T0
          ~ T1/s0 sent
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
          @0 resume a from T0
        close 3
          ~ session 3 is gone
          ~ n3 is gone
          @ 10 lost n3
        open 4 n4
          ~ branch ids to 362144 for n4
          ~ session 4 of n4
          < #9 branch ids 296608..362144
        attach 4 a offers=x
          ~ session 4 works on a
          ~ session 4 offers x at a
          < #10 attached a as a
          @ 0 resume a from T0
        @0
          @0 resume a from T0
        did T1 x done s=4
          = T1/s0 Done, took place
          = T1 Committed
    "#]]);
}

#[test]
fn what_came_due_while_nobody_was_there_is_sent_when_somebody_comes() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a; submit s
        did T1 x failed
          ~ T1/s0 postponed
          @ 1 step T1/s0
        given close 1; close 2
        @5
          @0 resume a from T0
          @1 step T1/s0
        given open 3 n3; attach 3 a offers=x
        @6
          @5 resume a from T0
          ~ T1/s0 sent
          > act T1/b1 at a, try 2
          @ 16 step T1/s0
        did T1 x ongoing
          = T1/s0 Waiting
          ~ T1/s0 postponed
        restart
          > reserve ids
          @ 6 step T1/s0
          @ 6 saga T1
          @ 316224000 deadline T1
          @ 6 history
        given open 1 n1; attach 1 a offers=x
        @7
          @6 step T1/s0
          ~ T1/s0 sent
          > act T1/b1 at a, try 1
          @ 17 step T1/s0
          @6 saga T1
          @6 resume a from T0
    "#]]);
}

#[test]
fn what_must_not_be_repeated_is_not_sent_to_a_service_that_is_back() {
    check(&expect![[r#"
        given attach 1 a offers=x; define c x@a-; define s x@a; submit c; submit s
        given close 1; close 2
        @1
          @0 resume a from T0
        given open 3 n3; attach 3 a offers=x
        @2
          @1 resume a from T0
          ~ T2/s0 sent
          > act T2/b1 at a, try 2
          @ 12 step T2/s0
        did T1 x done s=3
          = T1/s0 Done, took place
          = T1 Committed
    "#]]);
}

#[test]
fn waits_end_by_their_time_or_their_event() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s +10 ?e x@a; define f ?e
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          = T1/s0 Waiting
          < #4 T1 Active
          @ 10 step T1/s0
        @10
          @0 resume a from T0
          @10 step T1/s0
          = T1/s0 Done, took place
          = T1/s1 Waiting
          @ 70 step T1/s1
        signal T1 x
          < #5 REFUSED StepState { step: "x", why: "the saga has no step of this path that waits for an event" }
        signal T1 nothing
          < #6 REFUSED StepState { step: "nothing", why: "the saga has no step of this path that waits for an event" }
        signal T1 e
          = T1/s1 Done, took place
          ~ T1/s2 sent
          < #7 T1 Active
          > act T1/b3 at a, try 1
          @ 21 step T1/s2
        signal T1 e
          < #8 T1 Active
        did T1 x done
          = T1/s2 Done, took place
          = T1 Committed
        submit f
          ~ T2 began
          = T2 Active
          = T2 runs f@1
          = T2/s0 Waiting
          < #10 T2 Active
          @ 70 step T2/s0
        @71
          @21 step T1/s2
          @70 step T1/s1
          @70 step T2/s0
          = T2/s0 Failed { certain: true }, pactum-expired
          = T2 RollingBack(StepFailed)
          = T2 RolledBack(StepFailed)
        signal T2 e
          < #11 REFUSED StepState { step: "e", why: "its saga has ended" }
    "#]]);
}

#[test]
fn an_event_may_come_before_its_wait_and_a_restart_keeps_it() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a ?e +10
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          < #3 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        signal T1 e
          = T1/s1 Done, took place
          < #4 T1 Active
        restart
          > reserve ids
          @ 0 saga T1
          @ 316224000 deadline T1
          @ 0 history
        given open 1 n1; attach 1 a offers=x
        @0
          @0 saga T1
          ~ T1/s0 sent
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
          @0 resume a from T0
        did T1 x done
          = T1/s0 Done, took place
          = T1/s2 Waiting
          @ 10 step T1/s2
        @4
        restart
          > reserve ids
          @ 10 step T1/s2
          @ 4 saga T1
          @ 316224000 deadline T1
          @ 4 history
        @10
          @4 saga T1
          @10 step T1/s2
          = T1/s2 Done, took place
          = T1 Committed
    "#]]);
}

#[test]
fn the_time_of_a_saga_ends_and_no_lost_node_ends_it() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s timeout=30 ?e; define f x@a^
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          = T1/s0 Waiting
          < #4 T1 Active
          @ 30 deadline T1
          @ 60 step T1/s0
        close 1
          ~ session 1 is gone
          ~ n1 is gone
          @ 10 lost n1
        @29
          @0 resume a from T0
          @10 lost n1
          ~ n1 is lost
        @30
          @30 deadline T1
          = T1 RollingBack(TimedOut)
          = T1 RolledBack(TimedOut)
        given open 1 n1; attach 1 a offers=x
        submit f
          ~ T2 began
          = T2 Active
          = T2 runs f@1
          ~ T2/s0 sent
          < #8 T2 Active
          > act T2/b1 at a, try 1
          @ 41 step T2/s0
        @60
          @30 resume a from T0
          @41 step T2/s0
          ~ T2/s0 postponed
          @ 42 step T2/s0
          @42 step T2/s0
          ~ T2/s0 sent
          > act T2/b1 at a, try 2
          @ 53 step T2/s0
          @53 step T2/s0
          = T2/s0 Parked(HandlerFatal), pactum-unknown
          @60 step T1/s0
        ask T2
          < #9 T2 Active, 1 parked
    "#]]);
}
