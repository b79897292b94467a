//! What is said of a transaction that a request names.

use expect_test::expect;

use super::script::check;

#[test]
fn an_unknown_number_has_rolled_back_only_for_who_named_this_store() {
    check(&expect![[r#"
        given begin
        restart
          > reserve ids
          @ 0 history
        commit T1
          < #2 RolledBack(Unrecorded)
        rollback T1
          < #3 RolledBack(Unrecorded)
        outcome T1
          < #4 RolledBack(Unrecorded)
        register T1 b1 a x
          < #5 NOT ACTIVE: RolledBack(Unrecorded)
        outcome T1 unnamed
          < #6 REFUSED UnknownTransaction
        commit T1 unnamed
          < #7 REFUSED UnknownTransaction
        register T1 b1 a x unnamed
          < #8 REFUSED UnknownTransaction
    "#]]);
}

#[test]
fn a_number_that_was_never_issued_is_no_transaction() {
    check(&expect![[r#"
        given begin
        outcome T2
          < #2 REFUSED UnknownTransaction
        commit T2
          < #3 REFUSED UnknownTransaction
        register T2 b1 a x
          < #4 REFUSED UnknownTransaction
    "#]]);
}

#[test]
fn below_the_horizon_the_outcome_has_expired() {
    check(&expect![[r#"
        given begin
        commit T1
          = T1 Committed
          < #2 Committed
        @86400.5
          @60 deadline T1
        timer history
          = prune T1 horizon 1
          @ 86401.5 history
        outcome T1
          < #4 REFUSED Expired
        commit T1
          < #5 REFUSED Expired
        register T1 b1 a x
          < #6 REFUSED Expired
        begin
          ~ T2 began
          < #7 begun T2, 60s left
          @ 86460.5 deadline T2
        outcome T2
          < #8 Active
    "#]]);
}

#[test]
fn a_commit_that_names_branches_which_are_not_there_is_lost_state() {
    check(&expect![[r#"
        given begin
        commit T1 b7
          < #2 REFUSED LostState(BranchId(7))
        restart
          > reserve ids
          @ 0 history
        commit T1 b7
          < #3 REFUSED LostState(BranchId(7))
        commit T1
          < #4 RolledBack(Unrecorded)
        begin
          ~ T2000 began
          < #5 begun T2000, 60s left
          @ 60 deadline T2000
        open 3 n1
          ~ branch ids to 200065536 for n1
          ~ session 3 of n1
          < #6 branch ids 200000000..200065536
        attach 3 a
          ~ session 3 works on a
          < #7 attached a as a
          @ 0 resume a from T0
        register T2000 b1 a x s=3
          = T2000 Active
          = T2000/b1 Unknown a:x
          < #8 registered as 1
        commit T2000 b1,b9
          < #9 REFUSED LostState(BranchId(9))
        show
          T2000 Active
            T2000/b1 Unknown a:x?
          a:x T2000
          a:t.* T2000~
    "#]]);
}
