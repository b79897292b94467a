//! Writing to standard output, which may be a pipe that nobody reads to its end.

use std::io::{self, ErrorKind, Write as _};

use anyhow::Context as _;

/// Says something on standard output. A reader who has seen enough (`| head`) is no error.
///
/// # Errors
/// What else keeps the text from being written, such as a full disk.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write to standard output"),
    }
}
