//! AT on a real MariaDB.

mod arguments;
mod chosen;
mod commit;
mod fallback;
mod locks;
mod queries;
mod refusals;
mod statements;
mod types;
mod unstable;
mod world;
mod written;

#[tokio::test]
async fn blocked_rollbacks_hold_up_nobody_else() {
    super::side_by_side::blocked_rollbacks_hold_up_nobody_else::<sqlx::MySql>().await;
}

#[tokio::test]
async fn leftovers_are_found_and_swept() {
    super::side_by_side::leftovers_are_found_and_swept::<sqlx::MySql>().await;
}

/// The rows of an UPDATE with an order of its own, and of an upsert, are read apart from the statement.
#[tokio::test]
async fn unique_values_that_wander_over_the_rows_wander_back() {
    super::unique::unique_values_wander_back::<sqlx::MySql>(&[
        &["INSERT INTO t VALUES (9, 50, 0), (4, 1, 0) ON DUPLICATE KEY UPDATE u = VALUES(u)"],
        &["INSERT INTO t VALUES (9, 50, 0), (8, 1, 0) ON DUPLICATE KEY UPDATE u = VALUES(u)"],
        &["UPDATE t SET u = u + 1 ORDER BY u DESC"],
        &["UPDATE t SET u = u - 1 ORDER BY u"],
        &["UPDATE t SET u = u - 1 WHERE u > 0 ORDER BY u LIMIT 2"],
        &["REPLACE INTO t VALUES (7, 1, 0), (9, 3, 0)"],
    ])
    .await;
}

/// The image is read from the index that holds all columns, in its order; the change goes by the key.
#[tokio::test]
async fn rows_that_were_read_in_another_order_than_they_changed_are_undone() {
    let world = world::World::new(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE); \
         INSERT INTO t VALUES (7, 3), (8, 2), (9, 1)",
    )
    .await;
    world.undo(&["UPDATE t SET u = u + 1"]).await;
    world.undo(&["UPDATE t SET u = u + 1", "UPDATE t SET u = u + 2 ORDER BY u DESC"]).await;
}

#[tokio::test]
async fn a_deadlock_is_run_again() {
    super::setbacks::a_deadlock_is_run_again::<sqlx::MySql>().await;
}

#[tokio::test]
async fn writers_in_each_others_way_stay_exact() {
    super::contention::writers_in_each_others_way_stay_exact::<sqlx::MySql>(
        "INSERT INTO t VALUES ($id, $u, 7) ON DUPLICATE KEY UPDATE u = VALUES(u)",
    )
    .await;
}

#[tokio::test]
async fn a_change_may_be_dropped_at_any_await() {
    super::cut_short::a_change_may_be_dropped_at_any_await::<sqlx::MySql>(&[
        "UPDATE t SET x = x + 1, u = u + 10 WHERE id <> 2",
        "INSERT INTO t VALUES (1, 50, 3), (9, 9, 9) ON DUPLICATE KEY UPDATE x = x + 1",
    ])
    .await;
}

#[tokio::test]
async fn a_commit_may_be_dropped_at_any_await() {
    super::cut_short::a_commit_may_be_dropped_at_any_await::<sqlx::MySql>().await;
}

#[tokio::test]
async fn a_read_may_be_dropped_at_any_await() {
    super::cut_short::a_read_may_be_dropped_at_any_await::<sqlx::MySql>().await;
}

#[tokio::test]
async fn a_transaction_that_somebody_left_open_is_not_joined() {
    super::left_open::a_transaction_that_somebody_left_open_is_not_joined::<sqlx::MySql>().await;
}
