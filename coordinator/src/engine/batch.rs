//! What was decided together, is written together and leaves together.

use std::fmt;
use std::time::Duration;

use pactum_core::id::XidNumber;
use pactum_core::step::{Reply, ReplyTo, Task, Write};
use pactum_core::time::Timestamp;

/// How long what nobody waits for, such as that a decided transaction has ended, waits for a batch
/// that is written anyhow. 10 ms: a few batches of a quiet coordinator, whose next caller would
/// otherwise stand behind that write; and little to do again after a crash.
const UNAWAITED_MAX: Duration = Duration::from_millis(10);

/// Something that may leave once its batch, and every one before, is durable.
pub(super) enum Outgoing {
    /// An answer.
    Answer(ReplyTo, Reply),
    /// A task for a participant.
    Send(Task),
    /// Something of a saga that is watched became durable.
    Moved(XidNumber),
    /// An operator's answer.
    Seen(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outgoing::Answer(to, reply) => f.debug_tuple("Answer").field(to).field(reply).finish(),
            Outgoing::Send(task) => f.debug_tuple("Send").field(task).finish(),
            Outgoing::Moved(xid) => f.debug_tuple("Moved").field(xid).finish(),
            Outgoing::Seen(_) => f.write_str("Seen"),
        }
    }
}

/// A batch, from the first decision in it to its release.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What must be made durable.
    pub(super) writes: Vec<Write>,
    /// What may leave then, in order.
    pub(super) outgoing: Vec<Outgoing>,
    /// How many rows that are, once they are with the store.
    pub(super) rows: usize,
    /// How many events were decided in it.
    pub(super) events: usize,
    /// When its first write was decided.
    pub(super) writes_since: Option<Timestamp>,
}

impl Batch {
    /// When it should be written at the latest: at once if anybody waits for it.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        match self.writes_since {
            Some(since) if self.outgoing.is_empty() => Some(since.after(UNAWAITED_MAX)),
            Some(since) => Some(since),
            None => None,
        }
    }

    /// An empty batch with room for as much as this one holds: under load the next one is as large,
    /// and growing it would copy it several times over.
    pub(super) fn as_large_as(other: &Batch) -> Batch {
        Batch {
            writes: Vec::with_capacity(other.writes.len()),
            outgoing: Vec::with_capacity(other.outgoing.len()),
            ..Batch::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_waits_for_may_wait() {
        let mut batch = Batch::default();
        assert_eq!(batch.due_at(), None);
        let since = Timestamp(1_000);
        batch.writes_since = Some(since);
        assert_eq!(batch.due_at(), Some(since.after(UNAWAITED_MAX)));
        batch.outgoing.push(Outgoing::Seen(Box::new(|| {})));
        assert_eq!(batch.due_at(), Some(since));
    }
}
