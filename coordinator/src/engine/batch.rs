//! What was decided together, is written together and leaves together.

use std::fmt;

use pactum_core::step::{Reply, ReplyTo, Task, Write};

/// Something that may leave once its batch, and every one before, is durable.
pub(super) enum Outgoing {
    /// An answer.
    Answer(ReplyTo, Reply),
    /// A task for a participant.
    Send(Task),
    /// An operator's answer.
    Seen(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outgoing::Answer(to, reply) => f.debug_tuple("Answer").field(to).field(reply).finish(),
            Outgoing::Send(task) => f.debug_tuple("Send").field(task).finish(),
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
}

impl Batch {
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
