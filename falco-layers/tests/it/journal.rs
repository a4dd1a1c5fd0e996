//! The places of a journal among the layers.

use std::sync::{Arc, Mutex};

use falco_core::*;
use falco_layers::{Part, Share, Spread, Stack};

use crate::support::*;

/// Notes the places that it gets, and records nothing.
#[derive(Debug)]
struct Places {
    run: RunId,
    places: Mutex<Vec<&'static str>>,
}

impl Places {
    fn new() -> Arc<Self> {
        Arc::new(Self { run: RunId::from("run"), places: Mutex::default() })
    }

    fn note(&self, place: &'static str) {
        self.places.lock().unwrap().push(place);
    }

    fn places(&self) -> Vec<&'static str> {
        self.places.lock().unwrap().clone()
    }
}

impl Monitor for Places {
    fn event(&self, _: &Event<'_>) -> Verdict {
        Verdict::Continue
    }
}

#[async_trait]
impl Journal for Places {
    fn run(&self) -> &RunId {
        &self.run
    }

    fn is_resumed(&self) -> bool {
        false
    }

    fn begin(&self, _: &ExecutionPlan, _: &dyn Platform, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn recall(&self, _: &Invocation) -> Result<Recalled> {
        Ok(Recalled::Send { attempt: 1 })
    }

    fn layer(self: Arc<Self>, platform: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform> {
        self.note("around a platform");
        platform
    }

    fn layer_over_parts(
        self: Arc<Self>,
        platform: Arc<dyn AsyncPlatform>,
    ) -> Arc<dyn AsyncPlatform> {
        self.note("around all parts");
        platform
    }

    fn part_layer(self: Arc<Self>, platform: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform> {
        self.note("around a part");
        platform
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn suspend(&self) {}

    fn failure(&self) -> Option<Error> {
        None
    }
}

#[test]
fn a_journal_is_around_a_platform_once_and_around_a_spread_and_each_of_its_parts() {
    let journal = Places::new();
    let stack = Stack::new().with_journal(journal.clone());
    stack.wrap(slow(millis(1))).unwrap();
    assert_eq!(journal.places(), ["around a platform"]);

    let journal = Places::new();
    let stack = Stack::new().with_journal(journal.clone());
    let parts = ["a", "b"].map(|name| Part::new(slow(millis(1))).named(name));
    Spread::with_stack(Share::Weight, parts, &stack).unwrap();
    assert_eq!(journal.places(), ["around a part", "around a part", "around all parts"]);
}
