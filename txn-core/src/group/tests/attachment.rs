//! Sessions, the resources that they prove, and nodes that go.

use expect_test::expect;

use super::script::check;

#[test]
fn an_id_and_a_database_are_bound_at_first_sight_for_ever() {
    check(&expect![[r#"
        attach 1 c:7
          = c is c
          ~ session 1 works on c
          < #1 attached c as c
          @ 0 resume c from T0
        attach 2 c:7
          ~ session 2 works on c
          < #2 attached c as c
          @ 0 resume c from T0
        attach 2 c:8
          < #3 REFUSED ResourceBound { id: ResourceId("c"), uid: Some(ResourceUid(00000000000000000000000000000007)) }
        attach 2 c:
          < #4 REFUSED ResourceBound { id: ResourceId("c"), uid: Some(ResourceUid(00000000000000000000000000000007)) }
        attach 2 d:7
          < #5 REFUSED ResourceBound { id: ResourceId("c"), uid: Some(ResourceUid(00000000000000000000000000000007)) }
        attach 2 a:9
          < #6 REFUSED ResourceBound { id: ResourceId("a"), uid: Some(ResourceUid(00000000000000000000000000000061)) }
        restart
          > reserve ids
          @ 0 history
        open 3 n3
          ~ branch ids to 200065536 for n3
          ~ session 3 of n3
          < #7 branch ids 200000000..200065536
        attach 3 c:8
          < #8 REFUSED ResourceBound { id: ResourceId("c"), uid: Some(ResourceUid(00000000000000000000000000000007)) }
        attach 3 c:7
          ~ session 3 works on c
          < #9 attached c as c
          @ 0 resume c from T0
    "#]]);
}

/// Its number is not used again while old rows may carry it.
#[test]
fn a_binding_is_forgotten_when_nothing_needs_it() {
    check(&expect![[r#"
        forget c
          < #1 REFUSED UnknownResource(ResourceId("c"))
        begin
          ~ T1 began
          < #2 begun T1, 60s left
          @ 60 deadline T1
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #3 registered as 1
        forget a
          < #4 REFUSED ResourceBusy { branches: 1, sessions: 2 }
        close 1
          ~ session 1 is gone
          ~ n1 is gone
          @ 10 lost n1
        close 2
          ~ session 2 is gone
          ~ n2 is gone
          @ 10 lost n2
        forget a
          < #7 REFUSED ResourceBusy { branches: 1, sessions: 0 }
        rollback T1
          = T1 RollingBack(Requested)
          < #8 RollingBack(Requested)
        open 3 n3
          ~ branch ids to 296608 for n3
          ~ session 3 of n3
          < #9 branch ids 231072..296608
        attach 3 a
          ~ session 3 works on a
          < #10 attached a as a
          @ 0 resume a from T0
        @0.0
          @0 resume a from T0
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
        close 3
          ~ session 3 is gone
          ~ n3 is gone
          @ 10 lost n3
        forget a
          = a is no more
          < #13 forgotten
        open 4 n4
          ~ branch ids to 362144 for n4
          ~ session 4 of n4
          < #14 branch ids 296608..362144
        attach 4 a
          = c is a
          ~ session 4 works on c
          < #15 attached a as c
          @ 0 resume c from T0
    "#]]);
}

#[test]
fn a_session_that_is_not_open_binds_nothing() {
    check(&expect![[r#"
        attach 9 c:7
          < #1 REFUSED NotAttached(ResourceId("c"))
        open 9 n9
          ~ branch ids to 296608 for n9
          ~ session 9 of n9
          < #2 branch ids 231072..296608
        attach 9 c:7
          = c is c
          ~ session 9 works on c
          < #3 attached c as c
          @ 0 resume c from T0
    "#]]);
}

#[test]
fn a_node_has_its_grace_anew_each_time_it_goes() {
    check(&expect![[r#"
        given begin; register T1 b1 b x s=2
        close 1
          ~ session 1 is gone
          ~ n1 is gone
          @ 10 lost n1
        @5
        open 3 n1
          ~ branch ids to 296608 for n1
          ~ session 3 of n1
          < #4 branch ids 231072..296608
        @6
        close 3
          ~ session 3 is gone
          ~ n1 is gone
          @ 16 lost n1
        @10
          @10 lost n1
        outcome T1
          < #6 Active
        @16
          @16 lost n1
          ~ n1 is lost
          = T1 RollingBack(ManagerLost)
          ~ T1/b1 sent
          > roll back T1/b1 at b, try 1
          @ 16.81 phase-two T1
    "#]]);
}

#[test]
fn what_a_lost_node_left_undecided_rolls_back_and_unary_begins_do_not() {
    check(&expect![[r#"
        given begin; begin node=none; begin; begin; register T1 b1 b x s=2
        commit T3
          = T3 Committed
          < #6 Committed
        close 1
          ~ session 1 is gone
          ~ n1 is gone
          @ 10 lost n1
        @10
          @10 lost n1
          ~ n1 is lost
          = T1 RollingBack(ManagerLost)
          ~ T1/b1 sent
          = T4 RolledBack(ManagerLost)
          > roll back T1/b1 at b, try 1
          @ 10.81 phase-two T1
        show
          T1 RollingBack(ManagerLost)
            T1/b1 Unknown b:x?
          T2 Active
          b:x T1
          b:t.* T1~
    "#]]);
}

#[test]
fn a_node_with_another_session_is_not_gone() {
    check(&expect![[r#"
        given begin
        open 3 n1
          ~ branch ids to 296608 for n1
          ~ session 3 of n1
          < #2 branch ids 231072..296608
        close 1
          ~ session 1 is gone
        @100
          @60 deadline T1
          = T1 RolledBack(TimedOut)
        close 3
          ~ session 3 is gone
          ~ n1 is gone
          @ 110 lost n1
        @1000
          @110 lost n1
          ~ n1 is lost
    "#]]);
}

#[test]
fn a_session_gets_a_block_of_branch_ids_and_further_ones() {
    check(&expect![[r#"
        open 3 n3
          ~ branch ids to 296608 for n3
          ~ session 3 of n3
          < #1 branch ids 231072..296608
        open 3 n3
          ~ branch ids to 362144 for n3
          < #2 branch ids 296608..362144
        ids
          ~ branch ids to 427680 for n1
          < #3 branch ids 362144..427680
    "#]]);
}

/// Also where the two that contradict each other come in one request.
#[test]
fn of_several_resources_all_are_bound_or_none() {
    check(&expect![[r#"
        attach 1 c:7 d:7
          < #1 REFUSED ResourceBound { id: ResourceId("c"), uid: Some(ResourceUid(00000000000000000000000000000007)) }
        attach 1 c:7 a:9
          < #2 REFUSED ResourceBound { id: ResourceId("a"), uid: Some(ResourceUid(00000000000000000000000000000061)) }
        attach 1 c:7 c:8
          < #3 REFUSED ResourceBound { id: ResourceId("c"), uid: Some(ResourceUid(00000000000000000000000000000007)) }
        attach 1 c:7 d: c:7
          = c is c
          = ? is d
          ~ session 1 works on c
          ~ session 1 works on ?
          ~ session 1 works on c
          < #4 attached c as c, d as ?, c as c
          @ 0 resume c from T0
          @ 0 resume ? from T0
          @ 0 resume c from T0
        attach 2 d:
          ~ session 2 works on ?
          < #5 attached d as ?
          @ 0 resume ? from T0
    "#]]);
}
