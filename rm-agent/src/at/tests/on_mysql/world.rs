//! A database of its own in a shared server.

use pactum_testkit::server::{Database, Kind, database};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{AssertSqlSafe, MySql, MySqlPool};

use super::super::world::{TestDatabase, WorldOn};

pub(super) type World = WorldOn<MySql>;

/// The tables of the application with their columns; the text of each value as the server stores it.
const COLUMNS: &str = "SELECT table_name, column_name, data_type FROM information_schema.columns \
     WHERE table_schema = database() AND table_name NOT LIKE 'pactum\\_%' \
     ORDER BY table_name, ordinal_position";

impl TestDatabase for MySql {
    type Guard = Database;

    async fn open() -> (Database, MySqlPool) {
        let database = database(Kind::Mysql, "at").await.unwrap();
        let pool =
            MySqlPoolOptions::new().max_connections(5).connect(&database.url()).await.unwrap();
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
