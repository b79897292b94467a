//! How a restore reads: few statements, and no row taken for another.

use async_trait::async_trait;
use pactum_core::id::BranchId;
use pactum_proto::v1::ParkReason;

use super::resolve::dirty;
use super::rollback::parked;
use super::world::World;
use crate::at::engine::Engine;
use crate::at::keys::Fold;
use crate::at::restore::{Dialect, DirtyRows, Spoken, Stopped, restore};
use crate::at::table::{Child, Table};
use crate::at::undo::{self, UndoLog};
use crate::branch::Answer;
use crate::db::{DbError, Kind, LocalTransaction, Row, Sql, Value};

fn dialect() -> &'static dyn Dialect {
    <sqlx::Sqlite as Engine>::dialect()
}

pub(super) async fn undo_log(world: &World, branch: BranchId) -> UndoLog {
    let sql = format!("SELECT format, body FROM pactum_barrier WHERE branch_id = {branch}");
    let rows = world.query(&sql).await;
    let (format, body) = (rows[0][0].as_integer().unwrap(), rows[0][1].as_text().unwrap());
    undo::decode(format, body, 4 << 20).unwrap()
}

/// Counts what is read.
struct Counting {
    inner: Box<dyn LocalTransaction>,
    queries: usize,
}

#[async_trait::async_trait]
impl Sql for Counting {
    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        self.inner.execute(sql, values).await
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        self.queries += usize::from(sql.contains("FROM main.`t`"));
        self.inner.query(sql, values).await
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        self.query(text, &[]).await
    }
}

#[tokio::test]
async fn rows_are_read_by_the_hundreds() {
    let many = "CREATE TABLE t (id INTEGER PRIMARY KEY, x); WITH RECURSIVE n(i) AS (SELECT 1 UNION \
                ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i, 0 FROM n";
    let (world, _, branch, before) = dirty(many, &["UPDATE t SET x = id"], "").await;
    assert_eq!(world.value("SELECT format FROM pactum_barrier").await, "2", "it is packed");
    let log = undo_log(&world, branch).await;
    let inner = world.at.0.own.begin().await.unwrap();
    let mut counting = Counting { inner, queries: 0 };
    restore(&mut counting, dialect(), &log, DirtyRows::Park).await.unwrap();
    counting.inner.commit().await.unwrap();
    assert_eq!(counting.queries, 10, "five before and five after");
    assert_eq!(world.dump().await, before);
}

/// Compares keys byte for byte, whatever the database does.
struct Literal(&'static dyn Dialect);

#[async_trait]
impl Dialect for Literal {
    async fn load(&self, sql: &mut dyn Sql, name: &str) -> Result<Option<Table>, DbError> {
        let mut table = self.0.load(sql, name).await?;
        for key in table.iter_mut().flat_map(|table| &mut table.key) {
            key.fold = Fold::Binary;
        }
        Ok(table)
    }

    async fn begin_restore(&self, sql: &mut dyn Sql) -> Result<(), DbError> {
        self.0.begin_restore(sql).await
    }

    fn select(&self, table: &Table, key: &[usize], rows: &[&Row]) -> Spoken {
        self.0.select(table, key, rows)
    }

    fn insert(&self, table: &Table, row: &Row) -> Spoken {
        self.0.insert(table, row)
    }

    fn update(&self, table: &Table, from: &Row, to: &Row) -> Option<Spoken> {
        self.0.update(table, from, to)
    }

    fn delete(&self, table: &Table, row: &Row) -> Spoken {
        self.0.delete(table, row)
    }

    fn referring(&self, table: &Table, child: &Child, row: &Row) -> Spoken {
        self.0.referring(table, child, row)
    }
}

/// Goal: a row that the database finds under a key is found, also if we would not hold the keys equal;
/// taken for missing, it would be written over. Method: a key without case, compared with case.
#[tokio::test]
async fn a_row_that_only_the_database_holds_equal_is_not_taken_for_missing() {
    let schema = "CREATE TABLE p (name TEXT COLLATE NOCASE PRIMARY KEY, x); \
                  INSERT INTO p VALUES ('ann', 1), ('bob', 2), ('cy', 3)";
    let behind = "INSERT INTO p VALUES ('ANN', 5)";
    let (world, _, branch, _) = dirty(schema, &["DELETE FROM p"], behind).await;
    let log = undo_log(&world, branch).await;
    let mut local = world.at.0.own.begin().await.unwrap();
    let stopped = restore(&mut *local, &Literal(dialect()), &log, DirtyRows::Park).await;
    let Err(Stopped::Parked(report)) = stopped else { panic!("{stopped:?}") };
    let report = parked(Answer::Parked(*report), ParkReason::DirtyWrite);
    assert_eq!(report.rows.len(), 1);
    assert_eq!(report.rows[0].columns[0].current.as_deref(), Some("'ANN'"));
}
