//! A connection that goes back to its pool only if it is known to be free.
//!
//! A branch that is dropped halfway, or whose statement failed in an unknown way, may still be open on
//! its connection. Such a connection is closed: the database then rolls back what is not prepared, and
//! lets others finish what is.

use std::ops::{Deref, DerefMut};

use sqlx::Database;
use sqlx::pool::PoolConnection;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Held<DB: Database>(Option<PoolConnection<DB>>);

const TAKEN: &str = "only ending it takes it, and that ends the value too";

impl<DB: Database> Held<DB> {
    pub(super) fn new(connection: PoolConnection<DB>) -> Self {
        Held(Some(connection))
    }

    /// Nothing is left on it: it goes back.
    pub(super) fn free(mut self) {
        drop(self.0.take());
    }

    /// Closes it, and waits for that.
    pub(super) async fn close(mut self) {
        let connection = self.0.take().expect(TAKEN);
        // An error means that it is gone already.
        connection.close().await.ok();
    }
}

impl<DB: Database> Drop for Held<DB> {
    fn drop(&mut self) {
        if let Some(mut connection) = self.0.take() {
            connection.close_on_drop();
        }
    }
}

impl<DB: Database> Deref for Held<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        self.0.as_ref().expect(TAKEN)
    }
}

impl<DB: Database> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.0.as_mut().expect(TAKEN)
    }
}
