//! TCC by hand: the barrier row and the reservation; then the row's mark and the booking.
//!
//! ```text
//! phase one   log: registration ┬ BEGIN ─ barrier row ─┬─ reserve ─ COMMIT     (in turn on SQLite)
//!                               └──────────────────────┘
//! phase two   BEGIN ─ mark the row, and have its body ─ book ─ COMMIT
//! ```

use anyhow::{Context as _, Result, ensure};
use sqlx::SqlStr;

use super::by_hand::{ByHand, NOW, Party, Work};
use super::speak::{Joins, Take, book_reserved, reserve, run};
use crate::at::speak::Bind;

const MODE: &str = "tcc";

/// TCC's floor.
pub(super) struct Tcc;

impl<DB: Joins> ByHand<DB> for Tcc {
    const MODE: &'static str = MODE;
    const HAS_PHASE_TWO: bool = true;

    async fn phase_one(party: &Party<DB>, work: Work) -> Result<()> {
        let (_turn, mut local) = party.opened(MODE, work).await?;
        reserve::<DB>(&mut local, work.account, work.amount).await?;
        local.commit().await.context("commit")
    }

    async fn phase_two(party: &Party<DB>, work: Work) -> Result<()> {
        let key = || [Bind::Text(work.branch.xid()), Bind::Number(work.branch.id())];
        let dated = || [Bind::Number(NOW)].into_iter().chain(key()).collect();
        let (_turn, mut local) = party.bank.begin().await?;
        let taken = match DB::MORE.take {
            Take::Returning(take) => {
                run::<DB>(&mut local, SqlStr::from_static(take), dated()).await?
            }
            Take::LockedAndMarked { lock, .. } => {
                run::<DB>(&mut local, SqlStr::from_static(lock), key().into()).await?
            }
        };
        ensure!(taken.len() == 1, "the barrier row is open");
        book_reserved::<DB>(&mut local, work.account, work.amount).await?;
        if let Take::LockedAndMarked { mark, .. } = DB::MORE.take {
            run::<DB>(&mut local, SqlStr::from_static(mark), dated()).await?;
        }
        local.commit().await.context("commit")
    }
}
