//! The pre-flight.

use super::world::World;
use crate::at::{Verdict, check_sql};

#[tokio::test]
async fn a_script_is_checked_statement_by_statement_and_not_run() {
    let world =
        World::new("CREATE TABLE t (id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 2)");
    let world = world.await;
    let before = world.dump().await;
    let script = "SELECT x FROM t;\n\
                  UPDATE t SET x = ? WHERE id = ?;\n\
                  SELECT x FROM t FOR UPDATE;\n\
                  DROP TABLE t;\n\
                  UPDATE t SET y = 1;\n\
                  UPDATE t SET x = 1 WHERE y = 1;\n\
                  DELETE FROM gone;";
    let checked = check_sql(&world.pool, script).await.unwrap();
    let shown: Vec<String> = checked
        .iter()
        .map(|statement| match &statement.verdict {
            Verdict::Read => format!("{} read", statement.line),
            Verdict::LockingRead { table } => format!("{} locks {table}", statement.line),
            Verdict::Undoable { table } => format!("{} undoes {table}", statement.line),
            Verdict::Refused(refused) => {
                format!("{} refused {}", statement.line, refused.statement)
            }
            Verdict::Invalid(why) => format!("{} invalid {why}", statement.line),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1 read",
            "2 undoes t",
            "3 locks t",
            "4 refused DDL",
            "5 refused UPDATE of `t`",
            "6 invalid no such column: y",
            "7 refused statement on `gone`",
        ]
    );
    assert_eq!(world.dump().await, before);
}
