//! Open undo logs that have been there for long: only the coordinator knows what they are.

use pactum_core::id::Xid;
use pactum_core::step::Outcome;
use pactum_core::time::WallTime;
use pactum_core::transaction::{RollbackCause, Status};
use pactum_proto::v1;

use super::world::{NOW, World};
use crate::barrier::sweep::{SWEPT_ROWS_MAX, Sweeper, Swept};
use crate::session::CallError;

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY)";
const CAUSE: RollbackCause = RollbackCause::TimedOut;

fn sweeper(world: &World) -> Sweeper {
    Sweeper { wall: || WallTime(NOW + 600_001), ..world.at.sweeper() }
}

fn say(world: &World, xid: &Xid, status: Status) {
    world.fake.say(xid, Ok(Outcome { status, parked: 0 }));
}

async fn branch(world: &World, id: usize) -> Xid {
    let context = world.context();
    world.run(&context, &[&format!("INSERT INTO t VALUES ({id})")]).await.unwrap();
    context.xid().clone()
}

#[tokio::test]
async fn only_what_the_coordinator_says_committed_is_deleted() {
    let world = World::new(TABLE).await;
    let all = [
        (Some(Status::Active), "open"),
        (Some(Status::Committing), "open"),
        (Some(Status::RollingBack(CAUSE)), "open"),
        (Some(Status::Committed), ""),
        (Some(Status::RolledBack(CAUSE)), "told"),
        (Some(Status::RolledBack(RollbackCause::Unrecorded)), "told"),
        (None, "told"),
    ];
    for (id, (status, _)) in all.iter().enumerate() {
        let xid = branch(&world, id).await;
        if let Some(status) = status {
            say(&world, &xid, *status);
        }
    }
    let expired = branch(&world, 10).await;
    let gone = v1::Error { code: v1::ErrorCode::Expired.into(), ..v1::Error::default() };
    world.fake.say(&expired, Err(CallError::Refused(gone)));
    let foreign = world.foreign_context();
    world.run(&foreign, &["INSERT INTO t VALUES (11)"]).await.unwrap();
    let rows = world.dump().await;

    let swept = sweeper(&world).round().await.unwrap();
    let told = all.iter().filter(|(_, then)| *then == "told").count() + 2;
    assert_eq!(swept, Swept { seen: 9, deleted: 1, told });
    assert_eq!(world.barrier().await, ["open"; 8]);
    assert_eq!(world.dump().await, rows);
    let again = sweeper(&world).round().await.unwrap();
    assert_eq!(again, Swept { seen: 8, deleted: 0, told });
}

#[tokio::test]
async fn what_is_young_or_settled_is_not_asked_about() {
    let world = World::new(TABLE).await;
    let undone = world.context();
    world.run(&undone, &["INSERT INTO t VALUES (1)"]).await.unwrap();
    world.fake.roll_back(undone.xid()).await;
    branch(&world, 2).await;
    let mut young = Sweeper { wall: || WallTime(NOW + 600_000), ..world.at.sweeper() };
    assert_eq!(young.round().await.unwrap(), Swept::default());
    assert_eq!(world.fake.asked_about(), []);
    assert_eq!(sweeper(&world).round().await.unwrap().seen, 1);
}

/// A coordinator that is away has not lost anything.
#[tokio::test]
async fn a_coordinator_that_does_not_answer_ends_the_round() {
    let world = World::new(TABLE).await;
    let committed = branch(&world, 1).await;
    say(&world, &committed, Status::Committed);
    let silent = branch(&world, 2).await;
    world.fake.say(&silent, Err(CallError::NoAnswer("planted".to_owned())));
    let mut sweeper = sweeper(&world);
    assert!(sweeper.round().await.is_err());
    assert_eq!(world.barrier().await, ["open", "open"]);
    say(&world, &silent, Status::Active);
    let swept = sweeper.round().await.unwrap();
    assert_eq!(swept, Swept { seen: 2, deleted: 1, told: 0 });
}

#[tokio::test]
async fn rounds_go_on_where_the_last_one_ended_and_begin_again() {
    let world = World::new(TABLE).await;
    let mut all = Vec::new();
    for id in 0..SWEPT_ROWS_MAX + 5 {
        let xid = branch(&world, id).await;
        say(&world, &xid, Status::Active);
        all.push(xid);
    }
    // Of different ages: the oldest come first, whatever their number.
    world.behind("UPDATE pactum_barrier SET changed_at = changed_at - branch_id % 3").await;
    let mut sweeper = sweeper(&world);
    let mut asked = Vec::new();
    for seen in [SWEPT_ROWS_MAX, 5] {
        assert_eq!(sweeper.round().await.unwrap().seen, seen);
        asked.extend(world.fake.asked_about());
    }
    let oldest = asked.iter().take(35).all(|xid| xid.number.0 % 3 == 2);
    assert!(oldest, "{asked:?}");
    asked.sort();
    all.sort();
    assert_eq!(asked, all, "each once");
    assert_eq!(sweeper.round().await.unwrap().seen, SWEPT_ROWS_MAX, "from the oldest again");
}

#[tokio::test]
async fn a_row_whose_owner_was_changed_by_hand_is_told_and_kept() {
    let world = World::new(TABLE).await;
    branch(&world, 1).await;
    world.behind("UPDATE pactum_barrier SET store_id = 'nobody'").await;
    let swept = sweeper(&world).round().await.unwrap();
    assert_eq!(swept, Swept { seen: 1, deleted: 0, told: 1 });
    assert_eq!(world.fake.asked_about(), []);
    assert_eq!(world.barrier().await, ["open"]);
}
