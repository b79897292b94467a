//! A database of its own in a shared server.

use pactum_testkit::server::{Database, Kind, database};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{AssertSqlSafe, MySql, MySqlPool};

use super::super::world::{TestDatabase, WorldOn};

pub(super) type World = WorldOn<MySql>;

const CONNECTIONS: u32 = 5;
/// The tables of the application with their columns; the text of each value as the server stores it.
const COLUMNS: &str = "SELECT table_name, column_name, data_type FROM information_schema.columns \
     WHERE table_schema = database() AND table_name NOT LIKE 'pactum\\_%' \
     ORDER BY table_name, ordinal_position";

impl TestDatabase for MySql {
    type Guard = Database;

    async fn open() -> (Database, MySqlPool) {
        let database = database(Kind::Mysql, "at").await.unwrap();
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect(&database.url())
            .await
            .unwrap();
        (database, pool)
    }

    async fn script(pool: &MySqlPool, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }

    /// As hexadecimal digits, by the server: nothing on the way can make two values one.
    async fn dump(world: &World) -> Vec<String> {
        let columns = world.query(COLUMNS).await;
        let mut dump = Vec::new();
        for table in columns.chunk_by(|a, b| a[0] == b[0]) {
            let name = table[0][0].as_text().unwrap();
            let values = table.iter().map(|row| {
                let column = format!("`{}`", row[1].as_text().unwrap().replace('`', "``"));
                let numeric = matches!(row[2].as_text().unwrap(), "enum" | "set" | "bit");
                let float = matches!(row[2].as_text().unwrap(), "float" | "double");
                let text = match (numeric, float) {
                    (true, _) => format!("CAST({column} AS UNSIGNED)"),
                    (_, true) => format!("CONCAT(CAST({column} AS DOUBLE), '')"),
                    (false, false) => format!("HEX({column})"),
                };
                format!("COALESCE({text}, 'NULL')")
            });
            let values = values.collect::<Vec<_>>().join(", ' ', ");
            let rows = world
                .query(&format!("SELECT CONCAT({values}) FROM `{}`", name.replace('`', "``")))
                .await;
            dump.extend(rows.into_iter().map(|row| format!("{name} {}", row[0])));
        }
        dump.sort();
        dump
    }
}

impl World {
    /// Runs a statement on every connection of the pool.
    pub(super) async fn everywhere(&self, statement: &str) {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = self.pool.acquire().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await.unwrap();
            connections.push(connection);
        }
    }

    /// As [`World::undo`], in a session that writes what a strict one refuses.
    pub(super) async fn at_tolerant(&self, statements: &[&str]) {
        let before = self.dump().await;
        let context = self.context();
        let mut transaction = self.at.begin_in(&context).await.unwrap();
        let tolerant = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'";
        sqlx::query(tolerant).execute(transaction.bypass()).await.unwrap();
        for statement in statements {
            let done = sqlx::query(AssertSqlSafe(*statement)).execute(&mut *transaction).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let default = "SET SESSION sql_mode = DEFAULT";
        sqlx::query(default).execute(transaction.bypass()).await.unwrap();
        transaction.commit().await.unwrap();
        assert_ne!(self.dump().await, before, "{statements:?} changed nothing");
        let answers = self.fake.roll_back(context.xid()).await;
        assert_eq!(answers, vec![crate::branch::Answer::Done], "{statements:?}");
        assert_eq!(self.dump().await, before, "{statements:?}");
    }
}
