//! Everything that is logged, in one string to search: for tests that demand that a secret appears nowhere.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Event, Metadata, Subscriber};

/// Collects what this thread logs through `tracing`, at every level, spans and their fields included.
///
/// Under a current-thread runtime, which `#[tokio::test]` is, that is everything; it ends when this is dropped.
///
/// # Examples
///
/// ```
/// use falco_testkit::LogCapture;
///
/// let log = LogCapture::start();
/// tracing::trace!(user = "ada", "asked for a token");
/// assert!(log.text().contains("ada") && !log.text().contains("marked-secret"));
/// ```
#[derive(Debug)]
pub struct LogCapture {
    text: Arc<Mutex<String>>,
    _guard: DefaultGuard,
}

impl LogCapture {
    /// Collects from now on.
    pub fn start() -> Self {
        let text = Arc::default();
        let collector = Collector { text: Arc::clone(&text), next_span: AtomicU64::new(1) };
        Self { text, _guard: set_default(collector) }
    }

    /// All that was logged so far, a line each.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Collector {
    text: Arc<Mutex<String>>,
    next_span: AtomicU64,
}

impl Collector {
    fn line(&self, about: &str, record: impl FnOnce(&mut Fields<'_>)) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(about);
        record(&mut Fields(&mut text));
        text.push('\n');
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.line(span.metadata().name(), |fields| span.record(fields));
        Id::from_u64(self.next_span.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.line("", |fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.line(event.metadata().target(), |fields| event.record(fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {field}={value}");
    }
}
