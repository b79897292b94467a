//! Questions to participants that nothing depends on, and who waits for their answers.
//!
//! Like unary calls, but answered by a session and not by the group. A question has a number where
//! work has its branch, from the upper half, where no branch ever is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pactum_core::id::SessionId;
use pactum_proto::convert::Said;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

/// Where the numbers of questions begin; ids of branches fit 63 bits.
const FIRST: u64 = 1 << 63;

/// The questions that wait.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    last: AtomicU64,
    waiting: Mutex<FxHashMap<u64, (SessionId, oneshot::Sender<Said>)>>,
}

impl Questions {
    /// A new question to this session. Dropped unanswered, it is taken off the list.
    pub(crate) fn open(&self, to: SessionId) -> Question<'_> {
        let number = FIRST | self.last.fetch_add(1, Relaxed);
        let (sender, said) = oneshot::channel();
        self.lock().insert(number, (to, sender));
        Question { questions: self, number, said }
    }

    /// An answer. Only the session that was asked is heard, once.
    pub(crate) fn answer(&self, number: u64, by: SessionId, said: Said) {
        let mut waiting = self.lock();
        if waiting.get(&number).is_some_and(|(to, _)| *to == by)
            && let Some((_, asker)) = waiting.remove(&number)
        {
            // Who asked may have gone.
            drop(asker.send(said));
        }
    }

    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, FxHashMap<u64, (SessionId, oneshot::Sender<Said>)>> {
        self.waiting.lock().expect("nothing panics while it holds this lock")
    }
}

/// A question that waits.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    questions: &'a Questions,
    number: u64,
    said: oneshot::Receiver<Said>,
}

impl Question<'_> {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The answer.
    pub(crate) async fn said(&mut self) -> Said {
        let gone = |_| Said::Nothing("the coordinator stops".to_owned());
        (&mut self.said).await.unwrap_or_else(gone)
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.number);
    }
}
