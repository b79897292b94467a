//! Beginning, and its ids.

use expect_test::expect;

use super::script::{check, check_with};
use crate::policy::Policy;

#[test]
fn a_begin_is_volatile_until_its_first_branch_carries_it() {
    check(&expect![[r#"
        begin
          ~ T1 began
          < #1 begun T1, 60s left
          @ 60 deadline T1
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #2 registered as 1
        register T1 b2 b y
          = T1/b2 Unknown b:y
          < #3 registered as 2
    "#]]);
}

#[test]
fn a_begin_is_repeated_by_its_key_and_not_begun_twice() {
    check(&expect![[r#"
        begin key=k timeout=60
          ~ T1 began
          < #1 begun T1, 60s left
          @ 60 deadline T1
        @20
        begin key=k timeout=60
          < #2 begun T1, 40s left
        register T1 b1 a x
          = T1 Active
          = T1/b1 Unknown a:x
          < #3 registered as 1
        restart
          > reserve ids
          @ 60 deadline T1
          @ 30 lost n1
          @ 20 history
        begin key=k timeout=60
          < #4 begun T1, 40s left
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          < #5 Committing
        open 3 n1
          ~ branch ids to 200065536 for n1
          ~ session 3 of n1
          < #6 branch ids 200000000..200065536
        attach 3 a
          ~ session 3 works on a
          < #7 attached a as a
          @ 20 resume a from T0
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 Committed
        begin key=k timeout=60
          < #9 begun T1, 0ns left
        begin key=other
          ~ T2000 began
          < #10 begun T2000, 60s left
          @ 80 deadline T2000
    "#]]);
}

#[test]
fn a_begin_that_was_never_stored_is_forgotten_with_its_key() {
    check(&expect![[r#"
        begin key=k
          ~ T1 began
          < #1 begun T1, 60s left
          @ 60 deadline T1
        restart
          > reserve ids
          @ 0 history
        begin key=k
          ~ T2000 began
          < #2 begun T2000, 60s left
          @ 60 deadline T2000
    "#]]);
}

#[test]
fn no_more_transactions_are_undecided_than_allowed() {
    check_with(
        Policy { active_transactions_max: 1, ..Policy::default() },
        &expect![[r#"
            begin
              ~ T1 began
              < #1 begun T1, 60s left
              @ 60 deadline T1
            begin
              < #2 REFUSED Limit { limit: ActiveTransactions, max: 1 }
            rollback T1
              = T1 RolledBack(Requested)
              < #3 RolledBack(Requested)
            begin
              ~ T2 began
              < #4 begun T2, 60s left
              @ 60 deadline T2
        "#]],
    );
}
