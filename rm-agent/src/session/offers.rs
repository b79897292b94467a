//! What is offered to declared sagas, and not told to the coordinator yet.
//!
//! Actions are registered one after the other, and each frame tells all of a resource's: so whatever is
//! registered before the frame is made goes with it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use pactum_core::id::ResourceId;
use tokio::sync::watch;

#[derive(Debug, Default)]
pub(super) struct Offers {
    untold: Mutex<HashSet<ResourceId>>,
    /// How many frames are on their way.
    telling: watch::Sender<usize>,
}

/// A resource's offers on their way.
#[derive(Debug)]
pub(super) struct Telling<'a>(&'a Offers);

impl Offers {
    /// Whether the caller is to tell of this resource: nobody else is about to.
    pub(super) fn begin(&self, resource: &ResourceId) -> bool {
        let new = self.untold().insert(resource.clone());
        if new {
            self.telling.send_modify(|telling| *telling += 1);
        }
        new
    }

    /// From here on, what is registered needs another frame.
    pub(super) fn telling(&self, resource: &ResourceId) -> Telling<'_> {
        self.untold().remove(resource);
        Telling(self)
    }

    /// Waits until everything is told, or was tried in vain.
    pub(super) async fn all_told(&self) {
        let mut telling = self.telling.subscribe();
        // It lives as long as `self`.
        drop(telling.wait_for(|telling| *telling == 0).await);
    }

    fn untold(&self) -> std::sync::MutexGuard<'_, HashSet<ResourceId>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.telling.send_modify(|telling| *telling -= 1);
    }
}
