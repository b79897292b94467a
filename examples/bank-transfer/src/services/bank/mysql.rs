//! What a bank says to MySQL and MariaDB: what anybody would. No UPDATE returns rows there.

use futures_util::future::BoxFuture;
use pactum_agent::{AtPool, AtTransaction};
use sqlx::MySql;

use super::{Accounts, Leg};

impl Accounts for MySql {
    fn book<'t>(
        tx: &'t mut AtTransaction<MySql>,
        transfer: &'t str,
        leg: &'t Leg,
    ) -> BoxFuture<'t, Result<Option<i64>, sqlx::Error>> {
        Box::pin(async move {
            let changed = sqlx::query(
                "UPDATE account SET balance = balance + ? WHERE id = ? AND balance + ? >= 0",
            )
            .bind(leg.amount)
            .bind(leg.account)
            .bind(leg.amount)
            .execute(&mut **tx)
            .await?;
            if changed.rows_affected() == 0 {
                return Ok(None);
            }
            sqlx::query("INSERT INTO ledger (transfer, account, amount) VALUES (?, ?, ?)")
                .bind(transfer)
                .bind(leg.account)
                .bind(leg.amount)
                .execute(&mut **tx)
                .await?;
            let balance = sqlx::query_scalar("SELECT balance FROM account WHERE id = ?");
            balance.bind(leg.account).fetch_optional(&mut **tx).await
        })
    }

    fn balances(pool: &AtPool<MySql>) -> BoxFuture<'_, Result<Vec<(i64, i64)>, sqlx::Error>> {
        Box::pin(sqlx::query_as("SELECT id, balance FROM account ORDER BY id").fetch_all(pool))
    }
}
