//! A batch of commits: side by side where the database lets several write; in turns otherwise, and
//! then many in one local transaction, for one fsync.
//!
//! The shared local transaction is for what goes well. If anything in it is not `Done`, all of it is
//! rolled back, and each branch is confirmed by itself: a handler may be called again after anything
//! but `Done`, and its branch is not done before the local commit.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use pactum_core::transaction::Resolution;
use tokio::time::Instant;

use super::handler::Direction;
use super::participant::ActionParticipant;
use super::pool::ActionDatabase;
use crate::branch::{Answer, BranchKey, Work};

/// Confirms of one local transaction.
const SHARED_MAX: usize = 64;
/// How long it may take them before no further one is begun: the application's writers wait.
const SHARED_TIME_MAX: Duration = Duration::from_millis(100);

impl<DB: ActionDatabase> ActionParticipant<DB> {
    /// Answers each piece of work. Whoever drops it loses answers and nothing else: what was confirmed
    /// says so when it is asked again.
    pub(super) async fn commit_all(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        if DB::WRITERS == 1 {
            return self.in_turns(&batch).await;
        }
        let at_once = usize::try_from(self.options.handlers_at_once).unwrap_or(1);
        let one = |work: Work| async move {
            let answer = self.one(&work).await;
            (work.key, answer)
        };
        stream::iter(batch.into_iter().map(one))
            .buffer_unordered(at_once.min(DB::WRITERS))
            .collect()
            .await
    }

    async fn in_turns(&self, batch: &[Work]) -> Vec<(BranchKey, Answer)> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while !rest.is_empty() {
            let done = if rest.len() == 1 { 0 } else { self.together(rest).await };
            answers.extend(rest[..done].iter().map(|work| (work.key.clone(), Answer::Done)));
            rest = &rest[done..];
            // What did not go with the others goes by itself, and the next ones may go together again.
            if done == 0 {
                let alone;
                (alone, rest) = rest.split_at(rest.len().min(SHARED_MAX));
                for work in alone {
                    answers.push((work.key.clone(), self.one(work).await));
                }
            }
        }
        answers
    }

    /// Confirms the first ones in one local transaction, and returns how many; none of them if not all
    /// went well.
    async fn together(&self, batch: &[Work]) -> usize {
        let Ok(mut local) = self.begin().await else { return 0 };
        let until = Instant::now() + SHARED_TIME_MAX;
        let mut done = 0;
        for work in batch.iter().take(SHARED_MAX) {
            let handler = self.registry.find(work.action_name());
            let Some(handler) = handler.filter(|_| work.resolution != Some(Resolution::Keep))
            else {
                return 0;
            };
            let confirmed = self.in_local(work, Direction::Confirm, &*handler, &mut local).await;
            if !matches!(confirmed, Ok(Some(Answer::Done))) {
                local.rollback().await;
                return 0;
            }
            done += 1;
            if Instant::now() >= until {
                break;
            }
        }
        if local.commit().await.is_ok() { done } else { 0 }
    }
}
