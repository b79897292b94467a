//! The agent's tables, in each participant's database.

/// The tables on SQLite, as one idempotent script.
pub const SQLITE: &str = include_str!("../agent/sqlite/0001_barrier.sql");
/// The same on PostgreSQL.
pub const POSTGRES: &str = include_str!("../agent/postgres/0001_barrier.sql");
/// The same on MySQL and MariaDB.
pub const MYSQL: &str = include_str!("../agent/mysql/0001_barrier.sql");

/// The version of these tables, as `pactum_resource` records it.
pub const SCHEMA_VERSION: i64 = 1;
