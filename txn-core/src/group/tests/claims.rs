//! Claims and checks: keys for a local transaction that runs again, or none at all.

use expect_test::expect;

use super::script::check;

#[test]
fn a_claim_keeps_its_keys_for_the_transaction_that_tries_again() {
    check(&expect![[r#"
        given begin; begin; begin; register T1 b1 a x
        claim T2 a x,y wait=5
          ~ w1 T2 (Claim) waits for a:x
          @ 5 wait w1
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          ~ w1 is over
          ~ c1 keeps x,y for T2
          < #6 Committing
          < #5 claim c1
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
          @ 5 claim c1
        register T3 b3 a y
          < #7 CONFLICT y with T2
        register T2 b2 a x,y claim=c1
          = T2 Active
          = T2/b2 Unknown a:x,y
          ~ c1 is over
          < #8 registered as 1
        register T3 b3 a y wait=2
          ~ w2 T3/b3 waits for a:y
          @ 2 wait w2
        commit T2 b2
          ~ T2/b2 done
          = T2 Committing
          ~ T2/b2 sent
          ~ w2 is over
          = T3 Active
          = T3/b3 Unknown a:y
          < #10 Committing
          < #9 registered as 1
          > commit T2/b2 at a, try 1
          @ 0.88 phase-two T2
        show
          T1 Committing
            T1/b1 Done a:x
          T2 Committing
            T2/b2 Done a:x,y
          T3 Active
            T3/b3 Unknown a:y?
          a:y T3
          a:t.* T3~
    "#]]);
}

#[test]
fn a_claim_goes_with_its_time_its_session_and_its_transaction() {
    check(&expect![[r#"
        given begin; begin
        claim T1 a x
          ~ c1 keeps x for T1
          < #3 claim c1
          @ 5 claim c1
        register T2 b1 a x wait=9
          ~ w1 T2/b1 waits for a:x
          @ 9 wait w1
        @6
          @5 claim c1
          ~ c1 is over
          ~ w1 is over
          = T2 Active
          = T2/b1 Unknown a:x
          < #4 registered as 1
        claim T1 a y
          ~ c2 keeps y for T1
          < #5 claim c2
          @ 11 claim c2
        register T2 b2 a y wait=9
          ~ w2 T2/b2 waits for a:y
          @ 15 wait w2
        release c2
          ~ c2 is over
          ~ w2 is over
          = T2/b2 Unknown a:y
          < #6 registered as 2
        claim T1 a z s=2
          ~ c3 keeps z for T1
          < #8 claim c3
          @ 11 claim c3
        register T2 b3 a z wait=9
          ~ w3 T2/b3 waits for a:z
          @ 15 wait w3
        close 2
          ~ c3 is over
          ~ session 2 is gone
          ~ n2 is gone
          ~ w3 is over
          = T2/b3 Unknown a:z
          < #9 registered as 3
          @ 16 lost n2
        claim T1 a v
          ~ c4 keeps v for T1
          < #11 claim c4
          @ 11 claim c4
        register T2 b4 a v wait=9
          ~ w4 T2/b4 waits for a:v
          @ 15 wait w4
        rollback T1
          = T1 RolledBack(Requested)
          ~ c4 is over
          ~ w4 is over
          = T2/b4 Unknown a:v
          < #13 RolledBack(Requested)
          < #12 registered as 4
        show
          T2 Active
            T2/b1 Unknown a:x?
            T2/b2 Unknown a:y?
            T2/b3 Unknown a:z?
            T2/b4 Unknown a:v?
          a:v T2
          a:x T2
          a:y T2
          a:z T2
          a:t.* T2~
    "#]]);
}

#[test]
fn a_claim_is_given_back_by_its_session_only() {
    check(&expect![[r#"
        given begin
        claim T1 a x
          ~ c1 keeps x for T1
          < #2 claim c1
          @ 5 claim c1
        release c1 s=2
        release c1
          ~ c1 is over
        release c1
        show
          T1 Active
    "#]]);
}

#[test]
fn a_check_says_when_keys_are_free_and_keeps_nothing() {
    check(&expect![[r#"
        given begin; register T1 b1 a x
        check a x
          < #3 CONFLICT x with T1
        check a x wait=5
          ~ w1 nobody (Check) waits for a:x
          @ 5 wait w1
        check T1 a x
          < #5 free
        check a y
          < #6 free
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          ~ w1 is over
          < #7 Committing
          < #4 free
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        show
          T1 Committing
            T1/b1 Done a:x
    "#]]);
}
