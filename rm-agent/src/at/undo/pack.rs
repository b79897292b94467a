//! The packed form of a large undo log: deflate, then base64, since the column holds text.
//!
//! Packing costs processor time and saves what the database writes, syncs and ships to its replicas.
//! The barrier row's checksum covers the packed body, so this form needs none of its own.
//!
//! Easy to get wrong: unpacking. Some kilobytes may unpack to gigabytes, so it stops at a limit.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::Unreadable;

/// A log larger than this is packed. 2 KiB, a dozen and a half of updated rows: measured with base64
/// on logs of small rows, 0.6 kB come out at 0.66 of their size, 1.7 kB at 0.41, 4 kB at 0.32 and 77 kB
/// at 0.27. Below, the little that is saved is not worth that people need a tool to read it. The
/// default level of deflate takes three times as long for 0.25 in place of 0.27.
const PACKED_ABOVE_BYTES: usize = 2 << 10;
/// The largest log that [`read_undo`] unpacks.
const SHOWN_BYTES_MAX: usize = 256 << 20;

/// The packed form; `None` for a log that is better left as it is.
pub(super) fn pack(json: &str) -> Option<String> {
    if json.len() <= PACKED_ABOVE_BYTES {
        return None;
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(json.as_bytes()).expect("a vector takes what is written");
    let packed = STANDARD.encode(encoder.finish().expect("a vector takes what is written"));
    // Random bytes, as keys and digests are, do not get smaller.
    (packed.len() < json.len()).then_some(packed)
}

/// What was packed, unless it is more than `bytes_max`.
pub(super) fn unpack(body: &str, bytes_max: usize) -> Result<String, String> {
    let packed = STANDARD.decode(body).map_err(|error| format!("it is not base64: {error}"))?;
    let mut decoder = DeflateDecoder::new(packed.as_slice());
    let mut json = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = decoder.by_ref().take(limit).read_to_end(&mut json);
    read.map_err(|error| format!("it is not deflate: {error}"))?;
    if json.len() > bytes_max {
        return Err(format!("it unpacks to more than {bytes_max} bytes"));
    }
    if !decoder.get_ref().is_empty() {
        return Err("something follows what was packed".to_owned());
    }
    String::from_utf8(json).map_err(|error| format!("it is not text: {error}"))
}

/// The body of a barrier row that is no undo log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableUndo {
    /// Tombstones, the rows of XA, and those that AT undid hold nothing.
    #[error("the body is empty: of AT only an open barrier row holds an undo log")]
    Empty,
    /// Written by another version of the agent.
    #[error("undo logs of format {0} are not known to this version: update it")]
    Format(i64),
    /// Not what an agent writes.
    #[error("the body is not an undo log: {0}")]
    Malformed(String),
}

/// The undo log in the `body` of a barrier row (table `pactum_barrier`) of this `format`, as JSON for
/// people. It says what the branch changed; whether the row is to be trusted, its checksum says.
///
/// # Errors
/// [`UnreadableUndo`] if the body is not an undo log of a known format, or larger than 256 MiB.
pub fn read_undo(format: i64, body: &str) -> Result<String, UnreadableUndo> {
    if body.is_empty() {
        return Err(UnreadableUndo::Empty);
    }
    let json = super::json(format, body, SHOWN_BYTES_MAX)?;
    let log = super::parse(&json)?;
    Ok(serde_json::to_string_pretty(&log).expect("it was JSON before"))
}

impl From<Unreadable> for UnreadableUndo {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Version(version) => UnreadableUndo::Format(version),
            Unreadable::Malformed(why) => UnreadableUndo::Malformed(why),
        }
    }
}
