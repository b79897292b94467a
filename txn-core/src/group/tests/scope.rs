//! A nested scope rolls back while its transaction goes on.

use expect_test::expect;

use super::script::check;

#[test]
fn a_scope_is_undone_newest_first_and_the_rest_commits() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y in=s1; register T1 b3 a z in=s1,s2
        given register T1 b4 b x in=s3; done T1 b1; done T1 b2; done T1 b3; done T1 b4
        undo T1 s1 completed
          = T1 Active, without s1
          ~ T1/b3 sent
          ~ #10 awaits the undo of T1/s1
          > roll back (done) T1/b3 at a, try 1
          @ 0.95 phase-two T1
          @ 2 completion T1 #10
        answer T1 b3 done
          = T1/b3 Done, Done a:z
          ~ T1/b2 sent
          > roll back (done) T1/b2 at a, try 1
          @ 0.88 phase-two T1
        answer T1 b2 done
          = T1/b2 Done, Done a:y
          ~ #10 awaits the undo in T1 no more
          < #10 scope undone, Active
        undo T1 s1 completed
          < #13 scope undone, Active
        commit T1 b1,b2,b4
          = T1 Committing, without s1
          ~ T1/b1 sent
          ~ T1/b4 sent
          < #14 Committing
          > commit T1/b1 at a, try 1
          > commit T1/b4 at b, try 1
          @ 0.81 phase-two T1
          @ 0.77 phase-two T1
        show
          T1 Committing
            T1/b1 Done a:x
            T1/b2 Done, Done a:y
            T1/b3 Done, Done a:z
            T1/b4 Done b:x
    "#]]);
}

#[test]
fn a_key_that_another_branch_holds_stays_taken() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a x,y in=s1; begin
        undo T1 s1
          = T1 Active, without s1
          ~ T1/b2 sent
          < #5 scope rolling back, Active
          > roll back T1/b2 at a, try 1
          @ 0.88 phase-two T1
        answer T1 b2 done
          = T1/b2 Unknown, Done a:x,y
        register T2 b3 a y
          = T2 Active
          = T2/b3 Unknown a:y
          < #7 registered as 1
        register T2 b4 a x
          < #8 CONFLICT x with T1
    "#]]);
}

#[test]
fn nobody_joins_a_scope_that_was_rolled_back() {
    check(&expect![[r#"
        given begin; register T1 b1 a x in=s1
        undo T1 s1
          = T1 Active, without s1
          ~ T1/b1 sent
          < #3 scope rolling back, Active
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        register T1 b2 a y in=s1
          < #4 REFUSED ScopeRolledBack(ScopeId(1))
        register T1 b3 a y in=s1,s2
          < #5 REFUSED ScopeRolledBack(ScopeId(1))
        register T1 b1 a x in=s1
          < #6 REFUSED ScopeRolledBack(ScopeId(1))
        register T1 b4 a y in=s3
          = T1/b4 Unknown a:y
          < #7 registered as 2
    "#]]);
}

#[test]
fn a_registration_that_waits_hears_that_its_scope_is_gone() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; begin; register T2 b2 a x wait=5 in=s1
        undo T2 s1 completed
          = T2 Active, without s1
          ~ w1 is over
          < #4 REFUSED ScopeRolledBack(ScopeId(1))
          < #5 scope undone, Active
    "#]]);
}

#[test]
fn a_commit_waits_until_the_scope_is_undone() {
    check(&expect![[r#"
        given begin timeout=60; register T1 b1 a x; register T1 b2 a y in=s1; done T1 b1
        undo T1 s1
          = T1 Active, without s1
          ~ T1/b2 sent
          < #5 scope rolling back, Active
          > roll back T1/b2 at a, try 1
          @ 0.88 phase-two T1
        commit T1 b1
          ~ T1 closing for #6
          @ 5 closing T1
        @7!
        timer closing T1
        answer T1 b2 done
          = T1/b2 Unknown, Done a:y
          = T1 Committing, without s1
          ~ T1/b1 sent
          < #6 Committing
          > commit T1/b1 at a, try 1
          @ 7.81 phase-two T1
    "#]]);
}

#[test]
fn a_scope_that_is_not_undone_by_the_deadline_rolls_back_the_whole() {
    check(&expect![[r#"
        given begin timeout=10; register T1 b1 a x; register T1 b2 b y in=s1; done T1 b1
        undo T1 s1 completed
          = T1 Active, without s1
          ~ T1/b2 sent
          ~ #5 awaits the undo of T1/s1
          > roll back T1/b2 at b, try 1
          @ 0.88 phase-two T1
          @ 2 completion T1 #5
        commit T1 b1
          ~ T1 closing for #6
          @ 5 closing T1
        @2.5!
        timer completion T1 #5
          ~ #5 awaits the undo in T1 no more
          < #5 scope rolling back, Active
        @10!
        timer deadline T1
          = T1 RollingBack(TimedOut), without s1
          ~ T1/b2 sent
          ~ T1/b1 sent
          < #6 RollingBack(TimedOut)
          > roll back T1/b2 at b, try 2
          > roll back (done) T1/b1 at a, try 1
          @ 11.77 phase-two T1
          @ 10.81 phase-two T1
        answer T1 b2 done
          = T1/b2 Unknown, Done b:y
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(TimedOut), without s1
    "#]]);
}

/// The branch outside is undone first; only then the scope's branch is tried again and may park.
#[test]
fn a_branch_that_parks_rolls_back_the_whole_and_is_tried_again_in_its_turn() {
    check(&expect![[r#"
        given begin; register T1 b1 a x in=s1; register T1 b2 a x; done T1 b1; done T1 b2
        undo T1 s1 completed
          = T1 Active, without s1
          ~ T1/b1 sent
          ~ #6 awaits the undo of T1/s1
          > roll back (done) T1/b1 at a, try 1
          @ 0.81 phase-two T1
          @ 2 completion T1 #6
        answer T1 b1 parked
          = T1 RollingBack(ScopeNotUndone), without s1
          ~ #6 awaits the undo in T1 no more
          ~ T1/b2 sent
          < #6 scope rolling back, RollingBack(ScopeNotUndone)
          > roll back (done) T1/b2 at a, try 1
          @ 0.88 phase-two T1
        answer T1 b1 parked
        answer T1 b2 done
          = T1/b2 Done, Done a:x
        @3!
        timer phase-two T1
          ~ T1/b1 sent
          > roll back (done) T1/b1 at a, try 2
          @ 4.63 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(ScopeNotUndone), without s1
    "#]]);
}

#[test]
fn a_branch_that_nothing_held_back_parks_at_once() {
    check(&expect![[r#"
        given begin; register T1 b1 a x in=s1
        undo T1 s1
          = T1 Active, without s1
          ~ T1/b1 sent
          < #3 scope rolling back, Active
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 parked
          = T1 RollingBack(ScopeNotUndone), without s1
          = T1/b1 Unknown, Parked(DirtyWrite) a:x
        show
          T1 RollingBack(ScopeNotUndone)
            T1/b1 Unknown, Parked(DirtyWrite) a:x?
          a:x T1
          a:t.* T1~
    "#]]);
}

#[test]
fn a_veto_in_a_scope_leaves_the_rest_active() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y in=s1,s2; done T1 b1
        veto T1 in=s1,s2
          = T1 Active, without s2 (vetoed)
          ~ T1/b2 sent
          < #5 Active
          > roll back T1/b2 at a, try 1
          @ 0.88 phase-two T1
        answer T1 b2 done
          = T1/b2 Unknown, Done a:y
        outcome T1
          < #7 Active
    "#]]);
}

/// Its caller may never have heard of the veto, and would commit a part of what it believes whole.
#[test]
fn a_commit_over_a_veto_that_the_manager_did_not_take_up_rolls_back_the_whole() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y in=s1,s2; done T1 b1
        given veto T1 in=s1,s2; answer T1 b2 done
        commit T1 b1
          = T1 RollingBack(Vetoed), without s2 (vetoed)
          ~ T1/b1 sent
          < #7 RollingBack(Vetoed)
          > roll back (done) T1/b1 at a, try 1
          @ 0.81 phase-two T1
        given begin; register T2 b3 b x; register T2 b4 b y in=s1,s2; done T2 b3
        given veto T2 in=s1,s2; answer T2 b4 done
        undo T2 s1
          = T2 Active, without s2 (vetoed), without s1
          < #14 scope undone, Active
        commit T2 b3,b4
          ~ T2/b4 done
          = T2 Committing, without s2 (vetoed), without s1
          ~ T2/b3 sent
          < #15 Committing
          > commit T2/b3 at b, try 1
          @ 0.95 phase-two T2
    "#]]);
}

#[test]
fn a_scope_of_a_closing_transaction_takes_the_whole_with_it() {
    check(&expect![[r#"
        given begin; register T1 b1 a x in=s1; commit T1
        veto T1 in=s1
          = T1 RollingBack(Vetoed)
          ~ T1/b1 sent
          < #3 RollingBack(Vetoed)
          < #4 RollingBack(Vetoed)
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
    "#]]);
}

#[test]
fn the_whole_rollback_takes_over_what_the_scope_had_not_finished() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y in=s1; register T1 b3 b z in=s1
        undo T1 s1 completed
          = T1 Active, without s1
          ~ T1/b3 sent
          ~ T1/b2 sent
          ~ #5 awaits the undo of T1/s1
          > roll back T1/b3 at b, try 1
          > roll back T1/b2 at a, try 1
          @ 0.95 phase-two T1
          @ 0.88 phase-two T1
          @ 2 completion T1 #5
        answer T1 b3 done
          = T1/b3 Unknown, Done b:z
        rollback T1
          = T1 RollingBack(Requested), without s1
          ~ #5 awaits the undo in T1 no more
          < #7 RollingBack(Requested)
          < #5 scope rolling back, RollingBack(Requested)
        answer T1 b2 done
          = T1/b2 Unknown, Done a:y
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested), without s1
        undo T1 s1
          < #10 scope undone, RolledBack(Requested)
    "#]]);
}

#[test]
fn a_scope_of_a_committed_transaction_cannot_roll_back() {
    check(&expect![[r#"
        given begin; register T1 b1 a x in=s1; commit T1 b1
        undo T1 s1
          < #4 NOT ACTIVE: Committing
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 Committed
        undo T1 s1
          < #6 NOT ACTIVE: Committed
    "#]]);
}

#[test]
fn a_restart_goes_on_with_the_undo() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y in=s1; undo T1 s1
        restart
          > reserve ids
          @ 60 deadline T1
          @ 10 lost n1
          @ 0 history
        show
          T1 Active
            T1/b1 Unknown a:x?
            T1/b2 Unknown a:y?
          a:x T1
          a:y T1
          a:t.* T1~
        given open 3 n3
        attach 3 a
          ~ session 3 works on a
          < #6 attached a as a
          @ 0 resume a from T0
        timer resume r1
          ~ T1/b2 sent
          > roll back T1/b2 at a, try 1
          @ 0.88 phase-two T1
        answer T1 b2 done
          = T1/b2 Unknown, Done a:y
        register T1 b5 a y in=s1 s=3
          < #9 REFUSED ScopeRolledBack(ScopeId(1))
    "#]]);
}

#[test]
fn whoever_holds_row_locks_must_not_wait_for_a_key_that_is_being_undone() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y in=s1; begin
        given register T2 b3 a y wait=1 local
        undo T1 s1
          = T1 Active, without s1
          ~ w1 is over
          ~ T1/b2 sent
          < #5 CONFLICT y with T1
          < #6 scope rolling back, Active
          > roll back T1/b2 at a, try 1
          @ 0.88 phase-two T1
        register T2 b4 a y wait=1 local
          < #7 CONFLICT y with T1
        register T2 b5 a x wait=1 local
          ~ w2 T2/b5 waits for a:x
          @ 1 wait w2
    "#]]);
}

#[test]
fn a_failed_phase_one_in_the_scope_is_undone_as_well() {
    check(&expect![[r#"
        given begin; register T1 b1 a x in=s1
        undo T1 s1 completed
          = T1 Active, without s1
          ~ T1/b1 sent
          ~ #3 awaits the undo of T1/s1
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
          @ 2 completion T1 #3
        failed T1 b1
          = T1/b1 Failed a:x
          ~ #3 awaits the undo in T1 no more
          < #3 scope undone, Active
        commit T1
          = T1 Committed, without s1
          < #5 Committed
    "#]]);
}
