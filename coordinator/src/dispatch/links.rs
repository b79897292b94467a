//! The attachments that are open: session streams and long polls, and which resources they proved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dashmap::DashMap;
use pactum_core::id::{ResourceId, SessionId};

use super::link::{End, SessionLink};

/// The open attachments.
#[derive(Debug, Default)]
pub(crate) struct Links {
    last: AtomicU64,
    open: DashMap<SessionId, Arc<SessionLink>>,
    /// As the group has it, for questions that never come to the group.
    by_resource: DashMap<ResourceId, Vec<SessionId>>,
}

impl Links {
    /// A new attachment with an id that was never used before.
    pub(crate) fn open(&self, request_window: u32) -> Arc<SessionLink> {
        // From 1 on: 0 is the unary calls'.
        let id = SessionId(self.last.fetch_add(1, Relaxed) + 1);
        let link = Arc::new(SessionLink::new(id, request_window));
        self.open.insert(id, link.clone());
        link
    }

    pub(crate) fn link(&self, id: SessionId) -> Option<Arc<SessionLink>> {
        self.open.get(&id).map(|link| link.clone())
    }

    pub(crate) fn remove(&self, id: SessionId) {
        self.open.remove(&id);
    }

    /// The session proved the resource.
    pub(super) fn attached(&self, resource: ResourceId, session: SessionId) {
        self.by_resource.entry(resource).or_default().push(session);
    }

    /// The session is gone.
    pub(super) fn detached(&self, resource: &ResourceId, session: SessionId) {
        if let Some(mut sessions) = self.by_resource.get_mut(resource) {
            sessions.retain(|other| *other != session);
        }
        self.by_resource.remove_if(resource, |_, sessions| sessions.is_empty());
    }

    /// The group is loaded anew, and every session attaches again.
    pub(super) fn forget_attached(&self) {
        self.by_resource.clear();
    }

    /// The attachments that proved the resource.
    pub(crate) fn who_works_on(&self, resource: &ResourceId) -> Vec<Arc<SessionLink>> {
        let sessions = self.by_resource.get(resource).map(|sessions| sessions.clone());
        sessions.into_iter().flatten().filter_map(|session| self.link(session)).collect()
    }

    pub(crate) fn for_each(&self, mut act: impl FnMut(&SessionLink)) {
        // Collected first: ending a link wakes tasks that remove it from this map.
        let links: Vec<_> = self.open.iter().map(|entry| entry.value().clone()).collect();
        for link in links {
            act(&link);
        }
    }

    /// Every request under way hears *unknown*, and every attachment ends.
    pub(crate) fn end_all_unknown(&self) {
        self.for_each(|link| {
            link.all_unknown();
            link.end(End::Reattach);
        });
    }

    /// How many requests are under way.
    pub(crate) fn under_way(&self) -> usize {
        let mut count = 0;
        self.for_each(|link| count += link.under_way());
        count
    }
}
