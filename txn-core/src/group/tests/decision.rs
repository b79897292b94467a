//! The decision: taken once, told to everyone, never changed.

use expect_test::expect;

use super::script::check;

#[test]
fn a_commit_without_branches_is_written_like_any_other() {
    check(&expect![[r#"
        given begin
        commit T1 completed
          = T1 Committed
          < #2 Committed
    "#]]);
}

#[test]
fn the_first_decision_stands_whatever_is_asked_later() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          < #3 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        rollback T1
          < #4 Committing
        veto T1
          < #5 Committing
        commit T1
          < #6 Committing
        timer deadline T1
        timer closing T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 Committed
        rollback T1
          < #10 Committed
        begin
          ~ T2 began
          < #11 begun T2, 60s left
          @ 60 deadline T2
        register T2 b2 a x
          = T2 Active
          = T2/b2 Unknown a:x
          < #12 registered as 1
        rollback T2
          = T2 RollingBack(Requested)
          ~ T2/b2 sent
          < #13 RollingBack(Requested)
          > roll back T2/b2 at a, try 1
          @ 0.88 phase-two T2
        commit T2 b2
          < #14 RollingBack(Requested)
        veto T2
          < #15 RollingBack(Requested)
        timer deadline T2
        answer T2 b2 done
          ~ T2/b2 confirmed
          = T2 RolledBack(Requested)
        commit T2 b2
          < #18 RolledBack(Requested)
    "#]]);
}

#[test]
fn a_commit_after_the_deadline_rolls_back_though_the_timer_is_late() {
    check(&expect![[r#"
        given begin timeout=10; register T1 b1 a x
        @10!
        commit T1 b1
          ~ T1/b1 done
          = T1 RollingBack(TimedOut)
          ~ T1/b1 sent
          < #3 RollingBack(TimedOut)
          > roll back (done) T1/b1 at a, try 1
          @ 10.81 phase-two T1
        timer deadline T1
    "#]]);
}

#[test]
fn the_deadline_rolls_back_what_is_undecided() {
    check(&expect![[r#"
        given begin timeout=10; register T1 b1 a x
        @10
          @10 deadline T1
          = T1 RollingBack(TimedOut)
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1
          @ 10.81 phase-two T1
        begin timeout=10
          ~ T2 began
          < #3 begun T2, 10s left
          @ 20 deadline T2
        @20
          @10.81 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 2
          @ 12.45 phase-two T1
          @12.45 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 3
          @ 15.73 phase-two T1
          @15.73 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 4
          @ 22.29 phase-two T1
          @20 deadline T2
          = T2 RolledBack(TimedOut)
    "#]]);
}

#[test]
fn a_timer_that_fires_early_or_for_nothing_changes_nothing() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        timer deadline T1
        timer closing T1
        timer phase-two T1
        timer wait w7
        timer claim c7
        timer completion T1 #1
        timer deadline T9
    "#]]);
}

#[test]
fn a_caller_hears_the_decision_or_waits_for_the_end() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          < #3 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        outcome T1 completed
          ~ #4 awaits the end of T1
          @ 2 completion T1 #4
        outcome T1
          < #5 Committing
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 Committed
          < #4 Committed
        begin
          ~ T2 began
          < #7 begun T2, 60s left
          @ 60 deadline T2
        register T2 b2 a y
          = T2 Active
          = T2/b2 Unknown a:y
          < #8 registered as 1
        rollback T2 completed
          = T2 RollingBack(Requested)
          ~ #9 awaits the end of T2
          ~ T2/b2 sent
          > roll back T2/b2 at a, try 1
          @ 2 completion T2 #9
          @ 0.88 phase-two T2
        @3
          @0.81 phase-two T1
          @0.88 phase-two T2
          ~ T2/b2 sent
          > roll back T2/b2 at a, try 2
          @ 2.66 phase-two T2
          @2 completion T1 #4
          @2 completion T2 #9
          ~ #9 awaits the end of T2 no more
          < #9 RollingBack(Requested)
          @2.66 phase-two T2
          ~ T2/b2 sent
          > roll back T2/b2 at a, try 3
          @ 6.22 phase-two T2
        answer T2 b2 done
          ~ T2/b2 confirmed
          = T2 RolledBack(Requested)
    "#]]);
}

#[test]
fn nobody_waits_for_a_person() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        rollback T1 completed
          = T1 RollingBack(Requested)
          ~ #3 awaits the end of T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1
          @ 2 completion T1 #3
          @ 0.81 phase-two T1
        answer T1 b1 parked
          = T1/b1 Unknown, Parked(DirtyWrite) a:x
          ~ #3 awaits the end of T1 no more
          < #3 RollingBack(Requested), 1 parked
        outcome T1 completed
          < #5 RollingBack(Requested), 1 parked
    "#]]);
}

#[test]
fn at_locks_go_with_the_commit_decision_and_others_with_phase_two() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y mode=tcc
        given register T1 b3 b x mode=xa; register T1 b4 b y mode=saga
        commit T1 b1,b2,b3,b4
          ~ T1/b1 done
          ~ T1/b2 done
          ~ T1/b3 done
          ~ T1/b4 done
          = T1 Committing
          ~ T1/b3 sent
          ~ T1/b2 sent
          ~ T1/b1 sent
          < #6 Committing
          > commit T1/b3 at b, try 1
          > commit T1/b2 at a, try 1
          > commit T1/b1 at a, try 1
          @ 0.95 phase-two T1
          @ 0.88 phase-two T1
          @ 0.81 phase-two T1
        show
          T1 Committing
            T1/b1 Done a:x
            T1/b2 Done a:y Tcc
            T1/b3 Done b:x Xa
            T1/b4 Done b:y Saga
          a:y T1
          a:t.* T1~
          b:x T1
          b:t.* T1~
        answer T1 b2 done
          = T1/b2 Done, Done a:y Tcc
        show
          T1 Committing
            T1/b1 Done a:x
            T1/b2 Done, Done a:y Tcc
            T1/b3 Done b:x Xa
            T1/b4 Done b:y Saga
          b:x T1
          b:t.* T1~
    "#]]);
}

#[test]
fn on_rollback_each_branch_keeps_its_locks_until_it_is_undone() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b y; register T1 b3 a z~ lock-only
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b2 sent
          ~ T1/b1 sent
          < #5 RollingBack(Requested)
          > roll back T1/b2 at b, try 1
          > roll back T1/b1 at a, try 1
          @ 0.88 phase-two T1
          @ 0.81 phase-two T1
        show
          T1 RollingBack(Requested)
            T1/b1 Unknown a:x?
            T1/b2 Unknown b:y?
            T1/b3 Done a:z~
          a:x T1
          a:t.* T1~
          b:y T1
          b:t.* T1~
        answer T1 b2 done
          = T1/b2 Unknown, Done b:y
        show
          T1 RollingBack(Requested)
            T1/b1 Unknown a:x?
            T1/b2 Unknown, Done b:y?
            T1/b3 Done a:z~
          a:x T1
          a:t.* T1~
    "#]]);
}

#[test]
fn a_veto_is_a_decision() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        done T1 b1
          ~ T1/b1 done
        veto T1
          = T1 RollingBack(Vetoed)
          ~ T1/b1 sent
          < #4 RollingBack(Vetoed)
          > roll back (done) T1/b1 at a, try 1
          @ 0.81 phase-two T1
    "#]]);
}
