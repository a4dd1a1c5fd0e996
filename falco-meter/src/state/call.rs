//! One call, as lists show it.

use falco_trace::{Call, CallError, Micros};
use serde::Serialize;

/// One call of a list.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CallState {
    stage: String,
    id: String,
    attempt: u32,
    outcome: &'static str,
    sent: Micros,
    took: Micros,
    queue: Option<Micros>,
    init: Option<Micros>,
    ran: Option<Micros>,
    cold: Option<bool>,
    container: Option<String>,
    activation: Option<String>,
    usd: Option<f64>,
    error: Option<CallError>,
}

impl CallState {
    pub(crate) fn of(call: &Call<'_>) -> Self {
        let own = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let from = if call.last { call.at } else { call.sent_at() };
        Self {
            stage: call.stage.to_string(),
            id: call.invocation.to_string(),
            attempt: call.attempt,
            outcome: call.outcome.as_str(),
            sent: call.sent_at(),
            took: call.done.since(from),
            queue: call.queue,
            init: call.init,
            ran: call.ran,
            cold: call.cold,
            container: own(&call.container),
            activation: own(&call.activation),
            usd: call.cost.map(|cost| cost.as_dollars()),
            error: call.error.clone(),
        }
    }
}
