//! The only conversions between the wire and the core.
//!
//! ```text
//! v1 request ── requests ──▶ core Event          every field checked: presence, length, range
//! core Reply ── replies ───▶ v1 reply, v1 frame
//! core Rejection ── error ─▶ v1::Error           one table: code, message, what to do
//! sagas, standing ─────────── what is asked of declared sagas, and where one stands
//! enums, both ways ──────── enums                unknown wire values are refused, never guessed
//! ```
//!
//! UTF-8 is checked by the decoder before any of this runs.

mod branches;
mod enums;
mod error;
mod operator;
mod questions;
mod replies;
mod requests;
mod sagas;
mod standing;
#[cfg(test)]
mod tests;
mod work;

pub use branches::{ACTION_BYTES_MAX, LOCK_KEY_BYTES_MAX, LOCKS_BYTES_MAX, PAYLOAD_BYTES_MAX};
pub use enums::{UnknownValue, mode, park_reason, resolution};
pub use error::{
    code_name, internal, invalid, invalid_definition, invalid_over, limit_reached, not_attached,
    outcome_unknown, protocol_version, rejection, unavailable,
};
pub use operator::RESOLUTION_REASON_BYTES_MAX;
pub use questions::{CanCommit, QUESTIONS_MAX, Question, Said};
pub use replies::Identity;
pub use requests::{
    AGENT_VERSION_BYTES_MAX, CAPABILITIES_MAX, CAPABILITY_BYTES_MAX, Hello,
    IDEMPOTENCY_KEY_BYTES_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX, RESOURCES_PER_ATTACH_MAX,
    RequestLimits, RequestReader,
};
pub use work::{PARK_REPORT_BYTES_MAX, WorkAnswer};
