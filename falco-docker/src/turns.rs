//! Deployments of one name, one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A lock for each name that somebody is working on.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<Turn>>>);

/// The lock of one name.
pub(crate) type Turn = tokio::sync::Mutex<()>;

impl Turns {
    /// The lock of a name, which is forgotten once nobody has it any more.
    pub(crate) fn of(&self, name: &str) -> Arc<Turn> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turn| turn.strong_count() > 0);
        let turn = all.get(name).and_then(Weak::upgrade).unwrap_or_default();
        all.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_lock_for_as_long_as_somebody_has_it() {
        let turns = Turns::default();
        let (first, other) = (turns.of("f"), turns.of("g"));
        assert!(Arc::ptr_eq(&first, &turns.of("f")) && !Arc::ptr_eq(&first, &other));
        drop((first, other));
        assert!(turns.of("h").try_lock().is_ok());
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
}
