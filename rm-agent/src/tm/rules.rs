//! Which errors of a closure roll back: all, but for the exceptions that are named.

/// Judges the error with which a closure was left. Implemented for [`RollBackAlways`] and
/// [`ErrorRules`].
pub trait Judge<E> {
    #[doc(hidden)]
    fn rolls_back(&self, error: &E) -> bool;
}

/// Without rules every error rolls back.
#[derive(Clone, Copy, Debug, Default)]
pub struct RollBackAlways;

impl<E> Judge<E> for RollBackAlways {
    fn rolls_back(&self, _: &E) -> bool {
        true
    }
}

type Rule<'a, E> = Box<dyn Fn(&E) -> bool + Send + Sync + 'a>;

/// The rules of one run: see [`Global::no_rollback_on`](crate::Global::no_rollback_on).
pub struct ErrorRules<'a, E> {
    pub(super) rollback_on: Vec<Rule<'a, E>>,
    pub(super) no_rollback_on: Vec<Rule<'a, E>>,
}

impl<E> ErrorRules<'_, E> {
    pub(super) fn new() -> Self {
        ErrorRules { rollback_on: Vec::new(), no_rollback_on: Vec::new() }
    }
}

impl<E> Judge<E> for ErrorRules<'_, E> {
    fn rolls_back(&self, error: &E) -> bool {
        // Undoing what should have stayed can be done again; the other way round it cannot.
        self.rollback_on.iter().any(|rule| rule(error))
            || !self.no_rollback_on.iter().any(|rule| rule(error))
    }
}

impl<E> std::fmt::Debug for ErrorRules<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErrorRules")
            .field("rollback_on", &self.rollback_on.len())
            .field("no_rollback_on", &self.no_rollback_on.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_rollback_on_names_stands_and_rollback_on_overrules_it() {
        let mut rules = ErrorRules::new();
        assert!(rules.rolls_back(&1), "without a rule");
        rules.rollback_on.push(Box::new(|error: &i32| *error == 2));
        assert!(rules.rolls_back(&1), "no rule matches");
        assert!(rules.rolls_back(&2));
        rules.no_rollback_on.push(Box::new(|error| *error >= 2));
        assert!(rules.rolls_back(&1), "an exception makes no other error commit");
        assert!(rules.rolls_back(&2), "both match");
        assert!(!rules.rolls_back(&3));
        assert!(RollBackAlways.rolls_back(&3));
    }
}
