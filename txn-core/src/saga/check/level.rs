//! One level of steps: their names, their edges, and what is sure to have run before each.
//!
//! A step runs if one of the steps before it leads to it. So of two steps *a* and *s*, *a* surely has a
//! result when *s* runs if *a* stands before *s* and runs whenever some *d* does through which every
//! way to *s* goes: if *a* is reached from *d* without leaving a choice. The start counts as such a *d*.

use std::collections::{BTreeMap, VecDeque};

use super::Checker;
use crate::saga::definition::Step;
use crate::saga::template::Source;

/// A set of steps of a level.
#[derive(Clone, Debug)]
struct Set(Vec<u64>);

impl Set {
    fn new(size: usize) -> Self {
        Set(vec![0; size.div_ceil(64)])
    }

    fn full(size: usize) -> Self {
        Set(vec![u64::MAX; size.div_ceil(64)])
    }

    fn add(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    fn join(&mut self, other: &Set) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    fn meet(&mut self, other: &Set) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }
}

/// The order of a level's steps; by index.
pub(super) struct Level {
    pub(super) before: Vec<Vec<usize>>,
    pub(super) after: Vec<Vec<usize>>,
    by_id: BTreeMap<String, usize>,
    ids: Vec<String>,
    is_choice: Vec<bool>,
    sure: Option<Sure>,
}

/// What follows from the edges, if they make no cycle.
struct Sure {
    /// All that stand before a step.
    ancestors: Vec<Set>,
    /// What every way to a step goes through, itself included.
    dominators: Vec<Set>,
    /// What runs whenever a step does.
    implied: Vec<Set>,
    /// What runs always.
    always: Set,
}

/// Where in a level something stands: a step, or its end.
#[derive(Clone, Copy)]
pub(super) struct Within<'a> {
    pub(super) level: &'a Level,
    pub(super) index: Option<usize>,
}

impl<'a> Within<'a> {
    /// The name of the step; empty at the end.
    pub(super) fn id(&self) -> &'a str {
        self.index.map_or("", |index| self.level.ids[index].as_str())
    }
}

impl Level {
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub(super) fn read(checker: &mut Checker<'_>, steps: &[Step], place: &str) -> Level {
        let mut by_id = BTreeMap::new();
        for (index, step) in steps.iter().enumerate() {
            let at = format!("{place}/{index}/id");
            checker.name(&at, "step", &step.id);
            if !checker.ids.insert(step.id.clone()) {
                checker.fault(&at, format!("another step is named `{}`", step.id));
            }
            by_id.entry(step.id.clone()).or_insert(index);
        }
        let mut level = Level {
            before: vec![Vec::new(); steps.len()],
            after: vec![Vec::new(); steps.len()],
            by_id,
            ids: steps.iter().map(|step| step.id.clone()).collect(),
            is_choice: steps.iter().map(|step| step.choice.is_some()).collect(),
            sure: None,
        };
        level.read_choices(checker, steps, place);
        let led_to: Vec<bool> = level.before.iter().map(|before| !before.is_empty()).collect();
        for (index, step) in steps.iter().enumerate() {
            level.read_after(checker, (index, step), led_to[index], place);
        }
        level.sure = level.order(checker, place);
        level
    }

    fn edge(&mut self, from: usize, to: usize) {
        if !self.after[from].contains(&to) {
            self.after[from].push(to);
            self.before[to].push(from);
        }
    }

    fn read_choices(&mut self, checker: &mut Checker<'_>, steps: &[Step], place: &str) {
        for (index, step) in steps.iter().enumerate() {
            let cases = step.choice.iter().flatten().enumerate();
            let cases = cases.map(|(case, with)| (format!("choice/{case}/then"), &with.then));
            let otherwise = step.otherwise.iter().map(|then| ("else".to_owned(), then));
            for (at, target) in cases.chain(otherwise) {
                match self.by_id.get(target) {
                    Some(target) => self.edge(index, *target),
                    None => checker.fault(
                        &format!("{place}/{index}/{at}"),
                        format!("no step beside this one is named `{target}`"),
                    ),
                }
            }
        }
    }

    fn read_after(
        &mut self,
        checker: &mut Checker<'_>,
        (index, step): (usize, &Step),
        led_to: bool,
        place: &str,
    ) {
        let Some(after) = &step.after else {
            if let (false, Some(previous)) = (led_to, index.checked_sub(1)) {
                self.follow(checker, index, previous, &format!("{place}/{index}"));
            }
            return;
        };
        for (number, id) in after.iter().enumerate() {
            let at = format!("{place}/{index}/after/{number}");
            match self.by_id.get(id) {
                Some(previous) => self.follow(checker, index, *previous, &at),
                None => {
                    checker.fault(&at, format!("no step beside this one is named `{id}`"));
                }
            }
        }
    }

    fn follow(&mut self, checker: &mut Checker<'_>, index: usize, previous: usize, place: &str) {
        if self.is_choice[previous] && !self.after[previous].contains(&index) {
            let (step, choice) = (&self.ids[index], &self.ids[previous]);
            checker.fault(
                place,
                format!(
                    "dead step: the choice `{choice}` never leads to `{step}`; name it there, or say \
                     which step it is `after`"
                ),
            );
            return;
        }
        self.edge(previous, index);
    }

    /// Finds a cycle, or what follows from there being none.
    fn order(&self, checker: &mut Checker<'_>, place: &str) -> Option<Sure> {
        let size = self.ids.len();
        let mut left: Vec<usize> = self.before.iter().map(Vec::len).collect();
        let mut ready: VecDeque<usize> = (0..size).filter(|index| left[*index] == 0).collect();
        let mut order = Vec::with_capacity(size);
        while let Some(index) = ready.pop_front() {
            order.push(index);
            for next in &self.after[index] {
                left[*next] -= 1;
                if left[*next] == 0 {
                    ready.push_back(*next);
                }
            }
        }
        if order.len() < size {
            let (first, way) = self.cycle(&left);
            checker.fault(&format!("{place}/{first}"), format!("cycle: {way}"));
            return None;
        }
        Some(self.sure(&order))
    }

    /// A cycle among those that are left: each has one of them before it.
    fn cycle(&self, left: &[usize]) -> (usize, String) {
        let mut seen = Vec::new();
        let mut at = left.iter().position(|count| *count > 0).unwrap_or_default();
        while !seen.contains(&at) {
            seen.push(at);
            let before = self.before[at].iter().find(|index| left[**index] > 0);
            at = before.copied().unwrap_or(at);
        }
        let start = seen.iter().position(|index| *index == at).unwrap_or_default();
        let mut ids: Vec<&str> =
            seen[start..].iter().rev().map(|index| self.ids[*index].as_str()).collect();
        ids.push(ids[0]);
        (at, ids.join(" → "))
    }

    fn sure(&self, order: &[usize]) -> Sure {
        let size = self.ids.len();
        let mut ancestors = vec![Set::new(size); size];
        let mut dominators = vec![Set::new(size); size];
        for index in order.iter().copied() {
            let mut all = Set::new(size);
            let mut every = Set::full(size);
            for before in &self.before[index] {
                all.join(&ancestors[*before]);
                all.add(*before);
                every.meet(&dominators[*before]);
            }
            if self.before[index].is_empty() {
                every = Set::new(size);
            }
            every.add(index);
            ancestors[index] = all;
            dominators[index] = every;
        }
        let mut implied = vec![Set::new(size); size];
        for index in order.iter().rev().copied() {
            let mut with = Set::new(size);
            with.add(index);
            if !self.is_choice[index] {
                self.after[index].iter().for_each(|next| with.join(&implied[*next]));
            }
            implied[index] = with;
        }
        let mut always = Set::new(size);
        let starts = (0..size).filter(|index| self.before[*index].is_empty());
        starts.for_each(|start| always.join(&implied[start]));
        Sure { ancestors, dominators, implied, always }
    }

    /// Whether the result of a step is there: never, perhaps, or surely.
    fn presence(&self, step: usize, at: Option<usize>) -> Presence {
        let Some(sure) = &self.sure else { return Presence::Sure };
        let Some(at) = at else {
            return if sure.always.has(step) { Presence::Sure } else { Presence::Perhaps };
        };
        if !sure.ancestors[at].has(step) {
            return Presence::Never;
        }
        let on_the_way = (0..self.ids.len()).filter(|index| sure.dominators[at].has(*index));
        let mut with = on_the_way.filter(|index| sure.implied[*index].has(step));
        let surely = sure.always.has(step) || with.next().is_some();
        if surely { Presence::Sure } else { Presence::Perhaps }
    }
}

enum Presence {
    Never,
    Perhaps,
    Sure,
}

/// Whether a source has a value where it is named, with the levels around it, outermost first.
pub(super) fn resolves(
    source: &Source,
    may_be_absent: bool,
    within: &[Within<'_>],
) -> Result<(), String> {
    let around = &within[..within.len().saturating_sub(1)];
    match source {
        Source::Input => Ok(()),
        Source::Item(of) | Source::Index(of) => {
            let inside = around
                .iter()
                .any(|outer| outer.index.is_some_and(|index| outer.level.ids[index] == **of));
            if inside { Ok(()) } else { Err(format!("this is not inside a loop `{of}`")) }
        }
        Source::Result(step) => {
            let levels = within.iter().rev();
            let mut found = levels.filter_map(|one| Some((one, *one.level.by_id.get(&**step)?)));
            let Some((one, index)) = found.next() else {
                return Err(format!("no step `{step}` can be seen from here"));
            };
            if one.level.is_choice[index] {
                return Err(format!("the choice `{step}` has no result"));
            }
            match one.level.presence(index, one.index) {
                Presence::Sure => Ok(()),
                Presence::Never => {
                    Err(format!("step `{step}` is not always over by then: add it to `after`"))
                }
                Presence::Perhaps if may_be_absent || one.index.is_none() => Ok(()),
                Presence::Perhaps => {
                    Err(format!("step `{step}` may have been passed over by then: give a default"))
                }
            }
        }
    }
}
