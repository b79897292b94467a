//! AT on a real MariaDB.

mod commit;
mod locks;
mod queries;
mod refusals;
mod statements;
mod types;
mod world;

#[tokio::test]
async fn blocked_rollbacks_hold_up_nobody_else() {
    super::side_by_side::blocked_rollbacks_hold_up_nobody_else::<sqlx::MySql>().await;
}

#[tokio::test]
async fn leftovers_are_found_and_swept() {
    super::side_by_side::leftovers_are_found_and_swept::<sqlx::MySql>().await;
}
