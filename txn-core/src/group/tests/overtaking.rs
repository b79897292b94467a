//! Who goes past whom, and for how long.

use expect_test::expect;

use super::script::{check, check_with};
use crate::policy::Policy;

#[test]
fn a_waiter_that_fails_moves_to_the_keys_that_are_taken_now() {
    check(&expect![[r#"
        given begin; begin; begin; begin; register T1 b1 a x; register T2 b2 a y
        register T3 b3 a x,y wait=9
          ~ w1 T3/b3 waits for a:x,a:y
          @ 9 wait w1
        register T4 b4 a x wait=9
          ~ w2 T4/b4 waits for a:x
          @ 9 wait w2
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          ~ w1 waits for a:y
          ~ w2 is over
          = T4 Active
          = T4/b4 Unknown a:x
          < #9 Committing
          < #8 registered as 1
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        commit T2 b2
          ~ T2/b2 done
          = T2 Committing
          ~ T2/b2 sent
          ~ w1 waits for a:x
          < #10 Committing
          > commit T2/b2 at a, try 1
          @ 0.88 phase-two T2
        commit T4 b4
          ~ T4/b4 done
          = T4 Committing
          ~ T4/b4 sent
          ~ w1 is over
          = T3 Active
          = T3/b3 Unknown a:x,y
          < #11 Committing
          < #7 registered as 1
          > commit T4/b4 at a, try 1
          @ 0.77 phase-two T4
        show
          T1 Committing
            T1/b1 Done a:x
          T2 Committing
            T2/b2 Done a:y
          T3 Active
            T3/b3 Unknown a:x,y?
          T4 Committing
            T4/b4 Done a:x
          a:x T3
          a:y T3
          a:t.* T3~
    "#]]);
}

/// T2 fails twice; then y, free, is not given to T5, who came later. Rows beside its keys are free.
#[test]
fn who_is_overtaken_too_often_keeps_its_free_keys() {
    check_with(
        Policy { overtaken_max: 2, ..Policy::default() },
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
            begin
              ~ T4 began
              < #8 begun T4, 60s left
              @ 60 deadline T4
            register T4 b4 a x
              = T4 Active
              = T4/b4 Unknown a:x
              < #9 registered as 1
            commit T3 b3
              ~ T3/b3 done
              = T3 Committing
              ~ T3/b3 sent
              ~ w1 waits for a:x
              < #10 Committing
              > commit T3/b3 at a, try 1
              @ 0.95 phase-two T3
            begin
              ~ T5 began
              < #11 begun T5, 60s left
              @ 60 deadline T5
            register T5 b5 a y wait=9
              ~ w2 T5/b5 waits for a:y
              @ 9 wait w2
            register T5 b6 a z
              = T5 Active
              = T5/b6 Unknown a:z
              < #13 registered as 1
            commit T4 b4
              ~ T4/b4 done
              = T4 Committing
              ~ T4/b4 sent
              ~ w1 is over
              = T2 Active
              = T2/b2 Unknown a:x,y
              < #14 Committing
              < #5 registered as 1
              > commit T4/b4 at a, try 1
              @ 0.77 phase-two T4
            commit T2 b2
              ~ T2/b2 done
              = T2 Committing
              ~ T2/b2 sent
              ~ w2 is over
              = T5/b5 Unknown a:y
              < #15 Committing
              < #12 registered as 2
              > commit T2/b2 at a, try 1
              @ 0.88 phase-two T2
            show
              T1 Committing
                T1/b1 Done a:x
              T2 Committing
                T2/b2 Done a:x,y
              T3 Committing
                T3/b3 Done a:y
              T4 Committing
                T4/b4 Done a:x
              T5 Active
                T5/b6 Unknown a:z?
                T5/b5 Unknown a:y?
              a:y T5
              a:z T5
              a:t.* T5~
        "#]],
    );
}

#[test]
fn those_who_wait_for_kept_keys_wake_when_the_keeper_gives_up() {
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
            commit T3 b3
              ~ T3/b3 done
              = T3 Committing
              ~ T3/b3 sent
              < #7 Committing
              > commit T3/b3 at a, try 1
              @ 0.95 phase-two T3
            commit T1 b1
              ~ T1/b1 done
              = T1 Committing
              ~ T1/b1 sent
              ~ w1 is over
              = T2 Active
              = T2/b2 Unknown a:x,y
              < #8 Committing
              < #5 registered as 1
              > commit T1/b1 at a, try 1
              @ 0.81 phase-two T1
            begin
              ~ T4 began
              < #9 begun T4, 60s left
              @ 60 deadline T4
            begin
              ~ T5 began
              < #10 begun T5, 60s left
              @ 60 deadline T5
            register T4 b4 a v
              = T4 Active
              = T4/b4 Unknown a:v
              < #11 registered as 1
            register T5 b5 a v,w wait=9
              ~ w2 T5/b5 waits for a:v
              @ 9 wait w2
            begin
              ~ T6 began
              < #13 begun T6, 60s left
              @ 60 deadline T6
            register T6 b6 a w~
              = T6 Active
              = T6/b6 Unknown a:w~
              < #14 registered as 1
            commit T4 b4
              ~ T4/b4 done
              = T4 Committing
              ~ T4/b4 sent
              ~ w2 waits for a:w
              < #15 Committing
              > commit T4/b4 at a, try 1
              @ 0.77 phase-two T4
            register T6 b7 a w~
              = T6/b7 Unknown a:w~
              ~ w2 is overtaken
              < #16 registered as 2
            begin
              ~ T7 began
              < #17 begun T7, 60s left
              @ 60 deadline T7
            register T7 b8 a v wait=9
              ~ w3 T7/b8 waits for a:v
              @ 9 wait w3
            cancel #12
              ~ w2 is over
              ~ w3 is over
              = T7 Active
              = T7/b8 Unknown a:v
              < #18 registered as 1
            show
              T1 Committing
                T1/b1 Done a:x
              T2 Active
                T2/b2 Unknown a:x,y?
              T3 Committing
                T3/b3 Done a:y
              T4 Committing
                T4/b4 Done a:v
              T5 Active
              T6 Active
                T6/b6 Unknown a:w~?
                T6/b7 Unknown a:w~?
              T7 Active
                T7/b8 Unknown a:v?
              a:v T7
              a:w T6~
              a:x T2
              a:y T2
              a:t.* T2~+T6~+T7~
        "#]],
    );
}

/// T1 shares x now: T2 cannot have it and T3 can. T3 must not sleep behind T2.
#[test]
fn a_waiter_for_a_shared_lock_goes_past_one_that_wants_the_key_alone() {
    check(&expect![[r#"
        given begin; begin; begin; begin; register T1 b1 a x; register T1 b2 a x~
        register T2 b3 a x wait=5
          ~ w1 T2/b3 waits for a:x
          @ 5 wait w1
        register T3 b4 a x~ wait=5
          ~ w2 T3/b4 waits for a:x
          @ 5 wait w2
        failed T1 b1 a
          = T1/b1 Failed a:x
          ~ w2 is over
          = T3 Active
          = T3/b4 Unknown a:x~
          ~ w1 is overtaken
          < #8 registered as 1
        show
          T1 Active
            T1/b1 Failed a:x
            T1/b2 Unknown a:x~?
          T2 Active
          T3 Active
            T3/b4 Unknown a:x~?
          T4 Active
          a:x T1~+T3~ <- w1
          a:t.* T1~+T3~
    "#]]);
}

#[test]
fn the_second_wait_of_a_transaction_goes_past_others_once_the_first_has_the_key() {
    check(&expect![[r#"
        given begin; begin; begin; register T1 b1 a x
        register T2 b2 a x wait=5
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        register T3 b3 a x wait=5
          ~ w2 T3/b3 waits for a:x
          @ 5 wait w2
        register T2 b4 a x wait=5
          ~ w3 T2/b4 waits for a:x
          @ 5 wait w3
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          ~ w1 is over
          = T2 Active
          = T2/b2 Unknown a:x
          ~ w3 is over
          = T2/b4 Unknown a:x
          ~ w2 is overtaken
          < #8 Committing
          < #5 registered as 1
          < #7 registered as 2
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        show
          T1 Committing
            T1/b1 Done a:x
          T2 Active
            T2/b2 Unknown a:x?
            T2/b4 Unknown a:x?
          T3 Active
          a:x T2 <- w2
          a:t.* T2~
    "#]]);
}

/// A check outside any transaction keeps nothing: its wait is bounded, and T2 must not wait for it.
#[test]
fn nothing_is_kept_for_who_is_no_transaction() {
    check_with(
        Policy { overtaken_max: 1, ..Policy::default() },
        &expect![[r#"
            given begin; begin; register T1 b1 a x
            check a x,y wait=9
              ~ w1 nobody (Check) waits for a:x
              @ 9 wait w1
            register T2 b2 a y
              = T2 Active
              = T2/b2 Unknown a:y
              < #5 registered as 1
            commit T1 b1
              ~ T1/b1 done
              = T1 Committing
              ~ T1/b1 sent
              ~ w1 waits for a:y
              < #6 Committing
              > commit T1/b1 at a, try 1
              @ 0.81 phase-two T1
            register T2 b3 a x
              = T2/b3 Unknown a:x
              < #7 registered as 2
            commit T2 b2,b3
              ~ T2/b2 done
              ~ T2/b3 done
              = T2 Committing
              ~ T2/b2 sent
              ~ T2/b3 sent
              ~ w1 is over
              < #8 Committing
              < #4 free
              > commit T2/b2 at a, try 1
              > commit T2/b3 at a, try 1
              @ 0.88 phase-two T2
              @ 0.95 phase-two T2
        "#]],
    );
}

/// What T2 has already is not kept from it, or it could never end.
#[test]
fn keys_are_not_kept_from_who_has_them() {
    check_with(
        Policy { overtaken_max: 1, ..Policy::default() },
        &expect![[r#"
            given begin; begin; begin; register T1 b1 a x; register T2 b2 a y
            register T3 b3 a x,y wait=9
              ~ w1 T3/b3 waits for a:x,a:y
              @ 9 wait w1
            commit T1 b1
              ~ T1/b1 done
              = T1 Committing
              ~ T1/b1 sent
              ~ w1 waits for a:y
              < #7 Committing
              > commit T1/b1 at a, try 1
              @ 0.81 phase-two T1
            register T2 b4 a y
              = T2/b4 Unknown a:y
              ~ w1 is overtaken
              < #8 registered as 2
            register T2 b5 a z
              = T2/b5 Unknown a:z
              < #9 registered as 3
            register T2 b6 a x
              < #10 CONFLICT x with someone
            show
              T1 Committing
                T1/b1 Done a:x
              T2 Active
                T2/b2 Unknown a:y?
                T2/b4 Unknown a:y?
                T2/b5 Unknown a:z?
              T3 Active
              a:x
              a:y T2 <- w1
              a:z T2
              a:t.* T2~
        "#]],
    );
}

/// Claims go past a waiting table lock only so often.
#[test]
fn newcomers_that_go_past_a_waiter_are_counted() {
    check_with(
        Policy { overtaken_max: 2, ..Policy::default() },
        &expect![[r#"
            given begin; begin; begin; register T1 b1 a x
            register T2 b2 a t.* wait=9
              ~ w1 T2/b2 waits for a:t.*
              @ 9 wait w1
            claim T3 a y
              ~ c1 keeps y for T3
              ~ w1 is overtaken
              < #6 claim c1
              @ 5 claim c1
            register T3 b3 a z
              = T3 Active
              = T3/b3 Unknown a:z
              ~ w1 is overtaken
              < #7 registered as 1
            register T3 b4 a v
              = T3/b4 Unknown a:v
              ~ w1 is overtaken
              < #8 registered as 2
            given begin
            register T4 b5 a w
              < #10 CONFLICT t.* with someone
            show
              T1 Active
                T1/b1 Unknown a:x?
              T2 Active
              T3 Active
                T3/b3 Unknown a:z?
                T3/b4 Unknown a:v?
              T4 Active
              a:v T3
              a:x T1
              a:y T3
              a:z T3
              a:t.* T1~+T3~ <- w1
              c1 T3 y
        "#]],
    );
}
