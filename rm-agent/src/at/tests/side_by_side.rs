//! Phase two where a database has many writers, and the barrier's statements in its words. The
//! servers' tests call this for each of them.

use pactum_core::id::{BranchId, Xid};
use pactum_core::step::Outcome;
use pactum_core::time::WallTime;
use pactum_core::transaction::BranchMode;
use pactum_core::transaction::{Resolution, Status};
use sqlx::{Executor, IntoArguments};
use tokio::task::JoinSet;

use super::rollback::ROLLBACK;
use super::world::{NOW, TestDatabase, WorldOn};
use crate::at::connection::AtConnection;
use crate::barrier::Mode;
use crate::barrier::leftovers::{Page, open_before};
use crate::barrier::sweep::{Sweeper, Swept};
use crate::branch::{Answer, BranchKey};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, x INT); \
                     INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)";

/// Goal: rollbacks that wait for rows which somebody holds hold up neither commits nor rollbacks of
/// other rows, and end once the rows are free. Method: as many as may run at once, one less; their rows
/// are held by another connection.
pub(super) async fn blocked_rollbacks_hold_up_nobody_else<DB: TestDatabase>()
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = WorldOn::<DB>::new(TABLE).await;
    let participant = world.fake.participant(BranchMode::At);
    let at_once = participant.rollbacks_at_once();
    assert_eq!(at_once, 4);
    let mut branches = Vec::new();
    for id in 1..=6 {
        let context = world.context();
        world.run(&context, &[&format!("UPDATE t SET x = {id} WHERE id = {id}")]).await.unwrap();
        let branch = world.fake.registrations(context.xid())[0].branch;
        branches.push(BranchKey { xid: context.xid().clone(), branch });
    }
    let mut held = world.pool.begin().await.unwrap();
    for id in 1..at_once {
        // One by one: MariaDB locks what a range ends at too.
        let hold = format!("SELECT id FROM t WHERE id = {id} FOR UPDATE");
        DB::sql(&mut held).query(&hold, &[]).await.unwrap();
    }
    let mut blocked = JoinSet::new();
    for key in branches.iter().take(at_once - 1).cloned() {
        let participant = participant.clone();
        let work = world.fake.task(&key.xid, key.branch, ROLLBACK);
        blocked.spawn(async move { participant.settle(work).await });
    }
    let [fourth, fifth, sixth] = [&branches[3], &branches[4], &branches[5]];
    assert_eq!(world.fake.work(&fourth.xid, fourth.branch, ROLLBACK).await, Answer::Done);
    assert_eq!(world.fake.commit(&fifth.xid).await, [Answer::Done]);
    world.behind("UPDATE t SET x = 60 WHERE id = 6").await;
    let parked = world.fake.work(&sixth.xid, sixth.branch, ROLLBACK).await;
    assert!(matches!(parked, Answer::Parked(_)), "{parked:?}");
    let restored =
        world.fake.resolve(&sixth.xid, sixth.branch, ROLLBACK, Resolution::Restore).await;
    assert_eq!(restored, Answer::Done);
    assert!(blocked.try_join_next().is_none(), "somebody holds their rows");
    held.rollback().await.unwrap();
    assert_eq!(blocked.join_all().await, vec![Answer::Done; at_once - 1]);
    let rows = world.query("SELECT x FROM t ORDER BY id").await;
    let left: Vec<String> = rows.iter().map(|row| row[0].to_string()).collect();
    let unquoted: Vec<&str> = left.iter().map(|value| value.trim_matches('\'')).collect();
    assert_eq!(unquoted, ["0", "0", "0", "0", "5", "0"]);
}

/// The sweep's statements, and the one that looks what a batch of commits left.
pub(super) async fn leftovers_are_found_and_swept<DB: TestDatabase>()
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let world = WorldOn::<DB>::new(TABLE).await;
    let mut xids = Vec::new();
    for id in 1..=3 {
        let context = world.context();
        world.run(&context, &[&format!("UPDATE t SET x = {id} WHERE id = {id}")]).await.unwrap();
        xids.push(context.xid().clone());
    }
    let outcome = Outcome { status: Status::Committed, parked: 0 };
    world.fake.say(&xids[1], Ok(outcome));
    let mut sweeper = Sweeper { wall: || WallTime(NOW + 600_001), ..world.at.sweeper() };
    assert_eq!(sweeper.round().await.unwrap(), Swept { seen: 3, deleted: 1, told: 2 });

    let mut local = sweeper.database.begin().await.unwrap();
    let late = WallTime(NOW + 1);
    let first = open_before(&mut *local, Mode::At, late, None, 1).await.unwrap();
    assert!(!first.is_last);
    let after = Some(&first.rows[0].place);
    let second = open_before(&mut *local, Mode::At, late, after, 2).await.unwrap();
    assert!(second.is_last);
    let of = |page: &Page| page.rows[0].owner.clone().unwrap().0.xid;
    assert_eq!([of(&first), of(&second)], [xids[0].clone(), xids[2].clone()]);
    local.rollback().await;

    // A repeat finds its row gone; one that was undone must not be called committed.
    let keys: Vec<(Xid, BranchId)> = (xids.iter().cloned()).zip((1..).map(BranchId)).collect();
    world.behind("UPDATE pactum_barrier SET state = 'undone' WHERE branch_id = 3").await;
    let answers = world.fake.commit_batch(keys).await;
    assert_eq!(answers[..2], [Answer::Done, Answer::Done]);
    assert!(matches!(answers[2], Answer::Parked(_)), "{answers:?}");
}
