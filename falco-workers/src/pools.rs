//! The pools of all deployments.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{Error, ErrorKind};

use crate::limits::PoolLimits;

/// The workers of one deployment.
pub trait Pool: Debug + Send + Sync {
    /// The code that the workers run. Another one takes another pool.
    type Function: PartialEq;

    /// The code that the workers run.
    fn function(&self) -> &Self::Function;

    /// Changes the sizes. Workers that are there stay as they are; those over the maximum end when they are idle.
    fn set_limits(self: &Arc<Self>, limits: PoolLimits);

    /// Lets the workers finish what is queued, and then go.
    fn retire(&self);

    /// Ends all workers, whatever they do.
    fn close(&self);

    /// Whether no worker is left.
    fn is_empty(&self) -> bool;
}

/// The pools by the names of their deployments, and those that newer code has replaced. Dropped, it closes all.
#[derive(Debug)]
pub struct Pools<P: Pool>(Mutex<State<P>>);

#[derive(Debug)]
struct State<P> {
    by_name: HashMap<String, Arc<P>>,
    /// Replaced by newer code, with workers that are not done yet.
    retired: Vec<(String, Arc<P>)>,
}

impl<P: Pool> Default for Pools<P> {
    fn default() -> Self {
        Self(Mutex::new(State { by_name: HashMap::new(), retired: Vec::new() }))
    }
}

impl<P: Pool> Pools<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool of a function that has run here already.
    pub fn get(&self, name: &str) -> Option<Arc<P>> {
        self.lock().by_name.get(name).cloned()
    }

    /// The pool that runs `function` under `name`: the one that is there gets the sizes, or `make` makes one, and an older
    /// one retires.
    pub fn install(
        &self,
        name: &str,
        function: P::Function,
        limits: PoolLimits,
        make: impl FnOnce(P::Function, PoolLimits) -> Arc<P>,
    ) -> Arc<P> {
        let mut pools = self.lock();
        pools.retired.retain(|(_, pool)| !pool.is_empty());
        if let Some(pool) = pools.by_name.get(name) {
            if *pool.function() == function {
                pool.set_limits(limits);
                return pool.clone();
            }
            pool.retire();
        }
        let pool = make(function, limits);
        if let Some(old) = pools.by_name.insert(name.to_owned(), pool.clone()) {
            pools.retired.push((name.to_owned(), old));
        }
        pool
    }

    /// Closes the pools of a name, and returns them.
    pub fn close(&self, name: &str) -> Vec<Arc<P>> {
        let mut pools = self.lock();
        let mut closed: Vec<_> = pools.by_name.remove(name).into_iter().collect();
        closed.extend(pools.retired.extract_if(.., |(of, _)| of == name).map(|(_, pool)| pool));
        drop(pools);
        for pool in &closed {
            pool.close();
        }
        closed
    }
}

impl<P: Pool> Drop for Pools<P> {
    fn drop(&mut self) {
        let mut pools = self.lock();
        let mut all: Vec<_> = std::mem::take(&mut pools.by_name).into_values().collect();
        all.extend(std::mem::take(&mut pools.retired).into_iter().map(|(_, pool)| pool));
        drop(pools);
        for pool in all {
            pool.close();
        }
    }
}

/// The error for a caller that waits for a function which is taken away.
pub fn removed() -> Error {
    Error::new(ErrorKind::NotFound, "the function was removed while it was waited for")
        .with_may_have_run(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WorkerLimits;

    #[derive(Debug)]
    struct Fake(u8, Mutex<Vec<&'static str>>);

    impl Fake {
        fn make(code: u8, _: PoolLimits) -> Arc<Self> {
            Arc::new(Self(code, Mutex::default()))
        }

        fn note(&self, what: &'static str) {
            self.1.lock().unwrap().push(what);
        }

        fn noted(&self) -> Vec<&'static str> {
            self.1.lock().unwrap().clone()
        }
    }

    impl Pool for Fake {
        type Function = u8;

        fn function(&self) -> &u8 {
            &self.0
        }

        fn set_limits(self: &Arc<Self>, _: PoolLimits) {
            self.note("sized");
        }

        fn retire(&self) {
            self.note("retired");
        }

        fn close(&self) {
            self.note("closed");
        }

        fn is_empty(&self) -> bool {
            false
        }
    }

    #[test]
    fn newer_code_retires_the_older_pool_and_removing_closes_both() {
        let limits = WorkerLimits::default().pool(&falco_core::Scaling::default());
        let pools = Pools::<Fake>::default();
        let first = pools.install("f", 1, limits, Fake::make);
        let again = pools.install("f", 1, limits, Fake::make);
        assert!(Arc::ptr_eq(&first, &again));
        let second = pools.install("f", 2, limits, Fake::make);
        let other = pools.install("g", 1, limits, Fake::make);
        assert_eq!(pools.close("f").len(), 2);
        assert_eq!(first.noted(), ["sized", "retired", "closed"]);
        assert_eq!(second.noted(), ["closed"]);
        assert!(pools.get("f").is_none() && other.noted().is_empty());
        drop(pools);
        assert_eq!(other.noted(), ["closed"]);
    }
}
