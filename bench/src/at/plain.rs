//! The two statements and nothing else: what a service does that does not care.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::Options;
use super::books::{AMOUNT, Bank, Books, CHANGE};
use super::drive::{Transfer, drive};
use crate::report::Line;

pub(super) async fn measure(options: &Options, workers: usize) -> Result<Line> {
    let books = Books::open(options).await?;
    let plain = Arc::new(Plain { from: books.from.clone(), to: books.to.clone() });
    let name = "plain local transactions".to_owned();
    let (line, transfers) = drive(name, plain, workers, options.duration(), None).await?;
    books.close(transfers).await?;
    Ok(line)
}

struct Plain {
    from: Bank,
    to: Bank,
}

impl Transfer for Plain {
    async fn transfer(&self, account: i64) -> Result<()> {
        change(&self.from, account, -AMOUNT).await?;
        change(&self.to, account, AMOUNT).await
    }
}

async fn change(bank: &Bank, account: i64, amount: i64) -> Result<()> {
    let _turn = bank.writer.acquire().await.context("queue for the file")?;
    let mut local = bank.pool.begin_with("BEGIN IMMEDIATE").await.context("begin")?;
    let changed = sqlx::query(CHANGE).bind(amount).bind(account).execute(&mut *local).await;
    changed.context("change the balance")?;
    local.commit().await.context("commit")
}
