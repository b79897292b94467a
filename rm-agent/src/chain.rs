//! An error with everything that it stems from, as one text.

use std::error::Error;
use std::iter::successors;

pub(crate) fn chain(error: &dyn Error) -> String {
    let sources = successors(error.source(), |source| (*source).source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
