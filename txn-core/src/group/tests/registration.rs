//! A branch joins: all its locks or none, once, and only while its transaction is open.

use expect_test::expect;

use super::script::{check, check_with};
use crate::policy::Policy;

#[test]
fn a_branch_takes_all_its_locks_or_none() {
    check(&expect![[r#"
        given begin; begin
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #3 registered as 1
        register T2 b2 a x,y
          < #4 CONFLICT x with T1
        register T1 b3 a y
          = T1/b3 Unknown a:y
          < #5 registered as 2
        show
          T1 Active
            T1/b1 Unknown a:x?
            T1/b3 Unknown a:y?
          T2 Active
          a:x T1
          a:y T1
          a:t.* T1~
    "#]]);
}

/// Another session of the same node is the same node; another node is not.
#[test]
fn registering_twice_answers_the_first_result() {
    check(&expect![[r#"
        given begin
        register T1 b1 a x,y
          = T1 Active
          = T1/b1 Unknown a:x,y
          < #2 registered as 1
        register T1 b1 a x,y
          < #3 registered as 1
        register T1 b1 a x,y s=2
          < #4 REFUSED BranchMismatch(BranchId(1))
        register T1 b1 a x
          < #5 REFUSED BranchMismatch(BranchId(1))
        register T1 b1 b x,y
          < #6 REFUSED BranchMismatch(BranchId(1))
        register T1 b1 a x,y mode=tcc
          < #7 REFUSED BranchMismatch(BranchId(1))
        close 1
          ~ session 1 is gone
          ~ n1 is gone
          @ 10 lost n1
        register T1 b1 a x,y
          < #9 REFUSED NotAttached(ResourceId("a"))
        open 3 n1
          ~ branch ids to 296608 for n1
          ~ session 3 of n1
          < #10 branch ids 231072..296608
        attach 3 a
          ~ session 3 works on a
          < #11 attached a as a
          @ 0 resume a from T0
        register T1 b1 a x,y s=3
          < #12 registered as 1
        show
          T1 Active
            T1/b1 Unknown a:x,y?
          a:x T1
          a:y T1
          a:t.* T1~
    "#]]);
}

#[test]
fn a_registration_that_waits_twice_becomes_one_branch() {
    check(&expect![[r#"
        given begin; begin
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #3 registered as 1
        register T2 b2 a x wait=5
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        register T2 b2 a x wait=5
          ~ w2 T2/b2 waits for a:x
          @ 5 wait w2
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b1 sent
          < #6 RollingBack(Requested)
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
          ~ w1 is over
          = T2 Active
          = T2/b2 Unknown a:x
          ~ w2 is over
          < #4 registered as 1
          < #5 registered as 1
        show
          T2 Active
            T2/b2 Unknown a:x?
          a:x T2
          a:t.* T2~
    "#]]);
}

#[test]
fn a_repeat_that_differs_while_the_first_waits_is_a_mismatch() {
    check(&expect![[r#"
        given begin; begin
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #3 registered as 1
        register T2 b2 a x wait=5
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        register T2 b2 a x,y wait=5
          ~ w2 T2/b2 waits for a:x
          @ 5 wait w2
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b1 sent
          < #6 RollingBack(Requested)
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
          ~ w1 is over
          = T2 Active
          = T2/b2 Unknown a:x
          ~ w2 is over
          < #4 registered as 1
          < #5 REFUSED BranchMismatch(BranchId(2))
    "#]]);
}

#[test]
fn keys_are_re_entrant_within_a_transaction_and_free_with_its_last_branch() {
    check(&expect![[r#"
        given begin; begin
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #3 registered as 1
        register T1 b2 a x
          = T1/b2 Unknown a:x
          < #4 registered as 2
        failed T1 b1 a
          = T1/b1 Failed a:x
        register T2 b3 a x
          < #6 CONFLICT x with T1
        failed T1 b2 a
          = T1/b2 Failed a:x
        register T2 b3 a x
          = T2 Active
          = T2/b3 Unknown a:x
          < #8 registered as 1
    "#]]);
}

#[test]
fn no_branch_joins_after_the_decision_or_a_request_to_commit() {
    check(&expect![[r#"
        given begin
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #2 registered as 1
        commit T1
          ~ T1 closing for #3
          @ 5 closing T1
        register T1 b2 a y
          < #4 NOT ACTIVE: Active
        register T1 b1 a x
          < #5 registered as 1
        done T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          < #3 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        register T1 b1 a x
          < #7 NOT ACTIVE: Committing
        begin
          ~ T2 began
          < #8 begun T2, 60s left
          @ 60 deadline T2
        register T2 b3 b z
          = T2 Active
          = T2/b3 Unknown b:z
          < #9 registered as 1
        rollback T2
          = T2 RollingBack(Requested)
          ~ T2/b3 sent
          < #10 RollingBack(Requested)
          > roll back T2/b3 at b, try 1
          @ 0.95 phase-two T2
        register T2 b4 b z
          < #11 NOT ACTIVE: RollingBack(Requested)
    "#]]);
}

#[test]
fn a_registration_after_the_deadline_rolls_back_though_the_timer_is_late() {
    check(&expect![[r#"
        given begin timeout=10
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #2 registered as 1
        @10!
        register T1 b2 a y
          = T1 RollingBack(TimedOut)
          ~ T1/b1 sent
          < #3 NOT ACTIVE: RollingBack(TimedOut)
          > roll back T1/b1 at a, try 1
          @ 10.81 phase-two T1
        begin timeout=10
          ~ T2 began
          < #4 begun T2, 10s left
          @ 20 deadline T2
        @20!
        register T2 b3 a z
          = T2 RolledBack(TimedOut)
          < #5 NOT ACTIVE: RolledBack(TimedOut)
    "#]]);
}

#[test]
fn only_a_session_that_proved_the_resource_registers() {
    check(&expect![[r#"
        given begin
        close 2
          ~ session 2 is gone
          ~ n2 is gone
          @ 10 lost n2
        register T1 b1 a x s=2
          < #3 REFUSED NotAttached(ResourceId("a"))
        register T1 b1 c x
          < #4 REFUSED NotAttached(ResourceId("c"))
        open 3 n3
          ~ branch ids to 296608 for n3
          ~ session 3 of n3
          < #5 branch ids 231072..296608
        register T1 b1 a x s=3
          < #6 REFUSED NotAttached(ResourceId("a"))
    "#]]);
}

#[test]
fn the_limits_are_kept_at_the_limit() {
    check_with(
        Policy { branches_per_transaction_max: 2, locks_per_branch_max: 2, ..Policy::default() },
        &expect![[r#"
            given begin
            register T1 b1 a x,y
              = T1 Active
              = T1/b1 Unknown a:x,y
              < #2 registered as 1
            register T1 b2 a x,y,z
              < #3 REFUSED Limit { limit: LocksPerBranch, max: 2 }
            claim T1 a x,y,z
              < #4 REFUSED Limit { limit: LocksPerBranch, max: 2 }
            check a x,y,z
              < #5 REFUSED Limit { limit: LocksPerBranch, max: 2 }
            register T1 b2 a z
              = T1/b2 Unknown a:z
              < #6 registered as 2
            register T1 b3 a v
              < #7 REFUSED Limit { limit: BranchesPerTransaction, max: 2 }
            failed T1 b4 a ack
              < #8 REFUSED Limit { limit: BranchesPerTransaction, max: 2 }
            register T1 b2 a z
              < #9 registered as 2
        "#]],
    );
}

#[test]
fn a_locking_read_and_a_branch_that_never_reports_are_done_when_granted() {
    check(&expect![[r#"
        given begin
        register T1 b1 a x~ lock-only
          = T1 Active
          = T1/b1 Done a:x~
          < #2 registered as 1
        register T1 b2 a y assumed
          = T1/b2 Done a:y
          < #3 registered as 2
        restart
          > reserve ids
          @ 60 deadline T1
          @ 10 lost n1
          @ 0 history
        commit T1
          = T1 Committing
          < #4 Committing
    "#]]);
}

#[test]
fn a_locking_read_whose_local_transaction_died_gives_its_locks_back() {
    check(&expect![[r#"
        given begin; begin
        register T1 b1 a x lock-only
          = T1 Active
          = T1/b1 Done a:x
          < #3 registered as 1
        failed T1 b1 a ack
          = T1/b1 Failed a:x
          < #4 recorded
        register T2 b2 a x
          = T2 Active
          = T2/b2 Unknown a:x
          < #5 registered as 1
    "#]]);
}

#[test]
fn a_service_without_a_database_has_no_branches_that_need_one() {
    check(&expect![[r#"
        given begin; attach 1 c:
        register T1 b1 c x
          < #3 REFUSED NoDatabase { resource: ResourceId("c"), mode: At }
        register T1 b1 c x mode=xa
          < #4 REFUSED NoDatabase { resource: ResourceId("c"), mode: Xa }
        register T1 b1 c x mode=tcc
          = T1 Active
          = T1/b1 Unknown c:x Tcc
          < #5 registered as 1
        register T1 b2 c - mode=saga
          = T1/b2 Unknown c: Saga
          < #6 registered as 2
    "#]]);
}

#[test]
fn a_branch_is_named_from_the_callers_own_block() {
    check(&expect![[r#"
        given begin; open 3 n3; open 4 n3; attach 3 a; attach 4 a
        ids s=3
          ~ branch ids to 427680 for n3
          < #6 branch ids 362144..427680
        register T1 b231072 a x s=1
          < #7 REFUSED ForeignBranchId(BranchId(231072))
        register T1 b99000000 a x
          < #8 REFUSED ForeignBranchId(BranchId(99000000))
        register T1 b231072 a x s=3
          = T1 Active
          = T1/b231072 Unknown a:x
          < #9 registered as 1
        register T1 b296608 a y s=4
          = T1/b296608 Unknown a:y
          < #10 registered as 2
        given close 1; close 3; close 4; restart; open 5 n5; attach 5 a
        register T1 b7 a z s=5
          = T1/b7 Unknown a:z
          < #16 registered as 3
        register T1 b200065536 a z s=5
          < #17 REFUSED ForeignBranchId(BranchId(200065536))
    "#]]);
}
