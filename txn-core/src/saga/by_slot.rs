//! A map from slots, kept as a sorted list: a saga that waits has one or two entries, and there may be a
//! hundred thousand of them. Entries mostly come in order, so that adding one moves nothing.

use super::row::Slot;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BySlot<T>(Vec<(Slot, T)>);

impl<T> Default for BySlot<T> {
    fn default() -> Self {
        BySlot(Vec::new())
    }
}

impl<T> BySlot<T> {
    fn find(&self, slot: Slot) -> Result<usize, usize> {
        match self.0.last() {
            Some((last, _)) if *last < slot => Err(self.0.len()),
            Some(_) | None => self.0.binary_search_by_key(&slot, |(slot, _)| *slot),
        }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        self.find(slot).ok().map(|place| &self.0[place].1)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.find(slot).ok().map(|place| &mut self.0[place].1)
    }

    pub(super) fn insert(&mut self, slot: Slot, value: T) {
        match self.find(slot) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(self.0.len().max(1));
                }
                self.0.insert(place, (slot, value));
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.0.iter().map(|(slot, value)| (*slot, value))
    }
}
