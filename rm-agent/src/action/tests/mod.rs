//! TCC and saga against the coordinator in memory, on every database; and against the real one.

mod declared;
mod embedded;
mod saga;
mod tcc;
mod together;
mod untrusted;
mod upkeep;
mod world;

/// Runs rules that are written for any database on each of them.
macro_rules! on_every_database {
    ($($rule:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule::<sqlx::Sqlite>().await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule::<sqlx::Postgres>().await;
            })+
        }
        mod on_mysql {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule::<sqlx::MySql>().await;
            })+
        }
    };
}
use on_every_database;
