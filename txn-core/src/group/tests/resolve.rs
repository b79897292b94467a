//! An operator's word on parked branches.

use expect_test::expect;

use super::script::{World, check};
use crate::policy::Policy;
use crate::step::{Change, Write};
use crate::transaction::{RESOLUTIONS_KEPT_MAX, Resolved};

#[test]
fn a_restore_goes_with_every_repeat_until_the_branch_answers() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; rollback T1; answer T1 b1 parked
        resolve T1 b1 restore why=agreed
          = T1/b1 Unknown, Restore (agreed, DirtyWrite) a:x
          ~ T1/b1 sent
          < #5 resolved
          > roll back T1/b1 at a, try 2, Restore
          @ 1.63 phase-two T1
        @6
          @0.81 phase-two T1
          @1.63 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 3, Restore
          @ 4.91 phase-two T1
          @4.91 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 4, Restore
          @ 11.47 phase-two T1
        restart
          > reserve ids
          @ 6 history
        given open 3 n1; attach 3 a
        @6
          @6 resume a from T0
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1, Restore
          @ 6.81 phase-two T1
        show
          T1 RollingBack(Requested)
            T1/b1 Unknown, Restore (agreed, DirtyWrite) a:x?
          a:x T1
          a:t.* T1~
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
        outcome T1
          < #9 RolledBack(Requested)
    "#]]);
}

#[test]
fn a_branch_that_parks_again_has_spent_its_resolution() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; rollback T1; answer T1 b1 parked
        resolve T1 b1 restore
          = T1/b1 Unknown, Restore (asked, DirtyWrite) a:x
          ~ T1/b1 sent
          < #5 resolved
          > roll back T1/b1 at a, try 2, Restore
          @ 1.63 phase-two T1
        answer T1 b1 parked
          = T1/b1 Unknown, Parked(DirtyWrite), Restore (asked, DirtyWrite) a:x
        @60
          @0.81 phase-two T1
          @1.63 phase-two T1
          @60 deadline T1
        retry T1
          = T1/b1 Unknown, Restore (asked, DirtyWrite), Retry (, DirtyWrite) a:x
          ~ T1/b1 sent
          < #7 retried 1
          > roll back T1/b1 at a, try 3, Retry
          @ 63.27 phase-two T1
        answer T1 b1 later why=locked
          ~ T1/b1 postponed: locked
          @ 63.27 phase-two T1
        @100
          @63.27 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 4, Retry
          @ 69.83 phase-two T1
          @63.27 phase-two T1
          @69.83 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 5, Retry
          @ 82.94 phase-two T1
          @82.94 phase-two T1
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 6, Retry
          @ 109.16 phase-two T1
        answer T1 b1 parked
          = T1/b1 Unknown, Parked(DirtyWrite), Restore (asked, DirtyWrite), Retry (, DirtyWrite) a:x
        resolve T1 b1 keep
          = T1/b1 Unknown, Restore (asked, DirtyWrite), Retry (, DirtyWrite), Keep (asked, DirtyWrite) a:x
          ~ T1/b1 sent
          < #10 resolved
          > roll back T1/b1 at a, try 7, Keep
          @ 149.16 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
    "#]]);
}

#[test]
fn only_what_is_parked_is_resolved() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 b y
        resolve T1 b1 keep
          < #4 REFUSED NotParked(BranchId(1))
        resolve T1 b9 keep
          < #5 REFUSED UnknownBranch(BranchId(9))
        resolve T9 b1 keep
          < #6 REFUSED UnknownTransaction
        rollback T1
          = T1 RollingBack(Requested)
          ~ T1/b2 sent
          ~ T1/b1 sent
          < #7 RollingBack(Requested)
          > roll back T1/b2 at b, try 1
          > roll back T1/b1 at a, try 1
          @ 0.88 phase-two T1
          @ 0.81 phase-two T1
        resolve T1 b1 retry
          < #8 REFUSED NotParked(BranchId(1))
        answer T1 b1 done
          = T1/b1 Unknown, Done a:x
        resolve T1 b1 keep
          < #10 REFUSED NotParked(BranchId(1))
        answer T1 b2 done
          ~ T1/b2 confirmed
          = T1 RolledBack(Requested)
        resolve T1 b2 keep
          < #12 REFUSED NotParked(BranchId(2))
    "#]]);
}

#[test]
fn a_repeat_of_a_resolution_is_answered_and_not_recorded_twice() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; rollback T1; answer T1 b1 parked
        resolve T1 b1 keep why=one
          = T1/b1 Unknown, Keep (one, DirtyWrite) a:x
          ~ T1/b1 sent
          < #5 resolved
          > roll back T1/b1 at a, try 2, Keep
          @ 1.63 phase-two T1
        resolve T1 b1 keep why=one
          < #6 resolved
        resolve T1 b1 keep why=two
          < #7 REFUSED NotParked(BranchId(1))
        resolve T1 b1 restore why=one
          < #8 REFUSED NotParked(BranchId(1))
    "#]]);
}

#[test]
fn a_resolution_must_mean_something_for_the_mode_and_the_decision() {
    check(&expect![[r#"
        given begin; register T1 b1 a x mode=tcc; register T1 b2 b y mode=xa
        given rollback T1; answer T1 b1 parked; answer T1 b2 parked
        resolve T1 b1 restore
          < #7 REFUSED NotResolvable { branch: BranchId(1), resolution: Restore, mode: Tcc }
        resolve T1 b2 restore
          < #8 REFUSED NotResolvable { branch: BranchId(2), resolution: Restore, mode: Xa }
        resolve T1 b2 keep
          = T1/b2 Unknown, Keep (asked, DirtyWrite) b:y Xa
          ~ T1/b2 sent
          < #9 resolved
          > roll back T1/b2 at b, try 2, Keep
          @ 1.77 phase-two T1
        resolve T1 b2 retry
          < #10 REFUSED NotParked(BranchId(2))
        given begin; register T2 b3 a z; commit T2 b3; answer T2 b3 parked
        resolve T2 b3 restore
          < #15 REFUSED NotResolvable { branch: BranchId(3), resolution: Restore, mode: At }
        resolve T2 b3 keep
          = T2/b3 Done, Keep (asked, DirtyWrite) a:z
          ~ T2/b3 sent
          < #16 resolved
          > commit T2/b3 at a, try 2, Keep
          @ 1.91 phase-two T2
        answer T2 b3 done
          ~ T2/b3 confirmed
          = T2 Committed
    "#]]);
}

#[test]
fn a_resolved_branch_still_waits_for_newer_ones_of_its_resource() {
    check(&expect![[r#"
        given begin; register T1 b1 a x; register T1 b2 a y; rollback T1
        given answer T1 b1 parked; answer T1 b2 parked
        resolve T1 b1 restore
          = T1/b1 Unknown, Restore (asked, DirtyWrite) a:x
          < #7 resolved
        resolve T1 b2 keep
          = T1/b2 Unknown, Keep (asked, DirtyWrite) a:y
          ~ T1/b2 sent
          < #8 resolved
          > roll back T1/b2 at a, try 2, Keep
          @ 1.77 phase-two T1
        answer T1 b2 done
          = T1/b2 Unknown, Done, Keep (asked, DirtyWrite) a:y
          ~ T1/b1 sent
          > roll back T1/b1 at a, try 1, Restore
          @ 0.81 phase-two T1
        answer T1 b1 done
          ~ T1/b1 confirmed
          = T1 RolledBack(Requested)
    "#]]);
}

#[test]
fn a_branch_keeps_its_newest_resolutions_up_to_a_number() {
    let mut world = World::new(Policy::default());
    world.run("given begin; register T1 b1 a x; rollback T1");
    let mut kept: Vec<Resolved> = Vec::new();
    for round in 0..=RESOLUTIONS_KEPT_MAX {
        let _ = world.step("answer T1 b1 parked");
        let step = world.step(&format!("resolve T1 b1 retry why={round}"));
        let Change::Stored(Write::PutBranch(row)) = &step.changes[0] else { panic!("{step:?}") };
        kept.clone_from(&row.resolutions);
        assert_eq!(kept.len(), (round + 1).min(RESOLUTIONS_KEPT_MAX));
    }
    let ends = [kept.first(), kept.last()].map(|word| word.unwrap().reason.to_string());
    assert_eq!(ends, ["1".to_owned(), RESOLUTIONS_KEPT_MAX.to_string()]);
}
