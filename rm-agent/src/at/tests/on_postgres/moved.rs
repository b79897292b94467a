//! A row whose primary key another session changes while an UPDATE waits for it. AT itself refuses such a
//! change, so it comes from outside.

use sqlx::AssertSqlSafe;

use super::World;
use super::concurrency::{until_somebody_waits, writer};
use crate::at::AtError;
use crate::branch::Answer;

const BANK: &str = "CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL); \
     INSERT INTO account VALUES (1, 100), (2, 50)";
const MOVES: &str = "UPDATE account SET id = 10 WHERE id = 1";
const BY_BALANCE: &str = "UPDATE account SET balance = balance - 30 WHERE balance >= 50";

/// Goal: what plain SQL would change is changed with its image, or not at all and said so. Method: the
/// statement finds its rows by a column that stays.
#[tokio::test]
async fn a_row_that_gets_another_key_while_an_update_waits_is_not_passed_over() {
    for again in [false, true] {
        let world = World::new(BANK).await;
        let context = world.context();
        let other = writer(&world, MOVES).await;
        let meanwhile = async {
            until_somebody_waits(&world.pool).await;
            other.commit().await.unwrap();
        };
        if again {
            // The form that may run again does so by itself.
            let query = sqlx::query(AssertSqlSafe(BY_BALANCE));
            let change = context.clone().scope(async { query.execute(&world.at).await });
            let (changed, ()) = tokio::join!(change, meanwhile);
            assert_eq!(changed.unwrap().rows_affected(), 2);
            let moved = "SELECT balance::text FROM account WHERE id = 10";
            assert_eq!(world.value(moved).await, "'70'");
            assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
            assert_eq!(world.value(moved).await, "'100'");
        } else {
            let (changed, ()) = tokio::join!(world.run(&context, &[BY_BALANCE]), meanwhile);
            let Err(error @ AtError::Drifted(_)) = changed else { panic!("{changed:?}") };
            assert!(error.is_retryable());
            assert!(world.fake.registrations(context.xid()).is_empty());
        }
        assert_eq!(world.value("SELECT sum(balance)::text FROM account").await, "'150'");
    }
}

/// One that is found by its key is passed over, as plain SQL does: it no longer meets the condition.
#[tokio::test]
async fn a_row_that_no_longer_has_the_key_that_was_asked_for_is_passed_over() {
    let world = World::new(BANK).await;
    let context = world.context();
    let other = writer(&world, MOVES).await;
    let meanwhile = async {
        until_somebody_waits(&world.pool).await;
        other.commit().await.unwrap();
    };
    let change = ["UPDATE account SET balance = 0 WHERE id IN (1, 2)"];
    let (changed, ()) = tokio::join!(world.run(&context, &change), meanwhile);
    changed.unwrap();
    assert_eq!(world.fake.locks(context.xid()), ["public.account[\"2\"]"]);
    assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
    assert_eq!(world.value("SELECT sum(balance)::text FROM account").await, "'150'");
}
