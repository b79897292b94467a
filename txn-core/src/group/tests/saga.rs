//! Declared sagas, driven by the group.
//!
//! Long because a snapshot is as long as what happens.

use expect_test::expect;

use super::script::check;

#[test]
fn a_saga_is_stored_at_its_start_and_each_result_before_what_follows_from_it() {
    check(&expect![[r#"
        given attach 1 a offers=x,y; attach 2 b offers=x,y; define s x@a y@b
        submit s wait=5
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ #4 awaits the end of T1
          ~ T1/s0 sent
          > act T1/b1 at a, try 1
          @ 5 completion T1 #4
          @ 11 step T1/s0
        did T1 x done
          = T1/s0 Done, took place
          ~ T1/s1 sent
          > act T1/b2 at b, try 1
          @ 11 step T1/s1
        did T1 y done with={"n":1}
          = T1/s1 Done, took place
          = T1 Committed
          < #4 T1 Committed, null
        ask T1
          < #7 T1 has ended: Committed
    "#]]);
}

#[test]
fn a_repeated_submission_is_the_same_saga() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a
        submit s key=k
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          < #3 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        submit s key=k
          < #4 T1 Active
        did T1 x done
          = T1/s0 Done, took place
          = T1 Committed
        submit s key=k wait=5
          < #6 T1 has ended: Committed
    "#]]);
}

#[test]
fn what_is_not_there_is_refused_before_anything_starts() {
    check(&expect![[r#"
        given attach 1 a offers=x,z!
        submit s
          < #2 REFUSED UnknownSaga { name: "s", version: None }
        define s x@a
          = saga s@1
          < #3 defined s@1
        define s x@a
          < #4 defined s@1
        define s x@a y@a
          < #5 REFUSED DefinitionTaken(DefinitionKey { name: "s", version: 1 })
        define s v=2 y@a
          = saga s@2
          < #6 defined s@2
        submit s
          < #7 REFUSED UnknownAction { step: "y", action: "y", resource: ResourceId("a"), why: Action }
        define t z@a
          = saga t@1
          < #8 defined t@1
        submit t
          < #9 REFUSED UnknownAction { step: "z", action: "z", resource: ResourceId("a"), why: Compensation }
        define u z@a!
          = saga u@1
          < #10 defined u@1
        submit u v=1
          ~ T1 began
          = T1 Active
          = T1 runs u@1
          ~ T1/s0 sent
          < #11 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        define n x@nowhere
          = saga n@1
          < #12 defined n@1
        submit n
          < #13 REFUSED UnknownAction { step: "x", action: "x", resource: ResourceId("nowhere"), why: Resource }
        given close 1; close 2
        submit s
          ~ T2 began
          = T2 Active
          = T2 runs s@2
          < #16 T2 Active
    "#]]);
}

/// A service attaches before it has registered its actions; nobody's saga is to be refused in between.
#[test]
fn whoever_has_not_said_yet_what_it_offers_is_trusted() {
    check(&expect![[r#"
        given attach 1 a; define s x@a
        submit s
          ~ T1 began
          = T1 Active
          = T1 runs s@1
          ~ T1/s0 sent
          < #3 T1 Active
          > act T1/b1 at a, try 1
          @ 11 step T1/s0
        attach 1 a offers=y
          ~ session 1 works on a
          ~ session 1 offers y at a
          < #4 attached a as a
          @ 0 resume a from T0
        submit s
          < #5 REFUSED UnknownAction { step: "x", action: "x", resource: ResourceId("a"), why: Action }
    "#]]);
}

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

#[test]
fn a_resource_that_a_saga_needs_is_not_forgotten() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a; submit s; close 1; close 2
        forget a
          < #6 REFUSED ResourceBusy { branches: 1, sessions: 0 }
    "#]]);
}

#[test]
fn what_is_no_saga_is_not_taken_for_one() {
    check(&expect![[r#"
        given attach 1 a offers=x; define s x@a
        ask T1
          < #3 REFUSED UnknownTransaction
        given begin
        ask T1
          < #5 REFUSED IsNoSaga(XidNumber(1))
        say T1 cancel
          < #6 REFUSED IsNoSaga(XidNumber(1))
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
