//! The two statements and nothing else: what a service does that does not care.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use sqlx::SqlStr;

use super::Round;
use super::books::{AMOUNT, Bank, Books};
use super::drive::{Transfer, drive};
use super::speak::{Bind, Speaks};
use crate::report::Line;

pub(super) async fn measure<DB: Speaks>(round: &Round<'_>) -> Result<Line> {
    let books = Books::<DB>::open(round.places().await?).await?;
    let plain = Arc::new(Plain { from: books.from.clone(), to: books.to.clone() });
    let (line, transfers) = drive("plain local transactions", plain, round, None).await?;
    books.close(transfers).await?;
    Ok(line)
}

struct Plain<DB: Speaks> {
    from: Bank<DB>,
    to: Bank<DB>,
}

impl<DB: Speaks> Transfer for Plain<DB> {
    async fn transfer(&self, account: i64) -> Result<()> {
        change(&self.from, account, -AMOUNT).await?;
        change(&self.to, account, AMOUNT).await
    }
}

async fn change<DB: Speaks>(bank: &Bank<DB>, account: i64, amount: i64) -> Result<()> {
    let (_turn, mut local) = bank.begin().await?;
    let values = vec![Bind::Number(amount), Bind::Number(account)];
    DB::run(&mut local, SqlStr::from_static(DB::TEXTS.change), values).await?;
    local.commit().await.context("commit")
}
