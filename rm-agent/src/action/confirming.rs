//! A batch of commits: side by side where the database lets several write, in turns otherwise.

use futures_util::StreamExt as _;
use futures_util::stream;

use super::participant::ActionParticipant;
use super::pool::ActionDatabase;
use crate::branch::{Answer, BranchKey, Work};

impl<DB: ActionDatabase> ActionParticipant<DB> {
    /// Answers each piece of work. Whoever drops it loses answers and nothing else: what was confirmed
    /// says so when it is asked again.
    pub(super) async fn commit_all(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
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
}
