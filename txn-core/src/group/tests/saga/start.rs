//! What a saga needs to start: its definition, its actions, and who may know of it.

use expect_test::expect;

use crate::group::tests::script::check;

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
