//! Carrying a decision to every branch.

use expect_test::expect;

use super::script::check;

#[test]
fn a_commit_is_sent_at_once_in_the_order_xa_tcc_at() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y mode=tcc
        given register T1 b3 a z mode=xa; register T1 b4 a v mode=saga
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
          > commit T1/b3 at a, try 1
          > commit T1/b2 at a, try 1
          > commit T1/b1 at a, try 1
          @ 0.95 phase-two T1
          @ 0.88 phase-two T1
          @ 0.81 phase-two T1
    "#]]);
}

#[test]
fn a_rollback_goes_newest_first_at_each_resource() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b x; register T1 b3 a y
        given register T1 b4 b y
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b4 sent
          ~ T1/b3 sent
          < #6 RollingBack(Requested)
          > roll back T1/b4 at b, try 1
          > roll back T1/b3 at a, try 1
          @ 0.77 phase-two T1
          @ 0.95 phase-two T1
        answer T1 b3 done
          = T1/b3 Unknown, Done a:y
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b4 done
          = T1/b4 Unknown, Done b:y
          ~ T1/b2 sent
          > roll back T1/b2 at b, try 1
          @ 0.88 phase-two T1
        answer T1 b1 done
          = T1/b1 Unknown, Done a:x
        answer T1 b2 done
          ~ T1/b2 confirmed
          = T1 RolledBack(Requested)
    "#]]);
}

#[test]
fn saga_steps_are_compensated_newest_first_over_all_resources() {
    check(&expect![[r#"
        given begin; register T1 b1 a - mode=saga; register T1 b2 b - mode=saga
        given register T1 b3 a x
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b3 sent
          ~ T1/b2 sent
          < #5 RollingBack(Requested)
          > roll back T1/b3 at a, try 1
          > roll back T1/b2 at b, try 1
          @ 0.95 phase-two T1
          @ 0.88 phase-two T1
        answer T1 b2 parked
          = T1/b2 Unknown, Parked(DirtyWrite) b: Saga
        retry T1
          = T1/b2 Unknown, Retry (, DirtyWrite) b: Saga
          ~ T1/b3 sent
          ~ T1/b2 sent
          < #7 retried 3
          > roll back T1/b3 at a, try 2
          > roll back T1/b2 at b, try 2, Retry
          @ 1.91 phase-two T1
          @ 1.77 phase-two T1
        answer T1 b2 done
          = T1/b2 Unknown, Done, Retry (, DirtyWrite) b: Saga
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 done
          = T1/b1 Unknown, Done a: Saga
        answer T1 b3 done
          ~ T1/b3 confirmed
          = T1 RolledBack(Requested)
    "#]]);
}

#[test]
fn a_parked_branch_holds_back_only_older_ones_of_its_resource() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y; register T1 b3 b z
        given register T1 b4 a v
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b4 sent
          ~ T1/b3 sent
          < #6 RollingBack(Requested)
          > roll back T1/b4 at a, try 1
          > roll back T1/b3 at b, try 1
          @ 0.77 phase-two T1
          @ 0.95 phase-two T1
        answer T1 b4 done
          = T1/b4 Unknown, Done a:v
          ~ T1/b2 sent
          > roll back T1/b2 at a, try 1
          @ 0.88 phase-two T1
        answer T1 b2 parked
          = T1/b2 Unknown, Parked(DirtyWrite) a:y
        answer T1 b2 parked
        answer T1 b3 done
          = T1/b3 Unknown, Done b:z
        outcome T1
          < #11 RollingBack(Requested), 1 parked
        show
          T1 RollingBack(Requested)
            T1/b1 Unknown a:x?
            T1/b2 Unknown, Parked(DirtyWrite) a:y?
            T1/b3 Unknown, Done b:z?
            T1/b4 Unknown, Done a:v?
          a:x T1
          a:y T1
          a:t.* T1~
        restart
          > reserve ids
          @ 0 history
        outcome T1
          < #12 RollingBack(Requested), 1 parked
        open 3 n1
          ~ branch ids to 200065536 for n1
          ~ session 3 of n1
          < #13 branch ids 200000000..200065536
        attach 3 a
          ~ session 3 works on a
          < #14 attached a as a
          @ 0 resume a from T0
        retry T1
          = T1/b2 Unknown, Retry (, DirtyWrite) a:y
          ~ T1/b2 sent
          < #15 retried 2
          > roll back T1/b2 at a, try 1, Retry
          @ 0.88 phase-two T1
        answer T1 b2 done
          = T1/b2 Unknown, Done, Retry (, DirtyWrite) a:y
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
        outcome T1
          < #18 RolledBack(Requested)
    "#]]);
}

#[test]
fn what_is_not_confirmed_is_sent_again_ever_more_slowly() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b1 sent
          < #3 RollingBack(Requested)
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        @20
          @0.81 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 2
          @ 2.45 phase-two T1
          @2.45 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 3
          @ 5.73 phase-two T1
          @5.73 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 4
          @ 12.29 phase-two T1
          @12.29 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 5
          @ 25.39 phase-two T1
        answer T1 b1 later
          ~ T1/b1 postponed
          @ 33.1 phase-two T1
        answer T1 b1 later after=100
          ~ T1/b1 postponed
          @ 120 phase-two T1
        @120
          @25.39 phase-two T1
          @33.1 phase-two T1
          @60 deadline T1
          @120 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 6
          @ 146.21 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
        @400
          @146.21 phase-two T1
    "#]]);
}

#[test]
fn an_answer_that_comes_late_twice_or_for_another_decision_changes_nothing() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b y
        answer T1 b1 done
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b2 sent
          ~ T1/b1 sent
          < #5 RollingBack(Requested)
          > roll back T1/b2 at b, try 1
          > roll back T1/b1 at a, try 1
          @ 0.88 phase-two T1
          @ 0.81 phase-two T1
        answer T1 b1 done to=commit
        answer T1 b1 done
          = T1/b1 Unknown, Done a:x
        answer T1 b1 done
        answer T1 b1 later
        answer T1 b1 parked
        answer T1 b7 done
        answer T9 b1 done
        answer T1 b2 done
          ~ T1/b2 confirmed
          = T1 RolledBack(Requested)
        answer T1 b2 done
    "#]]);
}

#[test]
fn what_was_parked_and_is_done_after_all_is_done() {
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
        answer T1 b1 parked
          = T1/b1 Unknown, Parked(DirtyWrite) a:x
        answer T1 b1 later
        answer T1 b1 done
          = T1/b1 Unknown, Done a:x
        show
          T1 RollingBack(Requested)
            T1/b1 Unknown, Done a:x?
            T1/b2 Unknown b:y?
          b:y T1
          b:t.* T1~
    "#]]);
}

#[test]
fn a_resource_that_is_away_is_sent_its_work_the_moment_it_is_back() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x; register T2 b2 a y; register T2 b3 b z
        close 1
          ~ session 1 is gone
          ~ n1 is gone
          @ 10 lost n1
        close 2
          ~ session 2 is gone
          ~ n2 is gone
          @ 10 lost n2
        rollback T1
          = T1 RollingBack(Requested)
          < #8 RollingBack(Requested)
        rollback T2
          = T2 RollingBack(Requested)
          < #9 RollingBack(Requested)
        @1000
          @10 lost n1
          ~ n1 is lost
          @10 lost n2
          ~ n2 is lost
          @60 deadline T1
          @60 deadline T2
        open 3 n3
          ~ branch ids to 296608 for n3
          ~ session 3 of n3
          < #10 branch ids 231072..296608
        attach 3 a
          ~ session 3 works on a
          < #11 attached a as a
          @ 1000 resume a from T0
        @1000.0
          @1000 resume a from T0
          ~ T1/b1 sent
          ~ T2/b2 sent
          > roll back T1/b1 at a, try 1
          > roll back T2/b2 at a, try 1
          @ 1000.81 phase-two T1
          @ 1000.88 phase-two T2
    "#]]);
}

#[test]
fn results_that_free_nothing_are_not_written_and_those_that_free_locks_are() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x; register T1 b2 b y
        commit T1 b1,b2
          ~ T1/b1 done
          ~ T1/b2 done
          = T1 Committing
          ~ T1/b1 sent
          ~ T1/b2 sent
          < #5 Committing
          > commit T1/b1 at a, try 1
          > commit T1/b2 at b, try 1
          @ 0.81 phase-two T1
          @ 0.88 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
        register T2 b3 a x
          = T2 Active
          = T2/b3 Unknown a:x
          < #7 registered as 1
        register T2 b4 b y
          = T2/b4 Unknown b:y
          < #8 registered as 2
        rollback T2
          = T2 RollingBack(Requested)
          ~ T2/b4 sent
          ~ T2/b3 sent
          < #9 RollingBack(Requested)
          > roll back T2/b4 at b, try 1
          > roll back T2/b3 at a, try 1
          @ 0.77 phase-two T2
          @ 0.95 phase-two T2
        answer T2 b3 done
          = T2/b3 Unknown, Done a:x
        restart
          > reserve ids
          @ 0 history
    "#]]);
}

#[test]
fn keys_are_granted_in_the_step_that_records_their_undo() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x; register T1 b2 b y
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b2 sent
          ~ T1/b1 sent
          < #5 RollingBack(Requested)
          > roll back T1/b2 at b, try 1
          > roll back T1/b1 at a, try 1
          @ 0.88 phase-two T1
          @ 0.81 phase-two T1
        register T2 b3 a x wait=9
          ~ w1 T2/b3 waits for a:x
          @ 9 wait w1
        answer T1 b1 done
          = T1/b1 Unknown, Done a:x
          ~ w1 is over
          = T2 Active
          = T2/b3 Unknown a:x
          < #6 registered as 1
    "#]]);
}

#[test]
fn a_retry_is_for_what_is_decided() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        retry T1
          < #3 NOT ACTIVE: Active
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b1 sent
          < #4 RollingBack(Requested)
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 later after=50
          ~ T1/b1 postponed
          @ 50 phase-two T1
        retry T1
          ~ T1/b1 sent
          < #6 retried 1
          > roll back T1/b1 at a, try 2
          @ 1.63 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
        retry T1
          < #8 NOT ACTIVE: RolledBack(Requested)
        retry T9
          < #9 REFUSED UnknownTransaction
    "#]]);
}

#[test]
fn an_answer_counts_only_from_a_session_that_proved_the_resource() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; rollback T1
        given open 3 n3
        answer T1 b1 done s=3
        answer T1 b1 done s=9
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
    "#]]);
}
