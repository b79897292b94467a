//! What a bank says to PostgreSQL: what anybody would.

use futures_util::future::BoxFuture;
use pactum_agent::{AtPool, AtTransaction};
use sqlx::Postgres;

use super::{Accounts, Leg};

impl Accounts for Postgres {
    fn book<'t>(
        tx: &'t mut AtTransaction<Postgres>,
        transfer: &'t str,
        leg: &'t Leg,
    ) -> BoxFuture<'t, Result<Option<i64>, sqlx::Error>> {
        Box::pin(async move {
            let balance: Option<i64> = sqlx::query_scalar(
                "UPDATE account SET balance = balance + $1
                  WHERE id = $2 AND balance + $1 >= 0 RETURNING balance",
            )
            .bind(leg.amount)
            .bind(leg.account)
            .fetch_optional(&mut **tx)
            .await?;
            if balance.is_some() {
                sqlx::query("INSERT INTO ledger (transfer, account, amount) VALUES ($1, $2, $3)")
                    .bind(transfer)
                    .bind(leg.account)
                    .bind(leg.amount)
                    .execute(&mut **tx)
                    .await?;
            }
            Ok(balance)
        })
    }

    fn balances(pool: &AtPool<Postgres>) -> BoxFuture<'_, Result<Vec<(i64, i64)>, sqlx::Error>> {
        Box::pin(sqlx::query_as("SELECT id, balance FROM account ORDER BY id").fetch_all(pool))
    }
}
