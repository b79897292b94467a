//! Waiting for keys: order, modes, tables, bounds.

use expect_test::expect;

use super::script::{World, check, check_with};
use crate::id::XidNumber;
use crate::policy::Policy;
use crate::step::{Answer, Change, Reply, Write};

#[test]
fn a_key_goes_to_the_first_who_waits_in_the_step_that_frees_it() {
    check(&expect![[r#"
        given begin; begin; begin; register T1 b1 a x
        register T2 b2 a x wait=5
          ~ w1 T2/b2 waits for a:x
          @ 5 wait w1
        register T3 b3 a x wait=5
          ~ w2 T3/b3 waits for a:x
          @ 5 wait w2
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          ~ w1 is over
          = T2 Active
          = T2/b2 Unknown a:x
          < #7 Committing
          < #5 registered as 1
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        commit T2 b2
          ~ T2/b2 done
          = T2 Committing
          ~ T2/b2 sent
          ~ w2 is over
          = T3 Active
          = T3/b3 Unknown a:x
          < #8 Committing
          < #6 registered as 1
          > commit T2/b2 at a, try 1
          @ 0.88 phase-two T2
        show
          T1 Committing
            T1/b1 Done a:x
          T2 Committing
            T2/b2 Done a:x
          T3 Active
            T3/b3 Unknown a:x?
          a:x T3
          a:t.* T3~
    "#]]);
}

#[test]
fn waiting_is_bounded_shorter_with_row_locks_and_never_past_the_deadline() {
    check(&expect![[r#"
        given begin; begin timeout=8; register T1 b1 a x; register T2 b2 a x
        register T2 b3 a x wait=100
          ~ w1 T2/b3 waits for a:x
          @ 8 wait w1
        register T2 b4 a x wait=100 local
          ~ w2 T2/b4 waits for a:x
          @ 1 wait w2
        @2
          @1 wait w2
          ~ w2 is over
          < #6 CONFLICT x with T1
        @9
          @8 deadline T2
          = T2 RolledBack(TimedOut)
          ~ w1 is over
          < #5 NOT ACTIVE: RolledBack(TimedOut)
          @8 wait w1
        begin timeout=3
          ~ T3 began
          < #7 begun T3, 3s left
          @ 12 deadline T3
        register T3 b5 a x wait=100
          ~ w3 T3/b5 waits for a:x
          @ 12 wait w3
        @12
          @12 deadline T3
          = T3 RolledBack(TimedOut)
          ~ w3 is over
          < #8 NOT ACTIVE: RolledBack(TimedOut)
          @12 wait w3
    "#]]);
}

#[test]
fn shared_locks_go_together_and_stand_against_exclusive_ones() {
    check(&expect![[r#"
        given begin; begin; begin; register T1 b1 a x~; register T2 b2 a x~
        register T3 b3 a x wait=5
          ~ w1 T3/b3 waits for a:x
          @ 5 wait w1
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          < #7 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        commit T2 b2
          ~ T2/b2 done
          = T2 Committing
          ~ T2/b2 sent
          ~ w1 is over
          = T3 Active
          = T3/b3 Unknown a:x
          < #8 Committing
          < #6 registered as 1
          > commit T2/b2 at a, try 1
          @ 0.88 phase-two T2
        show
          T1 Committing
            T1/b1 Done a:x~
          T2 Committing
            T2/b2 Done a:x~
          T3 Active
            T3/b3 Unknown a:x?
          a:x T3
          a:t.* T3~
    "#]]);
}

#[test]
fn a_table_lock_stands_against_every_row_of_its_table_and_no_other() {
    check(&expect![[r#"
        given begin; begin; register T1 b1 a t.*; register T2 b2 a x; register T2 b3 a x~
        given register T2 b4 a u:x; register T2 b5 b x; begin; register T3 b6 a u.*~
        given register T3 b7 a v.*~; register T2 b8 a v:1~; register T2 b9 a v:1
        show
          T1 Active
            T1/b1 Unknown a:t.*?
          T2 Active
            T2/b4 Unknown a:u:x?
            T2/b5 Unknown b:x?
            T2/b8 Unknown a:v:1~?
          T3 Active
            T3/b7 Unknown a:v.*~?
          a:t.* T1
          a:u:x T2
          a:u.* T2~
          a:v:1 T2~
          a:v.* T2~+T3~
          b:x T2
          b:t.* T2~
    "#]]);
}

#[test]
fn a_table_lock_waits_for_the_rows_of_others() {
    check(&expect![[r#"
        given begin; begin; begin; register T1 b1 a x; register T2 b2 a y
        register T3 b3 a t.* wait=5
          ~ w1 T3/b3 waits for a:t.*
          @ 5 wait w1
        commit T1 b1
          ~ T1/b1 done
          = T1 Committing
          ~ T1/b1 sent
          < #7 Committing
          > commit T1/b1 at a, try 1
          @ 0.81 phase-two T1
        commit T2 b2
          ~ T2/b2 done
          = T2 Committing
          ~ T2/b2 sent
          ~ w1 is over
          = T3 Active
          = T3/b3 Unknown a:t.*
          < #8 Committing
          < #6 registered as 1
          > commit T2/b2 at a, try 1
          @ 0.88 phase-two T2
        show
          T1 Committing
            T1/b1 Done a:x
          T2 Committing
            T2/b2 Done a:y
          T3 Active
            T3/b3 Unknown a:t.*?
          a:t.* T3
    "#]]);
}

#[test]
fn no_more_wait_than_allowed() {
    check_with(
        Policy { waiters_max: 1, ..Policy::default() },
        &expect![[r#"
            given begin; begin; register T1 b1 a x
            register T2 b2 a x wait=5
              ~ w1 T2/b2 waits for a:x
              @ 5 wait w1
            register T2 b3 a x wait=5
              < #5 REFUSED Limit { limit: Waiters, max: 1 }
        "#]],
    );
}

/// The queue on a hot key: first come, first served; one grant a release, in the release's own step.
#[test]
fn a_hot_key_is_handed_on_in_order_of_arrival() {
    let mut world = World::new(Policy::default());
    world.run("given begin; register T1 b1 a x");
    for number in 2..=65 {
        world.run(&format!("given begin; register T{number} b{number} a x wait=9"));
    }
    for number in 1..=64 {
        let step = world.step(&format!("commit T{number} b{number}"));
        let next = XidNumber(number + 1);
        let branches = step.changes.iter().filter_map(|change| match change {
            Change::Stored(Write::PutBranch(row)) => Some(row.xid),
            Change::Stored(_) | Change::Volatile(_) => None,
        });
        assert_eq!(branches.collect::<Vec<_>>(), [next], "one grant, and of the next in line");
        let granted = |answer: &Answer| matches!(answer.reply, Reply::Registered { .. });
        assert_eq!(step.replies.iter().filter(|answer| granted(answer)).count(), 1);
    }
}
