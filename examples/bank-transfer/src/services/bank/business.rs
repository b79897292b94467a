//! A bank's business: what is done to its accounts and its ledger, in ordinary SQL.
//!
//! It knows nothing of global transactions. A mode says which of this is done when; all of it runs
//! on the connection that the mode hands out, which is the database's own or the agent's around it.
//!
//! What is reserved still belongs to the account, and nobody else can have it: an account holds
//! `balance`, of which `balance - reserved` is there to be taken.

use futures_util::future::BoxFuture;
use pactum_agent::{AtConnection, AtDatabase, XaConnection};
use sqlx::{MySql, MySqlConnection, PgConnection, Postgres, Sqlite, SqliteConnection};

use crate::services::order::{Holding, Leg};

/// What can be done on a connection, inside a local transaction.
pub(super) trait Business: Send + Sync {
    /// Books a leg: account and ledger. False if the account is short, or there is none.
    fn book<'c>(&'c mut self, transfer: &'c str, leg: &'c Leg) -> Done<'c, bool>;

    /// Books a leg back, whatever the account holds by now.
    fn book_back<'c>(&'c mut self, transfer: &'c str, leg: &'c Leg) -> Done<'c, ()>;

    /// Reserves what a leg will take. False if the account is short, or there is none.
    fn reserve<'c>(&'c mut self, leg: &'c Leg) -> Done<'c, bool>;

    /// Books a leg whose money is reserved.
    fn book_reserved<'c>(&'c mut self, transfer: &'c str, leg: &'c Leg) -> Done<'c, ()>;

    /// Frees what was reserved for a leg.
    fn free<'c>(&'c mut self, leg: &'c Leg) -> Done<'c, ()>;

    /// What an account holds, as this connection sees it.
    fn holding(&mut self, account: i64) -> Done<'_, Holding>;
}

type Done<'c, T> = BoxFuture<'c, Result<T, sqlx::Error>>;

/// A database that banks can be in.
pub(super) trait BankDatabase: AtDatabase<Connection: Business> {}

impl<DB: AtDatabase<Connection: Business>> BankDatabase for DB {}

/// The statements. Two databases have `$1` for what MySQL has `?` for.
struct Sql {
    book: &'static str,
    enter: &'static str,
    book_back: &'static str,
    strike: &'static str,
    reserve: &'static str,
    book_reserved: &'static str,
    free: &'static str,
    holding: &'static str,
}

const WITH_NUMBERS: Sql = Sql {
    book: "UPDATE account SET balance = balance + $1 WHERE id = $2 AND balance + $3 >= reserved",
    enter: "INSERT INTO ledger (transfer, account, amount) VALUES ($1, $2, $3)",
    book_back: "UPDATE account SET balance = balance - $1 WHERE id = $2",
    strike: "DELETE FROM ledger WHERE transfer = $1 AND account = $2",
    reserve: "UPDATE account SET reserved = reserved + $1 WHERE id = $2 AND balance - reserved >= $3",
    book_reserved: "UPDATE account SET balance = balance + $1, reserved = reserved - $2 WHERE id = $3",
    free: "UPDATE account SET reserved = reserved - $1 WHERE id = $2",
    holding: "SELECT balance, reserved FROM account WHERE id = $1",
};

const WITH_MARKS: Sql = Sql {
    book: "UPDATE account SET balance = balance + ? WHERE id = ? AND balance + ? >= reserved",
    enter: "INSERT INTO ledger (transfer, account, amount) VALUES (?, ?, ?)",
    book_back: "UPDATE account SET balance = balance - ? WHERE id = ?",
    strike: "DELETE FROM ledger WHERE transfer = ? AND account = ?",
    reserve: "UPDATE account SET reserved = reserved + ? WHERE id = ? AND balance - reserved >= ?",
    book_reserved: "UPDATE account SET balance = balance + ?, reserved = reserved - ? WHERE id = ?",
    free: "UPDATE account SET reserved = reserved - ? WHERE id = ?",
    holding: "SELECT balance, reserved FROM account WHERE id = ?",
};

/// sqlx's connections share no trait that would let this be written without a macro.
macro_rules! business {
    ($connection:ty, $sql:expr) => {
        impl Business for $connection {
            fn book<'c>(&'c mut self, transfer: &'c str, leg: &'c Leg) -> Done<'c, bool> {
                Box::pin(async move {
                    let (account, amount) = (leg.account, leg.amount);
                    let book = sqlx::query($sql.book).bind(amount).bind(account).bind(amount);
                    if book.execute(&mut *self).await?.rows_affected() == 0 {
                        return Ok(false);
                    }
                    let enter = sqlx::query($sql.enter).bind(transfer).bind(account).bind(amount);
                    enter.execute(&mut *self).await?;
                    Ok(true)
                })
            }

            fn book_back<'c>(&'c mut self, transfer: &'c str, leg: &'c Leg) -> Done<'c, ()> {
                Box::pin(async move {
                    let back = sqlx::query($sql.book_back).bind(leg.amount).bind(leg.account);
                    back.execute(&mut *self).await?;
                    let strike = sqlx::query($sql.strike).bind(transfer).bind(leg.account);
                    strike.execute(&mut *self).await.map(drop)
                })
            }

            fn reserve<'c>(&'c mut self, leg: &'c Leg) -> Done<'c, bool> {
                Box::pin(async move {
                    if !leg.is_debit() {
                        // Nothing is taken; but there has to be somewhere to put it.
                        let there = sqlx::query($sql.holding).bind(leg.account);
                        return Ok(there.fetch_optional(&mut *self).await?.is_some());
                    }
                    let (account, taken) = (leg.account, leg.taken());
                    let reserve = sqlx::query($sql.reserve).bind(taken).bind(account).bind(taken);
                    Ok(reserve.execute(&mut *self).await?.rows_affected() > 0)
                })
            }

            fn book_reserved<'c>(&'c mut self, transfer: &'c str, leg: &'c Leg) -> Done<'c, ()> {
                Box::pin(async move {
                    let (account, amount) = (leg.account, leg.amount);
                    let book = sqlx::query($sql.book_reserved).bind(amount).bind(leg.taken());
                    book.bind(account).execute(&mut *self).await?;
                    let enter = sqlx::query($sql.enter).bind(transfer).bind(account).bind(amount);
                    enter.execute(&mut *self).await.map(drop)
                })
            }

            fn free<'c>(&'c mut self, leg: &'c Leg) -> Done<'c, ()> {
                Box::pin(async move {
                    if !leg.is_debit() {
                        return Ok(());
                    }
                    let free = sqlx::query($sql.free).bind(leg.taken()).bind(leg.account);
                    free.execute(&mut *self).await.map(drop)
                })
            }

            fn holding(&mut self, account: i64) -> Done<'_, Holding> {
                Box::pin(async move {
                    let holding = sqlx::query_as($sql.holding).bind(account);
                    let (balance, reserved) = holding.fetch_one(&mut *self).await?;
                    Ok(Holding { balance, reserved })
                })
            }
        }
    };
}

business!(SqliteConnection, WITH_NUMBERS);
business!(AtConnection<Sqlite>, WITH_NUMBERS);
business!(XaConnection<Sqlite>, WITH_NUMBERS);
business!(PgConnection, WITH_NUMBERS);
business!(AtConnection<Postgres>, WITH_NUMBERS);
business!(XaConnection<Postgres>, WITH_NUMBERS);
business!(MySqlConnection, WITH_MARKS);
business!(AtConnection<MySql>, WITH_MARKS);
business!(XaConnection<MySql>, WITH_MARKS);
