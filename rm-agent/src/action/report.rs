//! What a person reads of a TCC or saga branch on which automatic work has stopped.

use std::time::Duration;

use pactum_core::fence::Fault;
use pactum_proto::v1::{ParkReason, ParkReport};

use crate::branch::Answer;

/// What a handler may say of itself, in bytes: enough for a paragraph.
const TEXT_BYTES_MAX: usize = 4096;

pub(super) fn parked(reason: ParkReason, message: &str) -> Answer {
    let message = shortened(message);
    Answer::Parked(ParkReport {
        reason: reason.into(),
        message,
        rows: Vec::new(),
        rows_left_out: 0,
    })
}

/// A branch that the fence does not let go on.
pub(super) fn fault(fault: Fault, action: &str) -> Answer {
    match fault {
        Fault::EvidenceLost => parked(
            ParkReason::EvidenceLost,
            &format!(
                "phase one of `{action}` was done, but its barrier row is not there: somebody deleted \
                 it, or the database was restored from a backup; nothing was called"
            ),
        ),
        Fault::EvidenceTampered => parked(
            ParkReason::EvidenceTampered,
            &format!(
                "the barrier row of `{action}` cannot be trusted: it is another coordinator's or \
                 another mode's, or its checksum does not fit its content; nothing was called"
            ),
        ),
        Fault::Both => parked(
            ParkReason::Invariant,
            &format!(
                "`{action}` was asked to confirm what was cancelled, or to cancel what was confirmed; \
                 nothing was called"
            ),
        ),
        Fault::ForwardOnly => parked(
            ParkReason::HandlerFatal,
            &format!(
                "the saga step `{action}` took place and goes forward only: it has no compensation, so \
                 settle it by hand; older steps of the saga wait for it"
            ),
        ),
    }
}

/// A handler's own words for a person.
pub(super) fn attention(action: &str, words: &str) -> Answer {
    let said = if words.trim().is_empty() { "it gave no reason" } else { words };
    parked(ParkReason::HandlerFatal, &format!("`{action}` needs attention: {said}"))
}

pub(super) fn later(after: Option<Duration>, reason: &str) -> Answer {
    Answer::Later { after, reason: shortened(reason) }
}

fn shortened(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    format!("{}… ({} bytes)", &text[..end], text.len())
}
