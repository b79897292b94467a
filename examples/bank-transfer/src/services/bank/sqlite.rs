//! What a bank says to SQLite: what anybody would.

use futures_util::future::BoxFuture;
use pactum_agent::{AtPool, AtTransaction};
use sqlx::Sqlite;

use super::{Accounts, Leg};

impl Accounts for Sqlite {
    fn book<'t>(
        tx: &'t mut AtTransaction<Sqlite>,
        transfer: &'t str,
        leg: &'t Leg,
    ) -> BoxFuture<'t, Result<Option<i64>, sqlx::Error>> {
        Box::pin(async move {
            let balance: Option<i64> = sqlx::query_scalar(
                "UPDATE account SET balance = balance + ?1
                  WHERE id = ?2 AND balance + ?1 >= 0 RETURNING balance",
            )
            .bind(leg.amount)
            .bind(leg.account)
            .fetch_optional(&mut **tx)
            .await?;
            if balance.is_some() {
                sqlx::query("INSERT INTO ledger (transfer, account, amount) VALUES (?, ?, ?)")
                    .bind(transfer)
                    .bind(leg.account)
                    .bind(leg.amount)
                    .execute(&mut **tx)
                    .await?;
            }
            Ok(balance)
        })
    }

    fn balances(pool: &AtPool<Sqlite>) -> BoxFuture<'_, Result<Vec<(i64, i64)>, sqlx::Error>> {
        Box::pin(sqlx::query_as("SELECT id, balance FROM account ORDER BY id").fetch_all(pool))
    }
}
