//! Many global transactions and guarded local ones at once, on a few rows, their unique values and
//! foreign keys. The servers' tests call this for each of them.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor, IntoArguments};

use super::world::{TestDatabase, WorldOn, options, take};
use crate::TransactionContext;
use crate::at::connection::AtConnection;
use crate::at::{AtError, AtTransaction};
use crate::branch::Answer;

const SCHEMA: &str = "\
    CREATE TABLE acc (id INT PRIMARY KEY, n INT NOT NULL); \
    INSERT INTO acc VALUES (1, 0), (2, 0), (3, 0); \
    CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, x INT); \
    INSERT INTO t VALUES (1, 1, 0), (2, 2, 0), (3, NULL, 0); \
    CREATE TABLE c (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id)); \
    INSERT INTO c VALUES (1, 1), (2, NULL)";

/// Numbers that look like chance, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn statement(dice: &mut Dice, upsert: &str) -> String {
    let (id, u, x) = (dice.below(4) + 1, dice.below(3) + 1, dice.below(100));
    match dice.below(11) {
        0 => format!("INSERT INTO t VALUES ({id}, {u}, {x})"),
        1 => format!("DELETE FROM t WHERE id = {id}"),
        2 => format!("UPDATE t SET u = {u} WHERE id = {id}"),
        3 => format!("UPDATE t SET x = x + 1 WHERE u = {u} OR id = {id}"),
        4 => upsert.replace("$id", &id.to_string()).replace("$u", &u.to_string()),
        5 => format!("INSERT INTO c VALUES ({u}, {id})"),
        6 => format!("UPDATE c SET t = {id} WHERE id = {u}"),
        7 => format!("DELETE FROM c WHERE t = {id}"),
        8 => format!("UPDATE t SET x = x + 1 WHERE id IN (SELECT t FROM c WHERE id <= {u})"),
        9 => format!("INSERT INTO c SELECT id + {u}, id FROM t WHERE x > {x}"),
        _ => format!("SELECT x FROM t WHERE id = {id} FOR UPDATE"),
    }
}

/// Rounds of each of the tasks.
const ROUNDS: u32 = 60;

/// Goal: no rollback ever parks while all writers go through AT, and every increment of what was
/// committed is there, once. Method: chance.
pub(super) async fn writers_in_each_others_way_stay_exact<DB: TestDatabase>(upsert: &str)
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let options = options()
        .lock_wait_max(Duration::from_millis(30))
        .claim_wait_max(Duration::from_millis(300))
        .local_lock_wait_max(Duration::from_millis(500));
    let world = WorldOn::<DB>::with(SCHEMA, options).await;
    let one = async |seed: u64| {
        let mut dice = Dice(seed);
        let mut committed = 0_u64;
        for _ in 0..ROUNDS {
            committed += u64::from(Box::pin(round(&world, &mut dice, upsert)).await);
        }
        committed
    };
    let [a, b, c, d] = [1, 7920, 15839, 23758].map(|seed| Box::pin(one(seed)));
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let counts = world.query("SELECT n FROM acc").await;
    let counts = counts.iter().map(|row| row[0].to_string().trim_matches('\'').parse::<u64>());
    assert_eq!(counts.sum::<Result<u64, _>>().unwrap(), a + b + c + d);
    assert!(a + b + c + d > u64::from(ROUNDS) / 2, "hardly anything was committed");
    assert!(!world.barrier().await.contains(&"open".to_owned()));
    assert_eq!(world.fake.claims_left(), 0);
}

/// A global transaction or a guarded local one; whether it was committed.
async fn round<DB: TestDatabase>(world: &WorldOn<DB>, dice: &mut Dice, upsert: &str) -> bool
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let is_guarded = dice.below(4) == 0;
    let context = world.context();
    let count = if is_guarded { 1 } else { dice.below(2) + 1 };
    let mut sound = true;
    for number in 0..count {
        let more = dice.below(4);
        let mut statements: Vec<String> = (0..more).map(|_| statement(dice, upsert)).collect();
        if number == 0 {
            let account = dice.below(3) + 1;
            let update = format!("UPDATE acc SET n = n + 1 WHERE id = {account}");
            statements.insert(usize::from(more > 0 && dice.below(2) == 0), update);
        }
        let context = (!is_guarded).then_some(&context);
        match run(world, context, &statements, dice.below(2) == 0).await {
            Ok(()) => {}
            Err(
                AtError::Database(_)
                | AtError::LockConflict { .. }
                | AtError::Drifted(_)
                | AtError::Busy(_)
                | AtError::OnlyRollback { .. },
            ) => sound = false,
            Err(error) => panic!("{statements:?}: {error:?}"),
        }
    }
    if is_guarded {
        return sound;
    }
    // Meanwhile the others meet what is committed locally.
    for _ in 0..dice.below(8) {
        world.query("SELECT id FROM acc").await;
    }
    if sound && dice.below(2) == 0 {
        let answers = world.fake.commit(context.xid()).await;
        assert!(answers.iter().all(|answer| *answer == Answer::Done), "{answers:?}");
        return true;
    }
    loop {
        // Rows that somebody holds are waited for; nothing may park.
        let answers = world.fake.roll_back(context.xid()).await;
        match answers.iter().find(|answer| **answer != Answer::Done) {
            None => return false,
            Some(Answer::Later { .. }) => tokio::task::yield_now().await,
            Some(other) => panic!("{other:?}"),
        }
    }
}

async fn run<DB: TestDatabase>(
    world: &WorldOn<DB>,
    context: Option<&TransactionContext>,
    statements: &[String],
    waits: bool,
) -> Result<(), AtError>
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    if !waits {
        let mut tx = match context {
            Some(context) => world.at.begin_in(context).await?,
            None => world.at.begin().await?,
        };
        for statement in statements {
            let query = sqlx::query(AssertSqlSafe(statement.as_str()));
            if let Err(error) = query.execute(&mut *tx).await {
                tx.rollback().await.ok();
                return Err(take(error));
            }
        }
        return tx.commit().await;
    }
    let statements = statements.to_vec();
    match context {
        Some(context) => {
            world.at.transaction_in(context, |tx| Box::pin(all(tx, statements.clone()))).await
        }
        None => world.at.transaction(|tx| Box::pin(all(tx, statements.clone()))).await,
    }
}

async fn all<DB: TestDatabase>(
    tx: &mut AtTransaction<DB>,
    statements: Vec<String>,
) -> Result<(), AtError>
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    for statement in &statements {
        sqlx::query(AssertSqlSafe(statement.as_str())).execute(&mut **tx).await?;
    }
    Ok(())
}
