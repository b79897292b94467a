//! What is heard of phase one, and what a commit makes of it.

use expect_test::expect;

use super::script::check;

#[test]
fn a_commit_waits_until_every_phase_one_is_known() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b y
        commit T1 b1
          ~ T1/b1 done
          ~ T1 closing for #4
          @ 5 closing T1
        commit T1
          ~ T1 closing for #5
        done T1 b2
          ~ T1/b2 done
          = T1 Committing
          ~ T1/b1 sent
          ~ T1/b2 sent
          < #4 Committing
          < #5 Committing
          > commit T1/b1 at a, try 1
          > commit T1/b2 at b, try 1
          @ 0.81 phase-two T1
          @ 0.88 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
        answer T1 b2 done
          ~ T1/b2 confirmed
          = T1 Committed
    "#]]);
}

#[test]
fn a_commit_that_names_all_branches_is_decided_at_once() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b y
        commit T1 b1,b2
          ~ T1/b1 done
          ~ T1/b2 done
          = T1 Committing
          ~ T1/b1 sent
          ~ T1/b2 sent
          < #4 Committing
          > commit T1/b1 at a, try 1
          > commit T1/b2 at b, try 1
          @ 0.81 phase-two T1
          @ 0.88 phase-two T1
    "#]]);
}

#[test]
fn a_commit_gives_up_waiting_and_rolls_back() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        commit T1
          ~ T1 closing for #3
          @ 5 closing T1
        @5
          @5 closing T1
          = T1 RollingBack(PhaseOneUnknown)
          ~ T1/b1 sent
          < #3 RollingBack(PhaseOneUnknown)
          > roll back T1/b1 at a, try 1
          @ 5.81 phase-two T1
        outcome T1
          < #4 RollingBack(PhaseOneUnknown)
        begin timeout=3
          ~ T2 began
          < #5 begun T2, 3s left
          @ 8 deadline T2
        register T2 b2 b y
          = T2 Active
          = T2/b2 Unknown b:y
          < #6 registered as 1
        commit T2
          ~ T2 closing for #7
          @ 8 closing T2
        @9
          @5.81 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 2
          @ 7.45 phase-two T1
          @7.45 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 3
          @ 10.73 phase-two T1
          @8 deadline T2
          = T2 RollingBack(TimedOut)
          ~ T2/b2 sent
          < #7 RollingBack(TimedOut)
          > roll back T2/b2 at b, try 1
          @ 8.88 phase-two T2
          @8 closing T2
          @8.88 phase-two T2
          ~ T2/b2 sent
          > roll back T2/b2 at b, try 2
          @ 10.66 phase-two T2
        outcome T2
          < #8 RollingBack(TimedOut)
    "#]]);
}

#[test]
fn rollback_veto_and_deadline_win_until_the_decision() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        commit T1
          ~ T1 closing for #3
          @ 5 closing T1
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b1 sent
          < #3 RollingBack(Requested)
          < #4 RollingBack(Requested)
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        done T1 b1
          ~ T1/b1 done
        begin
          ~ T2 began
          < #6 begun T2, 60s left
          @ 60 deadline T2
        register T2 b2 a y
          = T2 Active
          = T2/b2 Unknown a:y
          < #7 registered as 1
        commit T2 completed
          ~ T2 closing for #8 to its end
          @ 5 closing T2
        veto T2
          = T2 RollingBack(Vetoed)
          ~ #8 awaits the end of T2
          ~ T2/b2 sent
          < #9 RollingBack(Vetoed)
          > roll back T2/b2 at a, try 1
          @ 2 completion T2 #8
          @ 0.88 phase-two T2
        begin timeout=2
          ~ T3 began
          < #10 begun T3, 2s left
          @ 2 deadline T3
        register T3 b3 a z
          = T3 Active
          = T3/b3 Unknown a:z
          < #11 registered as 1
        commit T3
          ~ T3 closing for #12
          @ 2 closing T3
        @2
          @0.81 phase-two T1
          ~ T1/b1 sent
          > roll back (done) T1/b1 at a, try 2
          @ 2.45 phase-two T1
          @0.88 phase-two T2
          ~ T2/b2 sent
          > roll back T2/b2 at a, try 2
          @ 2.66 phase-two T2
          @2 completion T2 #8
          ~ #8 awaits the end of T2 no more
          < #8 RollingBack(Vetoed)
          @2 deadline T3
          = T3 RollingBack(TimedOut)
          ~ T3/b3 sent
          < #12 RollingBack(TimedOut)
          > roll back T3/b3 at a, try 1
          @ 2.95 phase-two T3
          @2 closing T3
    "#]]);
}

#[test]
fn a_report_after_the_deadline_is_too_late() {
    check(&expect![[r#"
        given begin timeout=10; register T1 b1 a x
        commit T1
          ~ T1 closing for #3
          @ 5 closing T1
        @10!
        done T1 b1
          ~ T1/b1 done
          = T1 RollingBack(TimedOut)
          ~ T1/b1 sent
          < #3 RollingBack(TimedOut)
          > roll back (done) T1/b1 at a, try 1
          @ 10.81 phase-two T1
    "#]]);
}

#[test]
fn a_failed_branch_counts_no_more_and_frees_its_keys_in_that_write() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x; register T1 b2 b y
        register T2 b3 a x wait=5
          ~ w1 T2/b3 waits for a:x
          @ 5 wait w1
        failed T1 b1 a ack
          = T1/b1 Failed a:x
          ~ w1 is over
          = T2 Active
          = T2/b3 Unknown a:x
          < #6 recorded
          < #5 registered as 1
        commit T1 b2
          ~ T1/b2 done
          = T1 Committing
          ~ T1/b2 sent
          < #7 Committing
          > commit T1/b2 at b, try 1
          @ 0.88 phase-two T1
    "#]]);
}

#[test]
fn a_commit_that_names_a_failed_branch_rolls_back() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b y
        failed T1 b1 a
          = T1/b1 Failed a:x
        commit T1 b1,b2
          ~ T1/b2 done
          = T1 RollingBack(PhaseOneFailed)
          ~ T1/b2 sent
          < #5 RollingBack(PhaseOneFailed)
          > roll back (done) T1/b2 at b, try 1
          @ 0.88 phase-two T1
        answer T1 b2 done
          ~ T1/b2 confirmed
          = T1 RolledBack(PhaseOneFailed)
    "#]]);
}

#[test]
fn a_branch_that_failed_before_it_was_registered_cannot_come_back() {
    check(&expect![[r#"
        given begin
        failed T1 b1 a ack
          = T1 Active
          = T1/b1 Failed a:
          < #2 recorded
        register T1 b1 a x
          < #3 REFUSED BranchFailed(BranchId(1))
        failed T1 b1 a ack
          < #4 recorded
        restart
          > reserve ids
          @ 60 deadline T1
          @ 10 lost n1
          @ 0 history
        open 3 n1
          ~ branch ids to 200065536 for n1
          ~ session 3 of n1
          < #5 branch ids 200000000..200065536
        attach 3 a
          ~ session 3 works on a
          < #6 attached a as a
          @ 0 resume a from T0
        register T1 b1 a x s=3
          < #7 REFUSED BranchFailed(BranchId(1))
        commit T1
          = T1 Committed
          < #8 Committed
    "#]]);
}

#[test]
fn a_branch_that_failed_while_it_waits_is_turned_away() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x
        register T2 b2 a x wait=5
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        register T2 b2 a x wait=5
          ~ w2 T2/b2 waits for a:x
          @ 5 wait w2
        failed T2 b2 a ack
          ~ w1 is over
          ~ w2 is over
          = T2 Active
          = T2/b2 Failed a:
          < #4 REFUSED BranchFailed(BranchId(2))
          < #5 REFUSED BranchFailed(BranchId(2))
          < #6 recorded
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          < #7 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        register T2 b2 a x
          < #8 REFUSED BranchFailed(BranchId(2))
    "#]]);
}

#[test]
fn a_failure_of_what_cannot_be_recorded_changes_nothing() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x
        register T2 b2 a x wait=5
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        failed T2 b2 c ack
          < #5 REFUSED NotAttached(ResourceId("c"))
        show
          T1 Active
            T1/b1 Unknown a:x?
          T2 Active
          a:x T1 <- w1
          a:t.* T1~
    "#]]);
}

#[test]
fn done_and_failed_contradict_each_other_and_the_first_stands() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        done T1 b1
          ~ T1/b1 done
        failed T1 b1 a ack
          < #4 REFUSED BranchDone(BranchId(1))
        register T1 b2 a y
          = T1/b2 Unknown a:y
          < #5 registered as 2
        failed T1 b2 a
          = T1/b2 Failed a:y
        done T1 b2 ack
          < #7 REFUSED BranchFailed(BranchId(2))
        commit T1
          = T1 Committing
          ~ T1/b1 sent
          < #8 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        failed T1 b1 a ack
          < #9 REFUSED BranchDone(BranchId(1))
        restart
          > reserve ids
          @ 0 history
        failed T1 b1 a ack
          < #10 REFUSED BranchDone(BranchId(1))
    "#]]);
}

#[test]
fn a_report_that_is_acknowledged_outlives_a_restart() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y
        done T1 b1 ack
          = T1/b1 Done a:x
          < #4 recorded
        done T1 b2
          ~ T1/b2 done
        done T1 b2 ack
          = T1/b2 Done a:y
          < #6 recorded
        done T1 b2
        restart
          > reserve ids
          @ 60 deadline T1
          @ 10 lost n1
          @ 0 history
        commit T1
          = T1 Committing
          < #8 Committing
    "#]]);
}

#[test]
fn a_report_for_what_this_store_does_not_know_is_lost_state() {
    check(&expect![[r#"
        given begin
        restart
          > reserve ids
          @ 0 history
        done T1 b1 ack
          < #2 REFUSED LostState(BranchId(1))
        failed T1 b1 a ack
          < #3 recorded
        done T9999 b1 ack
          < #4 REFUSED UnknownTransaction
        begin
          ~ T2000 began
          < #5 begun T2000, 60s left
          @ 60 deadline T2000
        done T2000 b1 ack
          < #6 REFUSED UnknownBranch(BranchId(1))
    "#]]);
}

/// At the request, when the node goes while a commit waits, and when a session comes that can look.
#[test]
fn for_a_node_that_is_gone_others_are_asked() {
    check(&expect![[r#"
        given begin; register T1 b1 a x s=2; register T1 b2 b y
        close 2
          ~ session 2 is gone
          ~ n2 is gone
          @ 10 lost n2
        commit T1 b2
          ~ T1/b2 done
          ~ T1 closing for #5
          > ask about T1/b1 at a, try 1
          @ 5 closing T1
        begin
          ~ T2 began
          < #6 begun T2, 60s left
          @ 60 deadline T2
        register T2 b3 a z
          = T2 Active
          = T2/b3 Unknown a:z
          < #7 registered as 1
        commit T2
          ~ T2 closing for #8
          @ 5 closing T2
        open 3 n3
          ~ branch ids to 296608 for n3
          ~ session 3 of n3
          < #9 branch ids 231072..296608
        attach 3 a
          ~ session 3 works on a
          < #10 attached a as a
          @ 0 resume a from T0
        close 1
          ~ session 1 is gone
          ~ n1 is gone
          > ask about T2/b3 at a, try 1
          @ 10 lost n1
        failed T1 b1 a
          = T1/b1 Failed a:x
          = T1 Committing
          < #5 Committing
    "#]]);
}

#[test]
fn a_failure_during_rollback_needs_no_undo() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b y
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b2 sent
          ~ T1/b1 sent
          < #4 RollingBack(Requested)
          > roll back T1/b2 at b, try 1
          > roll back T1/b1 at a, try 1
          @ 0.88 phase-two T1
          @ 0.81 phase-two T1
        failed T1 b1 a ack
          = T1/b1 Failed a:x
          < #5 recorded
        failed T1 b9 a ack
          < #6 recorded
        answer T1 b2 done
          ~ T1/b2 confirmed
          = T1 RolledBack(Requested)
    "#]]);
}

#[test]
fn rollback_knows_which_branches_were_done() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b y
        done T1 b1
          ~ T1/b1 done
        commit T1
          ~ T1 closing for #5
          @ 5 closing T1
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b2 sent
          ~ T1/b1 sent
          < #5 RollingBack(Requested)
          < #6 RollingBack(Requested)
          > roll back T1/b2 at b, try 1
          > roll back (done) T1/b1 at a, try 1
          @ 0.88 phase-two T1
          @ 0.81 phase-two T1
        done T1 b2
          ~ T1/b2 done
        @2
          @0.81 phase-two T1
          ~ T1/b1 sent
          > roll back (done) T1/b1 at a, try 2
          @ 2.45 phase-two T1
          @0.88 phase-two T1
          ~ T1/b2 sent
          > roll back (done) T1/b2 at b, try 2
          @ 2.66 phase-two T1
    "#]]);
}

#[test]
fn a_report_names_the_branchs_resource() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; attach 1 c:7
        done T1 b1 b ack
          < #4 REFUSED WrongResource(BranchId(1), ResourceId("b"))
        done T1 b1 zz
        failed T1 b1 c ack
          < #6 REFUSED WrongResource(BranchId(1), ResourceId("c"))
        done T1 b1 a ack
          = T1/b1 Done a:x
          < #7 recorded
    "#]]);
}

#[test]
fn what_is_done_does_not_fail_afterwards() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        done T1 b1 ack
          = T1/b1 Done a:x
          < #3 recorded
        failed T1 b1 ack
          < #4 REFUSED BranchDone(BranchId(1))
        commit T1 b1
          = T1 Committing
          ~ T1/b1 sent
          < #5 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        failed T1 b1 ack
          < #6 REFUSED BranchDone(BranchId(1))
    "#]]);
}
