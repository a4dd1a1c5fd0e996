//! How containers ended. They remove themselves, so nobody can be asked afterwards: the daemon's events say it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::{oneshot, watch};

/// How long the daemon is left alone after its stream of events has broken.
const PAUSE: Duration = Duration::from_millis(500);

/// How a container ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: Option<i32>,
    pub(crate) out_of_memory: bool,
    /// Whether the daemon has sent it a signal: for somebody, or since it ends itself.
    pub(crate) was_stopped: bool,
}

/// The containers whose end is waited for, and how often the daemon's events have broken off.
#[derive(Debug)]
pub(crate) struct Ends {
    expected: Mutex<HashMap<String, Expected>>,
    breaks: watch::Sender<u64>,
}

impl Default for Ends {
    fn default() -> Self {
        Self { expected: Mutex::default(), breaks: watch::Sender::new(0) }
    }
}

#[derive(Debug)]
struct Expected {
    end: oneshot::Sender<End>,
    out_of_memory: bool,
    was_stopped: bool,
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Expected>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Expects the end of a container, which has not been started yet.
    pub(crate) fn expect(&self, container: &str) -> oneshot::Receiver<End> {
        let (end, receiver) = oneshot::channel();
        let expected = Expected { end, out_of_memory: false, was_stopped: false };
        self.lock().insert(container.to_owned(), expected);
        receiver
    }

    /// Reports each time that the daemon's events break off: then it ends, and whatever ends meanwhile ends with it.
    pub(crate) fn breaks(&self) -> watch::Receiver<u64> {
        self.breaks.subscribe()
    }

    pub(crate) fn forget(&self, container: &str) {
        self.lock().remove(container);
    }

    /// Whether the kernel has ended a process of a container that still runs, since its memory was used up.
    pub(crate) fn has_run_out_of_memory(&self, container: &str) -> bool {
        self.lock().get(container).is_some_and(|expected| expected.out_of_memory)
    }

    /// Notes that the daemon's events have broken off.
    pub(crate) fn broke_off(&self) {
        self.breaks.send_modify(|breaks| *breaks += 1);
    }

    pub(crate) fn hear(&self, event: &EventMessage) {
        let Some(actor) = &event.actor else { return };
        let Some(container) = &actor.id else { return };
        let mut expected = self.lock();
        match event.action.as_deref() {
            // The kernel ends a process before its container ends.
            Some("oom") => {
                if let Some(expected) = expected.get_mut(container) {
                    expected.out_of_memory = true;
                }
            }
            // The daemon reports its signal before the end.
            Some("kill") => {
                if let Some(expected) = expected.get_mut(container) {
                    expected.was_stopped = true;
                }
            }
            // Podman has words of its own for it.
            Some("die" | "died") => {
                let Some(expected) = expected.remove(container) else { return };
                let Expected { end, out_of_memory, was_stopped } = expected;
                let attributes = actor.attributes.as_ref();
                let status = attributes.and_then(|all| {
                    let status = all.get("exitCode").or_else(|| all.get("containerExitCode"));
                    status?.parse().ok()
                });
                // Nobody waits any more for a container that was given up.
                let _ = end.send(End { status, out_of_memory, was_stopped });
            }
            _ => {}
        }
    }
}

/// Listens for as long as anybody waits. `driver` is the label of this process's containers.
pub(crate) async fn listen(docker: Docker, driver: String, ends: Weak<Ends>) {
    let events = ["oom", "kill", "die"].map(str::to_owned).to_vec();
    let filters = HashMap::from([("event", events), ("label", vec![driver])]);
    loop {
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let mut events = Box::pin(docker.events(Some(options)));
        while let Some(Ok(event)) = events.next().await {
            match Weak::upgrade(&ends) {
                Some(ends) => Arc::as_ref(&ends).hear(&event),
                None => return,
            }
        }
        match Weak::upgrade(&ends) {
            Some(ends) => ends.broke_off(),
            None => return,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bollard::models::EventActor;

    use super::*;

    fn event(action: &str, container: &str, status: Option<&str>) -> EventMessage {
        let attributes = status.map(|s| HashMap::from([("exitCode".to_owned(), s.to_owned())]));
        EventMessage {
            action: Some(action.into()),
            actor: Some(EventActor { id: Some(container.into()), attributes }),
            ..EventMessage::default()
        }
    }

    /// The event of a container's end.
    pub(crate) fn died(container: &str, status: i32) -> EventMessage {
        event("die", container, Some(&status.to_string()))
    }

    #[tokio::test]
    async fn an_end_has_its_status_and_says_whether_memory_ran_out() {
        let ends = Ends::default();
        let (a, b) = (ends.expect("a"), ends.expect("b"));
        ends.hear(&event("oom", "a", None));
        assert!(ends.has_run_out_of_memory("a") && !ends.has_run_out_of_memory("b"));
        ends.hear(&event("die", "b", Some("3")));
        ends.hear(&event("die", "a", Some("137")));
        ends.hear(&event("die", "a stranger", Some("1")));
        let c = ends.expect("c");
        let podmans = HashMap::from([("containerExitCode".to_owned(), "4".to_owned())]);
        let mut died = event("died", "c", None);
        died.actor.as_mut().unwrap().attributes = Some(podmans);
        ends.hear(&died);
        assert_eq!(c.await.unwrap().status, Some(4));
        let a = a.await.unwrap();
        assert_eq!(a, End { status: Some(137), out_of_memory: true, ..End::default() });
        assert_eq!(b.await.unwrap(), End { status: Some(3), ..End::default() });
    }

    #[tokio::test]
    async fn a_container_that_the_daemon_sent_a_signal_did_not_end_by_itself() {
        let ends = Ends::default();
        let (a, b) = (ends.expect("a"), ends.expect("b"));
        ends.hear(&event("kill", "a", None));
        ends.hear(&event("die", "a", Some("143")));
        ends.hear(&event("die", "b", Some("143")));
        assert!(a.await.unwrap().was_stopped && !b.await.unwrap().was_stopped);
    }
}
