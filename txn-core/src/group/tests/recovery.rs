//! What a restart makes of what was stored.

use expect_test::expect;

use super::script::check;

/// T3 was never stored. T2 is late, and gets its grace, which is at most its timeout.
#[test]
fn what_is_undecided_runs_on_with_what_remains_of_its_time() {
    check(&expect![[r#"
        given begin timeout=60; register T1 b1 a x; begin timeout=3; register T2 b2 a y
        given begin timeout=60
        @20!
        restart
          > reserve ids
          @ 60 deadline T1
          @ 23 deadline T2
          @ 30 lost n1
          @ 20 history
        show
          T1 Active
            T1/b1 Unknown a:x?
          T2 Active
            T2/b2 Unknown a:y?
          a:x T1
          a:y T2
          a:t.* T1~+T2~
    "#]]);
}

#[test]
fn who_should_have_timed_out_meanwhile_gets_the_grace() {
    check(&expect![[r#"
        given begin timeout=60; register T1 b1 a x
        @3600!
        restart
          > reserve ids
          @ 3610 deadline T1
          @ 3610 lost n1
          @ 3600 history
        @3605
        outcome T1
          < #3 Active
        @3610
          @3610 deadline T1
          = T1 RollingBack(TimedOut)
          @3610 lost n1
          ~ n1 is lost
    "#]]);
}

#[test]
fn locks_are_rebuilt_before_anything_is_answered() {
    check(&expect![[r#"
        given begin; begin; begin; register T1 b1 a x; register T1 b2 b y
        failed T1 b2 b
          = T1/b2 Failed b:y
        register T2 b3 a z
          = T2 Active
          = T2/b3 Unknown a:z
          < #7 registered as 1
        rollback T2
          = T2 RollingBack(Requested)
          ~ T2/b3 sent
          < #8 RollingBack(Requested)
          > roll back T2/b3 at a, try 1
          @ 0.95 phase-two T2
        register T3 b4 b v
          = T3 Active
          = T3/b4 Unknown b:v
          < #9 registered as 1
        done T3 b4
          ~ T3/b4 done
        commit T3
          = T3 Committing
          ~ T3/b4 sent
          < #11 Committing
          > commit T3/b4 at b, try 1
          @ 0.77 phase-two T3
        restart
          > reserve ids
          @ 60 deadline T1
          @ 10 lost n1
          @ 0 history
        open 3 n3
          ~ branch ids to 200065536 for n3
          ~ session 3 of n3
          < #12 branch ids 200000000..200065536
        attach 3 a
          ~ session 3 works on a
          < #13 attached a as a
          @ 0 resume a from T0
        begin
          ~ T2000 began
          < #14 begun T2000, 60s left
          @ 60 deadline T2000
        register T2000 b5 a x s=3
          < #15 CONFLICT x with T1
        register T2000 b6 a z s=3
          < #16 CONFLICT z with T2
        show
          T1 Active
            T1/b1 Unknown a:x?
            T1/b2 Failed b:y
          T2 RollingBack(Requested)
            T2/b3 Unknown a:z?
          T3 Committing
            T3/b4 Done b:v
          T2000 Active
          a:x T1
          a:z T2
          a:t.* T1~+T2~
    "#]]);
}

/// That b2 was confirmed freed nothing and was not written: it is asked for again.
#[test]
fn what_is_decided_is_carried_on_when_a_session_comes() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x; register T1 b2 b y; register T2 b3 a z
        commit T1 b1,b2
          ~ T1/b1 done
          ~ T1/b2 done
          = T1 Committing
          ~ T1/b1 sent
          ~ T1/b2 sent
          < #6 Committing
          > commit T1/b1 at a, try 1
          > commit T1/b2 at b, try 1
          @ 0.81 phase-two T1
          @ 0.88 phase-two T1
        rollback T2
          = T2 RollingBack(Requested)
          ~ T2/b3 sent
          < #7 RollingBack(Requested)
          > roll back T2/b3 at a, try 1
          @ 0.95 phase-two T2
        answer T1 b2 done
          ~ T1/b2 confirmed
        restart
          > reserve ids
          @ 0 history
        open 3 n3
          ~ branch ids to 200065536 for n3
          ~ session 3 of n3
          < #9 branch ids 200000000..200065536
        attach 3 a
          ~ session 3 works on a
          < #10 attached a as a
          @ 0 resume a from T0
        attach 3 b
          ~ session 3 works on b
          < #11 attached b as b
          @ 0 resume b from T0
        @0.0
          @0 resume a from T0
          ~ T1/b1 sent
          ~ T2/b3 sent
          > commit T1/b1 at a, try 1
          > roll back T2/b3 at a, try 1
          @ 0.81 phase-two T1
          @ 0.95 phase-two T2
          @0 resume b from T0
          ~ T1/b2 sent
          > commit T1/b2 at b, try 1
          @ 0.88 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
        answer T1 b2 done
          ~ T1/b2 confirmed
          = T1 Committed
        answer T2 b3 done
          ~ T2/b3 confirmed
          = T2 RolledBack(Requested)
    "#]]);
}

#[test]
fn a_node_that_does_not_come_back_after_a_restart_is_lost() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; begin node=n2; register T2 b2 b y
        restart
          > reserve ids
          @ 60 deadline T1
          @ 60 deadline T2
          @ 10 lost n1
          @ 10 lost n2
          @ 0 history
        @5
        open 3 n2
          ~ branch ids to 200065536 for n2
          ~ session 3 of n2
          < #5 branch ids 200000000..200065536
        @10
          @10 lost n1
          ~ n1 is lost
          = T1 RollingBack(ManagerLost)
          @10 lost n2
        outcome T2
          < #6 Active
    "#]]);
}
