//! Whether an error that was handed out is still there.
//!
//! A body that runs again after an error must have failed on *that* error, and not on another after it
//! dealt with the first. Its own error may be of any type, so it cannot be looked into. But whatever it
//! is made of holds our error as long as it is there, as itself, as its source or in a box; who dealt
//! with our error has dropped it.
//!
//! Easy to get wrong: an error of the database's passes unchanged, to `downcast_ref` too.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Weak};

use sqlx::error::{DatabaseError, ErrorKind};

/// Part of an error: as long as it is there, so is the error.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<()>);

/// Sees whether an error is still there.
#[derive(Debug)]
pub(super) struct Watch(Weak<()>);

impl Told {
    pub(super) fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.0))
    }
}

impl Watch {
    pub(super) fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// An error of the database's that can be watched; for everybody else it is the error itself.
pub(super) fn watched_by_database(
    error: Box<dyn DatabaseError>,
) -> (Box<dyn DatabaseError>, Watch) {
    let told = Told::default();
    let watch = told.watch();
    (Box::new(Watched { error, _told: told }), watch)
}

/// The same for any error.
pub(super) fn watched(error: BoxError) -> (BoxError, Watch) {
    let told = Told::default();
    let watch = told.watch();
    (Box::new(Watched { error, _told: told }), watch)
}

type BoxError = Box<dyn Error + Send + Sync>;

struct Watched<E> {
    error: E,
    _told: Told,
}

impl<E: fmt::Debug> fmt::Debug for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<E: fmt::Display> fmt::Display for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl Error for Watched<BoxError> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl Error for Watched<Box<dyn DatabaseError>> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.as_error().source()
    }
}

impl DatabaseError for Watched<Box<dyn DatabaseError>> {
    fn message(&self) -> &str {
        self.error.message()
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.error.code()
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.error.as_error()
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self.error.as_error_mut()
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self.error.into_error()
    }

    fn is_transient_in_connect_phase(&self) -> bool {
        self.error.is_transient_in_connect_phase()
    }

    fn constraint(&self) -> Option<&str> {
        self.error.constraint()
    }

    fn table(&self) -> Option<&str> {
        self.error.table()
    }

    fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}
