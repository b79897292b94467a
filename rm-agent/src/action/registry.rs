//! Handlers by the names of their actions.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a name is waited for. 1 s: an instance that has just attached registers its actions now, and
/// is sent the work of before its restart at once.
const REGISTRATION_WAIT_MAX: Duration = Duration::from_secs(1);
/// The longest name of an action, in bytes: the coordinator stores it with every branch.
const NAME_BYTES_MAX: usize = 64;

/// Handlers of one kind.
#[derive(Debug)]
pub(crate) struct Registry<H: ?Sized> {
    handlers: RwLock<BTreeMap<&'static str, Arc<H>>>,
    added: Notify,
}

impl<H: ?Sized> Default for Registry<H> {
    fn default() -> Self {
        Registry { handlers: RwLock::default(), added: Notify::new() }
    }
}

impl<H: ?Sized> Registry<H> {
    pub(crate) fn find(&self, name: &str) -> Option<Arc<H>> {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// As [`Registry::find`], and waits a little for one that is not there.
    pub(crate) async fn find_soon(&self, name: &str) -> Option<Arc<H>> {
        let found = async {
            loop {
                let mut added = std::pin::pin!(self.added.notified());
                // From here on it hears of what is added.
                added.as_mut().enable();
                if let Some(handler) = self.find(name) {
                    return handler;
                }
                added.await;
            }
        };
        timeout(REGISTRATION_WAIT_MAX, found).await.ok()
    }

    /// Adds a handler, or says why it cannot have this name.
    pub(crate) fn add(&self, name: &'static str, handler: Arc<H>) -> Result<(), &'static str> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err("a name has 1 to 64 bytes");
        }
        let mut handlers = self.handlers.write().unwrap_or_else(PoisonError::into_inner);
        if handlers.contains_key(name) {
            return Err("another action of this resource and mode has this name");
        }
        handlers.insert(name, handler);
        drop(handlers);
        self.added.notify_waiters();
        Ok(())
    }

    /// What is told of each, in the order of their names.
    pub(crate) fn tell<T>(&self, tell: impl Fn(&'static str, &H) -> T) -> Vec<T> {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        handlers.iter().map(|(name, handler)| tell(name, handler)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_is_waited_for_a_little() {
        let registry = Arc::new(Registry::<str>::default());
        registry.add("one", "first".into()).unwrap();
        assert_eq!(registry.find_soon("one").await.as_deref(), Some("first"));
        let late = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.find_soon("two").await }
        });
        tokio::task::yield_now().await;
        registry.add("two", "second".into()).unwrap();
        assert_eq!(late.await.unwrap().as_deref(), Some("second"));
        assert_eq!(registry.find_soon("three").await, None);
    }
}
