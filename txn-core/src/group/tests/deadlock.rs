//! Cycles of waits cost the youngest transaction in them.

use expect_test::expect;

use super::script::{check, check_with};
use crate::policy::Policy;

#[test]
fn two_that_wait_for_each_other_cost_the_younger() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x; register T2 b2 a y
        register T2 b3 a x wait=9
          ~ w1 T2/b3 waits for a:x
          @ 9 wait w1
        register T1 b4 a y wait=9
          ~ w2 T1/b4 waits for a:y
          = T2 RollingBack(Deadlock)
          ~ w1 is over
          ~ T2/b2 sent
          < #5 NOT ACTIVE: RollingBack(Deadlock)
          > roll back T2/b2 at a, try 1
          @ 9 wait w2
          @ 0.88 phase-two T2
        answer T2 b2 done
          ~ T2/b2 confirmed
          = T2 RolledBack(Deadlock)
          ~ w2 is over
          = T1/b4 Unknown a:y
          < #6 registered as 2
        show
          T1 Active
            T1/b1 Unknown a:x?
            T1/b4 Unknown a:y?
          a:x T1
          a:y T1
          a:t.* T1~
    "#]]);
}

#[test]
fn the_victim_is_the_youngest_of_the_cycle_whoever_closes_it() {
    check(&expect![[r#"
        given begin; begin; begin; register T1 b1 a x; register T2 b2 a y
        given register T3 b3 b z
        register T1 b4 a y wait=9
          ~ w1 T1/b4 waits for a:y
          @ 9 wait w1
        register T2 b5 b z wait=9
          ~ w2 T2/b5 waits for b:z
          @ 9 wait w2
        register T3 b6 a x wait=9
          ~ w3 T3/b6 waits for a:x
          = T3 RollingBack(Deadlock)
          ~ w3 is over
          ~ T3/b3 sent
          < #9 NOT ACTIVE: RollingBack(Deadlock)
          > roll back T3/b3 at b, try 1
          @ 9 wait w3
          @ 0.95 phase-two T3
    "#]]);
}

#[test]
fn two_that_share_a_key_and_both_want_it_alone() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x~; register T2 b2 a x~
        register T1 b3 a x wait=9
          ~ w1 T1/b3 waits for a:x
          @ 9 wait w1
        register T2 b4 a x wait=9
          ~ w2 T2/b4 waits for a:x
          = T2 RollingBack(Deadlock)
          ~ w2 is over
          ~ T2/b2 sent
          < #6 NOT ACTIVE: RollingBack(Deadlock)
          > roll back T2/b2 at a, try 1
          @ 9 wait w2
          @ 0.88 phase-two T2
        failed T2 b2 a
          = T2/b2 Failed a:x~
          = T2 RolledBack(Deadlock)
          ~ w1 is over
          = T1/b3 Unknown a:x
          < #5 registered as 2
        answer T2 b2 done
        show
          T1 Active
            T1/b1 Unknown a:x~?
            T1/b3 Unknown a:x?
          a:x T1
          a:t.* T1~
    "#]]);
}

#[test]
fn claims_are_part_of_a_cycle() {
    check(&expect![[r#"
        given begin; begin
        claim T1 a x
          ~ c1 keeps x for T1
          < #3 claim c1
          @ 5 claim c1
        claim T2 a y
          ~ c2 keeps y for T2
          < #4 claim c2
          @ 5 claim c2
        claim T1 a y wait=9
          ~ w1 T1 (Claim) waits for a:y
          @ 9 wait w1
        claim T2 a x wait=9
          ~ w2 T2 (Claim) waits for a:x
          = T2 RolledBack(Deadlock)
          ~ w2 is over
          ~ c2 is over
          ~ w1 is over
          ~ c3 keeps y for T1
          < #6 NOT ACTIVE: RolledBack(Deadlock)
          < #5 claim c3
          @ 9 wait w2
          @ 5 claim c3
        show
          T1 Active
          a:x T1
          a:y T1
          a:t.* T1~
          c1 T1 x
          c3 T1 y
    "#]]);
}

/// x is free and kept for T2, which T3 holds up with y.
#[test]
fn keys_that_are_kept_are_part_of_a_cycle() {
    check_with(
        Policy { overtaken_max: 1, ..Policy::default() },
        &expect![[r#"
            given begin; begin; begin; register T1 b1 a x
            register T2 b2 a x,y wait=9
              ~ w1 T2/b2 waits for a:x
              @ 9 wait w1
            register T3 b3 a y
              = T3 Active
              = T3/b3 Unknown a:y
              < #6 registered as 1
            commit T1 b1
              ~ T1/b1 done
              = T1 Committing
              ~ T1/b1 sent
              ~ w1 waits for a:y
              < #7 Committing
              > commit T1/b1 at a, try 1
              @ 0.81 phase-two T1
            register T3 b4 a x wait=9
              ~ w2 T3/b4 waits for a:x
              = T3 RollingBack(Deadlock)
              ~ w2 is over
              ~ T3/b3 sent
              < #8 NOT ACTIVE: RollingBack(Deadlock)
              > roll back T3/b3 at a, try 1
              @ 9 wait w2
              @ 0.95 phase-two T3
        "#]],
    );
}

#[test]
fn who_rolls_back_already_is_no_part_of_a_cycle() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a x; register T2 b2 a y
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b1 sent
          < #5 RollingBack(Requested)
          > roll back T1/b1 at a, try 1
          @ 0.81 phase-two T1
        register T2 b3 a x wait=9
          ~ w1 T2/b3 waits for a:x
          @ 9 wait w1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
          ~ w1 is over
          = T2/b3 Unknown a:x
          < #6 registered as 2
        show
          T2 Active
            T2/b2 Unknown a:y?
            T2/b3 Unknown a:x?
          a:x T2
          a:y T2
          a:t.* T2~
    "#]]);
}
