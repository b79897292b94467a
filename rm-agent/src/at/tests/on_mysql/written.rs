//! Values that are stored otherwise than they are written: a row that is not found by what was written
//! must never be made up for by another one.

use super::world::World;
use crate::at::AtError;
use crate::branch::Answer;

const TWO_KEYS: &str = "CREATE TABLE t (id BIGINT PRIMARY KEY, u VARCHAR(9) UNIQUE, x INT); \
     INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0), (9007199254740992, 'c', 0)";

#[tokio::test]
async fn a_row_that_is_not_found_by_what_was_written_is_not_made_up_for_by_another() {
    let world = World::new(TWO_KEYS).await;
    let before = world.dump().await;
    for statement in [
        // 1 finds two rows, and 99.6, which is stored as 100, none.
        "INSERT INTO t VALUES (1, 'b', 5), (99.6, NULL, 5) ON DUPLICATE KEY UPDATE x = VALUES(x)",
        // As texts, the large number finds its neighbour too.
        "INSERT INTO t VALUES ('9007199254740993', NULL, 5), ('99.6', NULL, 5)",
        "REPLACE INTO t VALUES ('9007199254740993', NULL, 5), ('99.6', NULL, 5)",
        "INSERT INTO t VALUES ('40.5', NULL, 5)",
    ] {
        let context = world.context();
        let error = world.run(&context, &[statement]).await.expect_err(statement);
        assert!(matches!(error, AtError::OnlyRollback { .. }), "{statement}: {error}");
        assert_eq!(world.dump().await, before, "{statement}");
        assert!(world.fake.registrations(context.xid()).is_empty());
    }
    for statement in [
        "INSERT INTO t VALUES (1, 'a', 5), (100, NULL, 5) ON DUPLICATE KEY UPDATE x = VALUES(x)",
        "INSERT INTO t VALUES (1, 'q', 5), (7, 'b', 6) ON DUPLICATE KEY UPDATE u = VALUES(u), x = 9",
        "REPLACE INTO t VALUES (1, 'b', 5), (100, NULL, 5)",
    ] {
        world.undo(&[statement]).await;
    }
    // What IGNORE skips may have two rows in its way.
    let context = world.context();
    world.run(&context, &["INSERT IGNORE INTO t VALUES (1, 'b', 5), (8, 'h', 1)"]).await.unwrap();
    assert_eq!(world.fake.locks(context.xid()), ["t.u[\"0048\"]", "t[8]"]);
    assert_eq!(world.fake.roll_back(context.xid()).await, [Answer::Done]);
    assert_eq!(world.dump().await, before);
}
