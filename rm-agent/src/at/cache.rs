//! Plans by the text of their statement, ready to run.
//!
//! A plan is good for one state of the schema. That it still is, is checked by the database itself
//! in the statement that writes the barrier row, so a look into this cache costs no round trip; who
//! finds it stale empties it.
//!
//! To plan is to read the catalogs, which takes a database a hundred times as long as the statement
//! does. So whoever asks for what somebody is planning waits for that, or all would plan the same, each
//! in the other's way, whenever the cache is empty.
//!
//! Easy to get wrong: that wait. Whoever plans may wait in the database for a lock that one who waits
//! here holds, which the database cannot see. So the wait is short, and then one plans for oneself.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::engine::{CompiledChange, CompiledRead};
use super::plan::ChangeKind;
use super::table::Table;

/// Statements kept. Applications have some hundreds; more means that they build texts with values in
/// them, and then the cache begins anew.
const STATEMENTS_MAX: usize = 4096;
/// How many statements are planned at a time, roughly: a statement shares its turn with a few.
const TURNS: usize = 32;
/// How long to wait for somebody else's plan. 500 ms: several times what a large schema needs, and
/// short beside any lock wait.
const PLAN_WAIT_MAX: Duration = Duration::from_millis(500);

/// A statement that was planned.
#[derive(Clone, Debug)]
pub(super) enum Ready {
    Read,
    LockingRead(Arc<ReadyRead>),
    Change(Arc<ReadyChange>),
}

#[derive(Debug)]
pub(super) struct ReadyRead {
    pub(super) table: Arc<Table>,
    pub(super) compiled: CompiledRead,
}

#[derive(Debug)]
pub(super) struct ReadyChange {
    pub(super) table: Arc<Table>,
    pub(super) kind: ChangeKind,
    /// Whether the user asked for rows.
    pub(super) returning: bool,
    pub(super) compiled: CompiledChange,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    plans: DashMap<String, Ready>,
    turns: [Mutex<()>; TURNS],
    hasher: RandomState,
}

impl Cache {
    pub(super) fn find(&self, sql: &str) -> Option<Ready> {
        self.plans.get(sql).map(|ready| ready.clone())
    }

    /// What is kept, or what `plan` comes to: it is polled only if nobody else has planned it.
    ///
    /// Dropped, it leaves the planning to whoever waits next.
    pub(super) async fn find_or<E>(
        &self,
        sql: &str,
        plan: impl Future<Output = Result<Ready, E>>,
    ) -> Result<Ready, E> {
        if let Some(ready) = self.find(sql) {
            return Ok(ready);
        }
        let _turn = timeout(PLAN_WAIT_MAX, self.turn(sql).lock()).await.ok();
        if let Some(ready) = self.find(sql) {
            return Ok(ready);
        }
        let ready = plan.await?;
        self.insert(sql, ready.clone());
        Ok(ready)
    }

    fn turn(&self, sql: &str) -> &Mutex<()> {
        let hash = usize::try_from(self.hasher.hash_one(sql) % TURNS as u64);
        &self.turns[hash.unwrap_or_default()]
    }

    pub(super) fn insert(&self, sql: &str, ready: Ready) {
        if self.plans.len() >= STATEMENTS_MAX {
            self.plans.clear();
        }
        self.plans.insert(sql.to_owned(), ready);
    }

    pub(super) fn clear(&self) {
        self.plans.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_all_ask_for_at_once_is_planned_once() {
        let (cache, planned) = (Cache::default(), AtomicU32::new(0));
        let ask = |sql: &'static str| {
            let plan = async {
                planned.fetch_add(1, Relaxed);
                yield_now().await;
                Ok::<_, ()>(Ready::Read)
            };
            cache.find_or(sql, plan)
        };
        let answers = join_all((0..16).map(|_| ask("SELECT 1"))).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(planned.load(Relaxed), 1);
        cache.clear();
        ask("SELECT 1").await.unwrap();
        assert_eq!(planned.load(Relaxed), 2);
    }

    /// Goal: nobody is held up by one whose plan does not come: it may wait for us. Method: a plan
    /// that never comes, one that fails, and one whose caller is gone.
    #[tokio::test(start_paused = true)]
    async fn a_plan_that_does_not_come_is_not_waited_for() {
        let cache = Cache::default();
        let ready = async || Ok::<_, u8>(Ready::Read);
        let mut stuck = Box::pin(cache.find_or("SELECT 1", pending::<Result<Ready, u8>>()));
        assert!((&mut stuck).now_or_never().is_none());
        assert!(cache.find_or("SELECT 1", ready()).await.is_ok());
        cache.clear();
        assert!(cache.find_or("SELECT 1", ready()).await.is_ok());
        drop(stuck);
        cache.clear();
        assert_eq!(cache.find_or("SELECT 1", async { Err(7) }).await.unwrap_err(), 7);
        assert!(cache.find_or("SELECT 1", ready()).now_or_never().unwrap().is_ok());
    }
}
