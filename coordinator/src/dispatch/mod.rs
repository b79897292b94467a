//! From the group task to whoever waits: answers, and work for participants.
//!
//! ```text
//! driver ─▶ Dispatch (owned by the group task, no lock) ── flush: one lock a session ─▶ SessionLink
//!                                                       └─ one lock for all ──────────▶ Calls
//! ```
//!
//! Nothing here waits. A session that does not take its answers is closed; work that finds no room is
//! dropped, and the group sends it again later.

mod calls;
mod link;
mod links;
mod questions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use pactum_core::id::{NodeId, ResourceId, ResourceNumber, SessionId};
use pactum_core::step::{Change, Reply, ReplyTo, Task, Volatile, Write};
use pactum_core::transaction::ResourceRow;
use rustc_hash::FxHashMap;

pub(crate) use calls::{Calls, Heard, UNARY};
pub(crate) use link::{End, Excess, Out, SessionLink, Taken, WELCOME, Work};
pub(crate) use links::Links;
pub(crate) use questions::Questions;

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::options::SessionOptions;

/// The group task's side: who is attached where, and what is to be flushed.
pub(crate) struct Dispatch {
    links: Arc<Links>,
    calls: Arc<Calls>,
    metrics: Arc<Metrics>,
    options: SessionOptions,
    seats: FxHashMap<SessionId, Seat>,
    places: FxHashMap<ResourceNumber, Place>,
    touched: Vec<SessionId>,
    answers: Vec<(u64, Reply)>,
}

/// A session that the group knows.
struct Seat {
    link: Arc<SessionLink>,
    node: NodeId,
    resources: Vec<ResourceNumber>,
    outs: Vec<Out>,
    work: Vec<(Task, ResourceId)>,
}

/// A resource, and who works on it.
struct Place {
    id: ResourceId,
    sessions: Vec<SessionId>,
    next: usize,
}

impl Dispatch {
    pub(crate) fn new<'a>(
        engine: &Engine,
        options: SessionOptions,
        resources: impl Iterator<Item = &'a ResourceRow>,
    ) -> Self {
        let mut dispatch = Dispatch {
            links: engine.links.clone(),
            calls: engine.calls.clone(),
            metrics: engine.metrics.clone(),
            options,
            seats: FxHashMap::default(),
            places: FxHashMap::default(),
            touched: Vec::new(),
            answers: Vec::new(),
        };
        dispatch.learn_resources(resources);
        dispatch
    }

    pub(crate) fn learn_resources<'a>(&mut self, rows: impl Iterator<Item = &'a ResourceRow>) {
        for row in rows {
            self.learn_resource(row);
        }
    }

    fn learn_resource(&mut self, row: &ResourceRow) {
        let place = || Place { id: row.id.clone(), sessions: Vec::new(), next: 0 };
        self.places.entry(row.number).or_insert_with(place);
    }

    /// Keeps in step with who is attached where.
    pub(crate) fn note(&mut self, change: &Change) {
        match change {
            Change::Stored(Write::PutResource(row)) => self.learn_resource(row),
            Change::Stored(Write::DropResource(number)) => {
                self.places.remove(number);
            }
            Change::Volatile(Volatile::SessionOpened(session, node)) => {
                if let Some(link) = self.links.link(*session) {
                    let (resources, outs, work) = Default::default();
                    let seat = Seat { link, node: *node, resources, outs, work };
                    self.seats.insert(*session, seat);
                }
            }
            Change::Volatile(Volatile::SessionAttached(session, number)) => {
                if let Some(seat) = self.seats.get_mut(session)
                    && let Some(place) = self.places.get_mut(number)
                    && !place.sessions.contains(session)
                {
                    seat.resources.push(*number);
                    place.sessions.push(*session);
                    self.links.attached(place.id.clone(), *session);
                }
            }
            Change::Volatile(Volatile::SessionClosed(session)) => self.close(*session),
            Change::Stored(_) | Change::Volatile(_) => {}
        }
    }

    fn close(&mut self, session: SessionId) {
        let Some(seat) = self.seats.remove(&session) else { return };
        for number in seat.resources {
            if let Some(place) = self.places.get_mut(&number) {
                place.sessions.retain(|other| *other != session);
                self.links.detached(&place.id, session);
            }
        }
    }

    /// An answer that may leave; it does at the next flush.
    pub(crate) fn answer(&mut self, to: ReplyTo, reply: Reply) {
        if to.session == UNARY {
            self.answers.push((to.correlation, reply));
        } else if let Some(seat) = self.seats.get_mut(&to.session) {
            if seat.outs.is_empty() && seat.work.is_empty() {
                self.touched.push(to.session);
            }
            seat.outs.push(Out::Reply { correlation: to.correlation, reply });
        } else if let Some(link) = self.links.link(to.session) {
            // The group did not open this session: its hello was refused.
            self.deliver(&link, &mut vec![Out::Reply { correlation: to.correlation, reply }]);
        }
    }

    /// Hands a task to a session of its resource: the one that registered the branch if it has room,
    /// else the next that has.
    pub(crate) fn send(&mut self, task: Task) {
        let Some(place) = self.places.get_mut(&task.resource) else { return };
        let count = place.sessions.len();
        let room = |session: &SessionId| {
            let seat = self.seats.get(session)?;
            let queued = seat.link.work_queued() + seat.work.len();
            (queued < self.options.work_queued_max).then_some(seat.node)
        };
        let own = place.sessions.iter().find(|session| room(session) == Some(task.node));
        let turn = place.next;
        let in_turn = || {
            let mut turns = (0..count).map(|step| place.sessions[(turn + step) % count]);
            turns.find(|session| room(session).is_some())
        };
        let Some(session) = own.copied().or_else(in_turn) else {
            self.metrics.work_dropped(1);
            return;
        };
        place.next = (turn + 1) % count;
        let id = place.id.clone();
        if let Some(seat) = self.seats.get_mut(&session) {
            if seat.outs.is_empty() && seat.work.is_empty() {
                self.touched.push(session);
            }
            seat.work.push((task, id));
        }
    }

    /// Gives everything to its session or caller.
    pub(crate) fn flush(&mut self) {
        self.calls.answer(&mut self.answers);
        let mut touched = std::mem::take(&mut self.touched);
        for session in touched.drain(..) {
            let Some(seat) = self.seats.get_mut(&session) else { continue };
            let link = seat.link.clone();
            if !seat.work.is_empty() {
                self.metrics.work_sent(seat.work.len());
                link.push_work(&mut seat.work);
            }
            let mut outs = std::mem::take(&mut seat.outs);
            self.deliver(&link, &mut outs);
            // The buffer is kept, so that a busy session allocates none.
            if let Some(seat) = self.seats.get_mut(&session) {
                seat.outs = outs;
            }
        }
        self.touched = touched;
    }

    fn deliver(&self, link: &SessionLink, outs: &mut Vec<Out>) {
        if !link.deliver(outs, self.options.answers_queued_max) {
            self.metrics.session_overflowed();
            tracing::warn!(session = link.id().0, "session does not take its answers; closed");
        }
    }

    /// Everyone who waits hears *unknown*, and every session ends.
    pub(crate) fn forget_all_unknown(&mut self) {
        self.seats.clear();
        self.links.forget_attached();
        self.places.clear();
        self.touched.clear();
        self.answers.clear();
        self.links.end_all_unknown();
        self.calls.end_all_unknown();
    }
}
