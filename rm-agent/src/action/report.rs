//! What is answered of a TCC or saga branch whose work is not done now, or never by itself: for the
//! coordinator, and for the person who looks.

use std::time::Duration;

use pactum_core::fence::Fault;
use pactum_proto::v1::{ParkReason, ParkReport};

use super::error::ActionError;
use super::handler::{Handled, Stopped};
use crate::branch::Answer;
use crate::db::is_passing;

/// When to come again to a database that somebody else is writing to, or a row that has just come.
/// 100 ms: a few local transactions.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// When to come again to an instance that does not know the action. 1 s: one that has just attached
/// registers it now; another instance is asked by its own.
pub(super) const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);

/// The longest delay that a handler may ask for. 1 h: a branch that waits for longer is not looked after.
const LATER_MAX: Duration = Duration::from_secs(60 * 60);

/// What a handler may say of itself, in bytes: enough for a paragraph.
const TEXT_BYTES_MAX: usize = 4096;

pub(crate) fn parked(reason: ParkReason, message: &str) -> Answer {
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
fn attention(action: &str, words: &str) -> Answer {
    let said = if words.trim().is_empty() { "it gave no reason" } else { words };
    parked(ParkReason::HandlerFatal, &format!("`{action}` needs attention: {said}"))
}

pub(crate) fn later(after: Option<Duration>, reason: &str) -> Answer {
    Answer::Later { after, reason: shortened(reason) }
}

/// What a handler of phase two said.
pub(crate) fn handled_answer(name: &str, handled: Handled) -> Answer {
    match handled {
        Handled::Done => Answer::Done,
        Handled::Later(after) => {
            later(Some(after.min(LATER_MAX)), &format!("`{name}` asks to be called later"))
        }
        Handled::Attention(words) => attention(name, &words),
    }
}

/// An attempt whose time is over before it begins.
pub(crate) fn too_late() -> Answer {
    later(None, "its turn came after the end of its time")
}

/// No handler of this name is registered here.
pub(crate) fn unknown(name: &str) -> Answer {
    let why = format!(
        "this instance has registered no action `{name}`; another, perhaps newer, one may know it"
    );
    later(Some(UNKNOWN_PAUSE), &why)
}

pub(super) fn not_begun(error: &ActionError) -> Answer {
    let after = error.is_retryable().then_some(BUSY_PAUSE);
    let source = std::error::Error::source(error);
    let source = source.map_or_else(String::new, |source| format!(": {source}"));
    later(after, &format!("{error}{source}"))
}

pub(crate) fn stopped_answer(name: &str, stopped: &Stopped) -> Answer {
    match stopped {
        Stopped::Unreadable(why) => attention(name, &format!("what it kept cannot be read: {why}")),
        Stopped::Newer(version) => {
            let why = format!(
                "`{name}` kept version {version}, which this instance does not know; a newer one may"
            );
            later(Some(UNKNOWN_PAUSE), &why)
        }
        Stopped::Failed(error) => {
            let passing = error.downcast_ref().is_some_and(is_passing);
            later(passing.then_some(BUSY_PAUSE), &format!("`{name}` failed: {error}"))
        }
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    format!("{}… ({} bytes)", &text[..end], text.len())
}
