//! Who holds one key, and how.
//!
//! A row mostly has one holder. A busy table has an intent from every transaction that works in it,
//! perhaps a million, so whether a grip goes with all of them is read off counts, never by walking
//! over the holders; only to *name* one that stands in the way they are walked.

use std::collections::BTreeMap;

use crate::id::XidNumber;
use crate::lock::mode::Grip;

/// The holders of a key.
#[derive(Clone, Debug, Default)]
pub(super) enum Holders {
    #[default]
    None,
    One(XidNumber, Counts),
    Many(Box<Many>),
}

/// In order of number: those that come and go are mostly the youngest, which lie side by side in
/// memory however many old ones there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Many {
    of: BTreeMap<XidNumber, Counts>,
    /// How many transactions hold the key in each way.
    held: [usize; 4],
}

/// How often a transaction holds a key in each way: one for each of its branches and claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([u32; 4]);

impl Counts {
    pub(super) fn has(self, grip: Grip) -> bool {
        self.0[grip as usize] > 0
    }

    /// Whether who holds the key like this needs nothing more for `grip`.
    fn covers(self, grip: Grip) -> bool {
        Grip::ALL.iter().any(|held| self.has(*held) && held.covers(grip))
    }

    fn goes_with(self, grip: Grip) -> bool {
        Grip::ALL.iter().all(|held| !self.has(*held) || held.goes_with(grip))
    }

    fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    fn add(&mut self, grip: Grip) {
        self.0[grip as usize] += 1;
    }

    fn take(&mut self, grip: Grip) {
        let count = &mut self.0[grip as usize];
        assert!(*count > 0, "only an owner releases a lock (LK-3)");
        *count -= 1;
    }
}

impl Holders {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Holders::None => true,
            Holders::One(..) => false,
            Holders::Many(many) => many.of.is_empty(),
        }
    }

    /// The holders, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (XidNumber, Counts)> {
        let (one, many) = match self {
            Holders::None => (None, None),
            Holders::One(xid, counts) => (Some((*xid, *counts)), None),
            Holders::Many(many) => (None, Some(many.of.iter().map(|(xid, held)| (*xid, *held)))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Whether another than `asker` holds the key in a way that does not go with `grip`.
    pub(super) fn stand_against(&self, asker: Option<XidNumber>, grip: Grip) -> bool {
        match self {
            Holders::None => false,
            Holders::One(xid, counts) => Some(*xid) != asker && !counts.goes_with(grip),
            Holders::Many(many) => {
                let own = asker.and_then(|xid| many.of.get(&xid)).copied().unwrap_or_default();
                let against = Grip::ALL.into_iter().filter(|held| !held.goes_with(grip));
                let held = |held: Grip| many.held[held as usize];
                against.into_iter().any(|grip| held(grip) > usize::from(own.has(grip)))
            }
        }
    }

    /// Whether `xid` holds the key in a way that includes `grip`.
    pub(super) fn cover(&self, xid: XidNumber, grip: Grip) -> bool {
        match self {
            Holders::None => false,
            Holders::One(holder, counts) => *holder == xid && counts.covers(grip),
            Holders::Many(many) => many.of.get(&xid).is_some_and(|counts| counts.covers(grip)),
        }
    }

    /// The holders that stand against `grip`, in order.
    pub(super) fn against(
        &self,
        asker: Option<XidNumber>,
        grip: Grip,
    ) -> impl Iterator<Item = XidNumber> {
        let walked = self.stand_against(asker, grip).then(|| self.iter());
        let others = walked.into_iter().flatten().filter(move |(xid, _)| Some(*xid) != asker);
        others.filter(move |(_, counts)| !counts.goes_with(grip)).map(|(xid, _)| xid)
    }

    /// The one that holds the key exclusively.
    pub(super) fn exclusive(&self) -> Option<XidNumber> {
        match self {
            Holders::None => None,
            Holders::One(xid, counts) => counts.has(Grip::Exclusive).then_some(*xid),
            Holders::Many(many) if many.held[Grip::Exclusive as usize] == 0 => None,
            Holders::Many(many) => {
                let mut exclusive = many.of.iter().filter(|(_, held)| held.has(Grip::Exclusive));
                exclusive.next().map(|(xid, _)| *xid)
            }
        }
    }

    pub(super) fn add(&mut self, xid: XidNumber, grip: Grip) {
        match self {
            Holders::None => {
                let mut counts = Counts::default();
                counts.add(grip);
                *self = Holders::One(xid, counts);
            }
            Holders::One(holder, counts) if *holder == xid => counts.add(grip),
            Holders::One(holder, counts) => {
                let mut many = Many::default();
                for held in Grip::ALL.into_iter().filter(|held| counts.has(*held)) {
                    many.held[held as usize] += 1;
                }
                many.of.insert(*holder, *counts);
                many.add(xid, grip);
                *self = Holders::Many(Box::new(many));
            }
            Holders::Many(many) => many.add(xid, grip),
        }
    }

    pub(super) fn take(&mut self, xid: XidNumber, grip: Grip) {
        match self {
            Holders::One(holder, counts) if *holder == xid => {
                counts.take(grip);
                if counts.is_empty() {
                    *self = Holders::None;
                }
            }
            Holders::Many(many) => many.take(xid, grip),
            Holders::None | Holders::One(..) => panic!("only an owner releases a lock (LK-3)"),
        }
    }
}

impl Many {
    fn add(&mut self, xid: XidNumber, grip: Grip) {
        let counts = self.of.entry(xid).or_default();
        if !counts.has(grip) {
            self.held[grip as usize] += 1;
        }
        counts.add(grip);
    }

    fn take(&mut self, xid: XidNumber, grip: Grip) {
        let counts = self.of.get_mut(&xid).expect("only an owner releases a lock (LK-3)");
        counts.take(grip);
        if !counts.has(grip) {
            self.held[grip as usize] -= 1;
        }
        if counts.is_empty() {
            self.of.remove(&xid);
        }
    }
}
