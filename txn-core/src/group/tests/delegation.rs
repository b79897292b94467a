//! A commit that is left to the one-phase commit of the only branch.

use expect_test::expect;

use super::script::check;

#[test]
fn the_branch_decides_that_it_commits() {
    check(&expect![[r#"
        given begin; register T1 b1 a x mode=xa
        commit T1 delegate=b1 completed
          = T1 Delegated
          ~ T1/b1 postponed
          < #3 Delegated
          @ 5 phase-two T1
        commit T1 delegate=b1 completed
          < #4 Delegated
        done T1 b1
          ~ T1/b1 done
          = T1 Committed
        outcome T1
          < #6 Committed
    "#]]);
}

#[test]
fn the_branch_decides_that_it_does_not() {
    check(&expect![[r#"
        given begin; register T1 b1 a x mode=xa; begin; register T2 b2 a x wait=5
        commit T1 delegate=b1
          = T1 Delegated
          ~ T1/b1 postponed
          < #5 Delegated
          @ 5 phase-two T1
        failed T1 b1
          = T1/b1 Failed a:x Xa
          = T1 RolledBack(PhaseOneFailed)
          ~ w1 is over
          = T2 Active
          = T2/b2 Unknown a:x
          < #4 registered as 1
        commit T1 delegate=b1
          < #7 RolledBack(PhaseOneFailed)
    "#]]);
}

#[test]
fn nothing_else_decides_any_more() {
    check(&expect![[r#"
        given begin timeout=10; register T1 b1 a x mode=xa
        commit T1 delegate=b1
          = T1 Delegated
          ~ T1/b1 postponed
          < #3 Delegated
          @ 5 phase-two T1
        rollback T1
          < #4 Delegated
        veto T1
          < #5 Delegated
        undo T1 s1
          < #6 NOT ACTIVE: Delegated
        register T1 b2 a y
          < #7 NOT ACTIVE: Delegated
        @20!
        timer deadline T1
        timer closing T1
        answer T1 b1 done to=rollback
        answer T1 b1 done to=commit
        close 1
          ~ session 1 is gone
          ~ n1 is gone
          @ 30 lost n1
        @40!
        timer lost n1
          ~ n1 is lost
        show
          T1 Delegated
            T1/b1 Unknown a:x Xa?
          a:x T1
          a:t.* T1~
    "#]]);
}

#[test]
fn a_branch_that_is_not_alone_or_not_fit_must_prepare() {
    check(&expect![[r#"
        given begin; register T1 b1 a x mode=xa; register T1 b2 b y
        commit T1 delegate=b1
          < #4 REFUSED NotDelegable(BranchId(1))
        commit T1 delegate=b2
          < #5 REFUSED NotDelegable(BranchId(2))
        done T1 b1
          ~ T1/b1 done
        commit T1 b2 delegate=b1
          ~ T1/b2 done
          = T1 Committing
          ~ T1/b1 sent
          ~ T1/b2 sent
          < #7 Committing
          > commit T1/b1 at a, try 1
          > commit T1/b2 at b, try 1
          @ 0.81 phase-two T1
          @ 0.88 phase-two T1
        given begin; register T2 b3 a z
        commit T2 delegate=b3
          < #10 REFUSED NotDelegable(BranchId(3))
        given begin; register T3 b4 a v mode=xa; commit T3
        commit T3 delegate=b4
          < #14 REFUSED NotDelegable(BranchId(4))
    "#]]);
}

#[test]
fn what_does_not_count_does_not_stand_in_the_way() {
    check(&expect![[r#"
        given begin; register T1 b1 a x mode=xa; register T1 b2 a y; failed T1 b2
        given register T1 b3 a z lock-only; register T1 b4 a v in=s1; undo T1 s1
        commit T1 delegate=b1
          < #8 REFUSED NotDelegable(BranchId(1))
        answer T1 b4 done
          = T1/b4 Unknown, Done a:v
        commit T1 delegate=b1
          = T1 Delegated, without s1
          ~ T1/b1 postponed
          < #10 Delegated
          @ 5 phase-two T1
    "#]]);
}

#[test]
fn a_branch_that_failed_or_was_never_seen_is_not_left_alone() {
    check(&expect![[r#"
        given begin; register T1 b1 a x mode=xa; failed T1 b1
        commit T1 delegate=b1
          = T1 RolledBack(PhaseOneFailed)
          < #4 RolledBack(PhaseOneFailed)
        given begin; register T2 b2 a x mode=xa
        commit T2 delegate=b9
          < #7 REFUSED LostState(BranchId(9))
    "#]]);
}

#[test]
fn whoever_waits_for_the_end_hears_it() {
    check(&expect![[r#"
        given begin; register T1 b1 a x mode=xa; commit T1 delegate=b1
        outcome T1 completed
          ~ #4 awaits the end of T1
          @ 2 completion T1 #4
        done T1 b1 ack
          = T1/b1 Done a:x Xa
          = T1 Committed
          < #4 Committed
          < #5 recorded
    "#]]);
}

#[test]
fn any_session_of_the_resource_is_asked_until_it_knows() {
    check(&expect![[r#"
        given begin; register T1 b1 a x mode=xa
        commit T1 delegate=b1
          = T1 Delegated
          ~ T1/b1 postponed
          < #3 Delegated
          @ 5 phase-two T1
        @6
          @5 phase-two T1
          ~ T1/b1 sent
          > ask about T1/b1 at a, try 1
          @ 5.81 phase-two T1
          @5.81 phase-two T1
          ~ T1/b1 sent
          > ask about T1/b1 at a, try 2
          @ 7.45 phase-two T1
        retry T1
          ~ T1/b1 sent
          < #4 retried 1
          > ask about T1/b1 at a, try 3
          @ 9.27 phase-two T1
        done T1 b1
          ~ T1/b1 done
          = T1 Committed
    "#]]);
}

#[test]
fn after_a_restart_the_branch_is_asked() {
    check(&expect![[r#"
        given begin timeout=10; register T1 b1 a x mode=xa; commit T1 delegate=b1
        restart
          > reserve ids
          @ 0 history
        @20
        given open 3 n3
        attach 3 a
          ~ session 3 works on a
          < #5 attached a as a
          @ 20 resume a from T0
        timer resume r1
          ~ T1/b1 sent
          > ask about T1/b1 at a, try 1
          @ 20.81 phase-two T1
        failed T1 b1
          = T1/b1 Failed a:x Xa
          = T1 RolledBack(PhaseOneFailed)
    "#]]);
}

#[test]
fn a_commit_after_the_deadline_is_not_delegated() {
    check(&expect![[r#"
        given begin timeout=10; register T1 b1 a x mode=xa
        @10!
        commit T1 delegate=b1
          = T1 RollingBack(TimedOut)
          ~ T1/b1 sent
          < #3 RollingBack(TimedOut)
          > roll back T1/b1 at a, try 1
          @ 10.81 phase-two T1
    "#]]);
}
