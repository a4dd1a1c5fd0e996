//! Collecting many activations with few requests.
//!
//! The API lists activations by the time at which they *began*, newest first, and only those that have ended. So one that
//! began early and took long appears deep in the list, behind all that were seen long ago: reading only what is newer than
//! the newest seen would miss it for ever. What is done here instead:
//!
//! - a few activations are asked for by their ids, each when it is likely to have ended;
//! - for many, each look reads the list from the top until it meets records that were seen: one request, when little is
//!   new;
//! - the server's own count says whether something has appeared further down; only then all of it is read again;
//! - stragglers are asked for by their ids, a few at a time and more and more seldom.
//!
//! [`Schedule`] decides when and how to look, [`Walk`] which page comes next, [`Outstanding`] which activations are looked
//! for; none of them does I/O. Here requests are sent, and the outcome of each is applied in one step.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use falco_core::{ActivationId, Collected, Error, ErrorKind, Pending, Result};
use falco_http::reqwest::Method;
use falco_http::{BodyEnd, Reply};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::activation::to_activation;
use crate::call::Call;
use crate::client::{Api, SMALL, parse, parse_list};
use crate::outstanding::{Allowances, Outstanding, Plan, Row, number};
use crate::schedule::{How, Schedule};
use crate::walk::{PageRequest, Rows, Walk};
use crate::wire::{Count, Record, object};

/// A page of the list is at most so large; where records are large, a page has fewer.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// A single record is at most so large: a result and its log.
pub(crate) const MAX_RECORD_BYTES: u64 = 128 << 20;

/// Pages that one call reads at most: then the caller gets what was found, and comes again at once.
const PAGES_PER_CALL: usize = 16;

/// The activations of all deployments that this platform object has submitted or was asked for.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    deployments: Mutex<HashMap<String, Arc<Tracker>>>,
}

/// The activations of one deployment.
#[derive(Debug)]
pub(crate) struct Tracker {
    state: Mutex<State>,
    /// Held during a look: several callers look once.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    outstanding: Outstanding,
    walk: Walk,
    schedule: Schedule,
}

impl Collector {
    pub(crate) fn tracker(&self, deployment: &str) -> Arc<Tracker> {
        let mut deployments = lock(&self.deployments);
        deployments.entry(deployment.to_owned()).or_insert_with(|| Arc::new(Tracker::new())).clone()
    }

    /// Lets go of activations of a deployment, if any of them was asked for.
    pub(crate) fn release(&self, deployment: &str, ids: &[ActivationId]) {
        let tracker = lock(&self.deployments).get(deployment).cloned();
        if let Some(tracker) = tracker {
            tracker.state().outstanding.release(ids);
        }
    }

    pub(crate) fn forget(&self, deployment: &str) {
        lock(&self.deployments).remove(deployment);
    }
}

/// Poisoned means that a panic passed through, and no state is half-changed between two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tracker {
    fn new() -> Self {
        let state =
            State { outstanding: Outstanding::new(), walk: Walk::new(), schedule: Schedule::new() };
        Self { state: Mutex::new(state), looking: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn expect(&self, pending: &Pending) {
        self.state().outstanding.expect(pending, Instant::now());
    }

    /// The outcomes of `pending` that are known after one look. Whatever was read is kept, so that it may be dropped
    /// at any await.
    pub(crate) async fn collect(
        &self,
        api: &Api,
        name: &str,
        pending: &[Pending],
        allowances: Allowances,
        max_interval: Duration,
    ) -> Result<Collected> {
        for pending in pending {
            self.expect(pending);
        }
        let look = Look { tracker: self, api, call: Call::on("collect", name), name };
        let looked = {
            let _one_at_a_time = self.looking.lock().await;
            look.look(allowances).await
        };
        let mut state = self.state();
        // An activation is never reported as lost: a record that is not there may still come.
        let (finished, gone) = state.outstanding.found(pending);
        match looked {
            Err(error) if finished.is_empty() && gone.is_empty() => Err(error),
            looked => {
                let is_from_memory = matches!(looked, Ok(Looked::NotYet));
                let news = matches!(looked, Ok(Looked::News));
                let poll_after = state.pause(Instant::now(), news, max_interval);
                Ok(Collected::new(finished, gone, poll_after).with_from_memory(is_from_memory))
            }
        }
    }
}

impl State {
    /// Begins a look; `None` when it is too soon for one.
    fn begin(&mut self, now: Instant, allowances: &Allowances) -> Option<Plan> {
        let waiting = self.outstanding.waiting();
        let how = self.schedule.begin(now, waiting, self.walk.is_unfinished())?;
        let plan = self.outstanding.plan(now, how, allowances);
        if let (Some(since), How::List { from_top }) = (plan.since, how) {
            if self.outstanding.cover(since) {
                self.walk.read_all();
            } else if from_top {
                self.walk.begin();
            }
        }
        Some(plan)
    }

    /// Takes in a page of the list; whether it has the record of an activation that was waited for.
    fn take_page(&mut self, call: &Call<'_>, reply: &Reply) -> Result<bool> {
        /// Enough of a record to find one's way.
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow, rename = "activationId")]
            id: Cow<'a, str>,
            start: u64,
        }
        let raw_rows: Vec<&RawValue> = parse_list(call, reply)?;
        let mut rows = Rows { count: raw_rows.len(), ..Rows::default() };
        let mut news = false;
        for raw in raw_rows {
            let Ok(head) = object::<Head<'_>>(raw.get().as_bytes()) else {
                tracing::warn!(
                    function = call.operation.function(),
                    "a record of the list makes no sense"
                );
                continue;
            };
            let id = ActivationId::new(head.id.into_owned());
            let Some(key) = number(&id) else { continue };
            let row = Row { id: key, start: head.start };
            let was_seen = self.outstanding.see(&row);
            rows.add(row.start, was_seen);
            if was_seen {
                continue;
            }
            let wanted = self.outstanding.wants(&id, raw.get().len());
            match wanted.then(|| self.deliver(call, raw.get())) {
                Some(Ok(age)) => news |= age.is_some(),
                _ => self.outstanding.pass_over(&row),
            }
        }
        self.walk.page(&rows);
        Ok(news)
    }

    /// Takes in a record; the age of its activation, if that was waited for.
    fn deliver(&mut self, call: &Call<'_>, json: &str) -> Result<Option<Duration>> {
        let record: Record<'_> = object(json.as_bytes()).map_err(|e| {
            Error::new(ErrorKind::Protocol, "the record of an activation makes no sense")
                .with_source(&e)
        })?;
        let id = ActivationId::new(&*record.id);
        // Whether the function ran is in doubt for the activation, and not for the collecting of it.
        let doubtful = Call { runs_code: true, ..*call };
        let answer = match to_activation(&record) {
            Err(e) if record.response.is_none() => return Err(e),
            answer => answer.map_err(|e| doubtful.apply(e)),
        };
        Ok(self.outstanding.deliver(&id, answer, Instant::now()))
    }

    fn pause(&mut self, now: Instant, news: bool, max: Duration) -> Duration {
        let fresh = self.outstanding.take_new();
        if self.walk.is_unfinished() && news {
            return Duration::ZERO;
        }
        let next_due = self.outstanding.next_due(self.schedule.first_ask());
        self.schedule.pause(now, news || fresh, next_due, max)
    }
}

/// The outcome of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// It was too soon to ask anything.
    NotYet,
    NoNews,
    /// It found an activation that was waited for.
    News,
}

/// One look at the server.
struct Look<'a> {
    tracker: &'a Tracker,
    api: &'a Api,
    call: Call<'a>,
    /// The action, as the list filters by it.
    name: &'a str,
}

impl Look<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.tracker.state()
    }

    /// Reads what is new.
    async fn look(&self, allowances: Allowances) -> Result<Looked> {
        let plan = self.state().begin(Instant::now(), &allowances);
        let Some(Plan { since, by_id }) = plan else { return Ok(Looked::NotYet) };
        if since.is_none() && by_id.is_empty() {
            return Ok(Looked::NotYet);
        }
        let asked = self.ask_all(&by_id, since.is_none()).await;
        let news = match since {
            Some(since) => self.read_list(since).await? | asked.unwrap_or(false),
            None => asked?,
        };
        Ok(if news { Looked::News } else { Looked::NoNews })
    }

    async fn read_list(&self, since: u64) -> Result<bool> {
        let mut news = false;
        for _ in 0..PAGES_PER_CALL {
            let page = self.state().walk.next();
            match page {
                Some(page) => news |= self.read_page(since, page).await?,
                None if self.something_hides(since).await => self.state().walk.read_below(),
                None => break,
            }
        }
        Ok(news)
    }

    async fn read_page(&self, since: u64, page: PageRequest) -> Result<bool> {
        let mut query = vec![
            ("name", self.name.to_owned()),
            ("since", since.to_string()),
            ("limit", page.limit.to_string()),
            ("skip", page.skip.to_string()),
            ("docs", "true".to_owned()),
        ];
        query.extend(page.upto.map(|upto| ("upto", upto.to_string())));
        let request = self.api.own(Method::GET, ["activations"]).query(&query);
        let reply = self.api.expect_success(&self.call, request, MAX_PAGE_BYTES).await?;
        let mut state = self.state();
        if matches!(reply.end, BodyEnd::OverLimit(_)) {
            if state.walk.too_large() {
                tracing::warn!(name = self.name, "a record is too large to be listed");
            }
            return Ok(false);
        }
        state.take_page(&self.call, &reply)
    }

    /// Whether the server has more records than were seen: then some have appeared behind those.
    async fn something_hides(&self, since: u64) -> bool {
        let now = Instant::now();
        {
            let mut state = self.state();
            if !state.walk.ends_at_seen() || !state.schedule.counts(now) {
                return false;
            }
        }
        let count = self.count(since).await.ok();
        let mut state = self.state();
        let seen = state.outstanding.seen_since(since);
        state.schedule.reads_in_full(now, seen, count)
    }

    async fn count(&self, since: u64) -> Result<u64> {
        let query = [("name", self.name), ("since", &since.to_string()), ("count", "true")];
        let request = self.api.own(Method::GET, ["activations"]).query(&query);
        let reply = self.api.expect_success(&self.call, request, SMALL).await?;
        Ok(parse::<Count>(&self.call, &reply)?.activations)
    }

    /// Asks for activations by their ids. `learns` says whether their ages are those at which they are found.
    async fn ask_all(&self, ids: &[ActivationId], learns: bool) -> Result<bool> {
        let answers = join_all(ids.iter().map(|id| self.ask(id))).await;
        let (mut news, mut failure) = (false, None);
        for answer in answers {
            match answer {
                Ok(None) => {}
                Ok(Some(age)) => {
                    news = true;
                    if learns {
                        self.state().schedule.learn(age);
                    }
                }
                Err(e) => failure = Some(e),
            }
        }
        match failure {
            Some(error) if !news => Err(error),
            _ => Ok(news),
        }
    }

    /// Asks for one activation; its age, if its record is there. A server that does not have the path says no more than
    /// one that does not have the record: the list may.
    async fn ask(&self, id: &ActivationId) -> Result<Option<Duration>> {
        let request = self.api.own(Method::GET, ["activations", id.as_str()]);
        let reply = match self.api.find(&self.call, request, MAX_RECORD_BYTES).await {
            Ok(Some(reply)) => reply,
            Ok(None) => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(None),
            Err(e) => return Err(e),
        };
        let text = reply.whole_body().map_err(|e| self.call.apply(e))?;
        let text = String::from_utf8_lossy(text);
        let delivered = self.state().deliver(&self.call, &text);
        delivered.map_err(|e| self.call.apply(e))
    }
}
