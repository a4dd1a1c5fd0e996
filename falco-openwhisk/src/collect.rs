//! Collecting many activations with few requests.
//!
//! The API lists activations by the time at which they *began*, newest first, and only those that have ended. So one that
//! began early and took long appears deep in the list, behind all that were seen long ago: whoever only reads what is
//! newer than the newest seen misses it for ever. What is done here instead:
//!
//! - each look reads from the top until it meets what it has seen: one request, when little is new;
//! - the server's own count tells whether something has appeared further down; only then all of it is read again;
//! - what is far behind, and old, is asked for by its id, a few at a time and more and more seldom.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use falco_core::{ActivationId, Collected, Error, Pending, Result};
use falco_http::reqwest::Method;
use falco_http::{BodyEnd, Reply};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::activation::{failed_by_platform, judge};
use crate::client::{Api, SMALL, parse, parse_list};
use crate::operation::Operation;
use crate::outstanding::{Cursor, MIN_INTERVAL, Outstanding, Plan, Row, number};
use crate::wire::{Count, Record, object};

/// A page of the list is at most so large; where records are large, a page has fewer.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// A single record is at most so large: a result and its log.
pub(crate) const MAX_RECORD_BYTES: u64 = 128 << 20;

/// Pages that one call reads at most: then the caller gets what was found, and comes again at once.
const PAGES_PER_CALL: usize = 16;

const COUNT_INTERVAL: Duration = Duration::from_millis(500);

/// The activations of all deployments that this platform object has submitted or was asked for.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    deployments: Mutex<HashMap<String, Arc<Watch>>>,
}

/// The activations of one deployment.
#[derive(Debug)]
pub(crate) struct Watch {
    outstanding: Mutex<Outstanding>,
    /// Held while the list is read: several callers look once.
    looking: tokio::sync::Mutex<()>,
}

/// How the collector looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) tolerance: Duration,
    pub(crate) behind: Duration,
    pub(crate) patience: Duration,
    pub(crate) max_interval: Duration,
}

impl Collector {
    pub(crate) fn watch(&self, deployment: &str) -> Arc<Watch> {
        let mut deployments = lock(&self.deployments);
        let watch = deployments.entry(deployment.to_owned()).or_insert_with(|| {
            Arc::new(Watch {
                outstanding: Mutex::new(Outstanding::new()),
                looking: tokio::sync::Mutex::default(),
            })
        });
        watch.clone()
    }

    /// Lets go of activations of a deployment, if anybody has asked for any of them.
    pub(crate) fn release(&self, deployment: &str, ids: &[ActivationId]) {
        let watch = lock(&self.deployments).get(deployment).cloned();
        if let Some(watch) = watch {
            lock(&watch.outstanding).release(ids);
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

impl Watch {
    pub(crate) fn expect(&self, pending: &Pending) {
        lock(&self.outstanding).expect(pending);
    }

    /// What has become of `pending`. Whatever was read is kept, so that it may be dropped anywhere.
    pub(crate) async fn collect(
        &self,
        api: &Api,
        name: &str,
        pending: &[Pending],
        settings: Settings,
    ) -> Result<Collected> {
        // What is no id of this server's is no news, and is not worth a request.
        for pending in pending.iter().filter(|pending| number(&pending.id).is_some()) {
            self.expect(pending);
        }
        let look = Look { watch: self, api, operation: Operation::on("collect", name), name };
        let (news, failure) = {
            let _one_at_a_time = self.looking.lock().await;
            match look.look(settings).await {
                Ok(news) => (news, None),
                Err(e) => (0, Some(e)),
            }
        };
        let mut outstanding = lock(&self.outstanding);
        let finished = outstanding.found(pending);
        match failure {
            Some(error) if finished.is_empty() => Err(error),
            _ => {
                let poll_after = outstanding.pause(news, settings.max_interval);
                // It never knows that an activation is lost: a record that is not there may still come.
                Ok(Collected::new(finished, Vec::new(), poll_after))
            }
        }
    }
}

/// One look at the server.
struct Look<'a> {
    watch: &'a Watch,
    api: &'a Api,
    operation: Operation<'a>,
    /// The action, as the list filters by it.
    name: &'a str,
}

/// What a page of the list brought.
#[derive(Debug, Default)]
struct Page {
    rows: usize,
    full: bool,
    news: usize,
    oldest: Option<u64>,
    at_oldest: usize,
    oldest_was_seen: bool,
}

impl Look<'_> {
    fn state(&self) -> MutexGuard<'_, Outstanding> {
        lock(&self.watch.outstanding)
    }

    /// Reads what is new; the number of records that are.
    async fn look(&self, settings: Settings) -> Result<usize> {
        let now = Instant::now();
        let (plan, from_top) = {
            let mut state = self.state();
            if !state.is_waiting() {
                return Ok(0);
            }
            let too_soon = state.last_look.is_some_and(|last| now < last + MIN_INTERVAL);
            if too_soon && state.resume.is_none() {
                return Ok(0);
            }
            let Settings { tolerance, behind, patience, .. } = settings;
            let plan = state.plan(now, tolerance, behind, patience);
            if let Some(since) = plan.since {
                state.look_since(since);
            }
            if !too_soon {
                state.last_look = Some(now);
            }
            (plan, !too_soon)
        };
        let by_id = self.ask_for(&plan).await;
        let Some(since) = plan.since else { return by_id };
        let listed = self.read_list(since, from_top, now).await?;
        Ok(listed + by_id.unwrap_or(0))
    }

    async fn read_list(&self, since: u64, from_top: bool, now: Instant) -> Result<usize> {
        let mut budget = PAGES_PER_CALL;
        let mut news = 0;
        let mut bottom = None;
        let starts_at_top = |cursor: &Cursor| cursor.upto.is_none();
        let left = self.state().resume;
        if from_top && !left.as_ref().is_some_and(starts_at_top) {
            let top = Cursor { until_seen: true, ..Cursor::default() };
            let walk = self.walk(since, top, left, &mut budget).await?;
            news += walk.news;
            bottom = walk.bottom;
        }
        let resume = self.state().resume;
        if let Some(cursor) = resume {
            return Ok(news + self.walk(since, cursor, None, &mut budget).await?.news);
        }
        if let Some(bottom) = bottom
            && self.something_hides(since, now).await
        {
            let cursor = Cursor { until_seen: false, ..bottom };
            news += self.walk(since, cursor, None, &mut budget).await?.news;
        }
        Ok(news)
    }

    /// Reads the list from `cursor` down to `since`. Where it is left, or dropped, is kept for the next time; `left` is
    /// where an earlier walk was left, further down.
    async fn walk(
        &self,
        since: u64,
        mut cursor: Cursor,
        left: Option<Cursor>,
        budget: &mut usize,
    ) -> Result<Walk> {
        let mut news = 0;
        loop {
            let resume = match left {
                // Two places to go on from become one, from which everything is read.
                Some(_) if cursor.upto.is_some() => Some(Cursor { until_seen: false, ..cursor }),
                Some(left) => Some(left),
                None => (cursor.upto.is_some() || !cursor.until_seen).then_some(cursor),
            };
            self.state().resume = resume;
            if *budget == 0 {
                return Ok(Walk { news, bottom: None });
            }
            let page = self.page(since, cursor).await?;
            *budget -= 1;
            news += page.news;
            let next = page.oldest.map(|oldest| Cursor {
                upto: Some(oldest),
                skip: if cursor.upto == Some(oldest) { cursor.skip } else { 0 } + page.at_oldest,
                until_seen: cursor.until_seen,
            });
            let met = cursor.until_seen && page.oldest_was_seen;
            match next {
                Some(next) if page.full && !met => cursor = next,
                // A page without a single readable row: past it, if it was one that is too large.
                None if page.full => cursor.skip += page.rows,
                next => {
                    self.state().resume = left;
                    return Ok(Walk { news, bottom: next.filter(|_| page.full) });
                }
            }
        }
    }

    async fn page(&self, since: u64, cursor: Cursor) -> Result<Page> {
        loop {
            let size = self.state().page_size;
            let mut query = vec![
                ("name", self.name.to_owned()),
                ("since", since.to_string()),
                ("limit", size.to_string()),
                ("skip", cursor.skip.to_string()),
                ("docs", "true".to_owned()),
            ];
            query.extend(cursor.upto.map(|upto| ("upto", upto.to_string())));
            let request = self.api.own(Method::GET, ["activations"]).query(&query);
            let reply = self.api.expect_success(&self.operation, request, MAX_PAGE_BYTES).await?;
            if !matches!(reply.end, BodyEnd::OverLimit(_)) {
                let page = self.take_in(&reply, size)?;
                self.state().page_size = (size * 2).min(crate::outstanding::PAGE);
                return Ok(page);
            }
            if size == 1 {
                tracing::warn!(name = self.name, "a record is too large to be listed");
                return Ok(Page { rows: 1, full: true, ..Page::default() });
            }
            self.state().page_size = size / 2;
        }
    }

    fn take_in(&self, reply: &Reply, size: usize) -> Result<Page> {
        /// Enough of a record to find one's way.
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow, rename = "activationId")]
            id: std::borrow::Cow<'a, str>,
            start: u64,
        }
        let rows: Vec<&RawValue> = parse_list(&self.operation, reply)?;
        let mut page = Page { rows: rows.len(), full: rows.len() >= size, ..Page::default() };
        let mut state = self.state();
        for raw in rows {
            let Ok(head) = object::<Head<'_>>(raw.get().as_bytes()) else {
                tracing::warn!(name = self.name, "a record of the list makes no sense");
                continue;
            };
            let id = ActivationId::new(head.id.into_owned());
            let Some(key) = number(&id) else { continue };
            let row = Row { id: key, start: head.start };
            let was_seen = state.has_seen(&row);
            if page.oldest.is_none_or(|oldest| row.start < oldest) {
                (page.oldest, page.at_oldest) = (Some(row.start), 0);
                page.oldest_was_seen = was_seen;
            }
            page.at_oldest += usize::from(page.oldest == Some(row.start));
            if was_seen {
                continue;
            }
            state.see(&row);
            if state.wants(&id, raw.get().len()) && deliver(&mut state, raw.get()).is_ok() {
                page.news += 1;
            } else {
                state.pass_over(&row);
            }
        }
        Ok(page)
    }

    /// Whether the server has more records than were seen: then some have appeared behind those.
    async fn something_hides(&self, since: u64, now: Instant) -> bool {
        let (walk_is_due, seen) = {
            let mut state = self.state();
            if state.next_count.is_some_and(|at| now < at) {
                return false;
            }
            state.next_count = Some(now + COUNT_INTERVAL);
            let due = *state.next_full_walk.get_or_insert(now + Duration::from_secs(5)) <= now;
            (due, state.seen_since(since))
        };
        let pages = seen / crate::outstanding::PAGE as u64;
        let hidden = self.count(since).await.map_or(0, |count| count.saturating_sub(seen));
        // Few are not worth many pages yet; but nothing waits for ever.
        let hides = hidden > pages / 4 || walk_is_due;
        if hides {
            let rest = Duration::from_secs(5).max(Duration::from_millis(250 * pages));
            self.state().next_full_walk = Some(now + rest);
        }
        hides
    }

    async fn count(&self, since: u64) -> Result<u64> {
        let query = [("name", self.name), ("since", &since.to_string()), ("count", "true")];
        let request = self.api.own(Method::GET, ["activations"]).query(&query);
        let reply = self.api.expect_success(&self.operation, request, SMALL).await?;
        Ok(parse::<Count>(&self.operation, &reply)?.activations)
    }

    /// Asks for the stragglers by their ids. That a record is not there is no news.
    async fn ask_for(&self, plan: &Plan) -> Result<usize> {
        let answers = join_all(plan.by_id.iter().map(|id| self.ask(id))).await;
        let mut news = 0;
        let mut failure = None;
        for answer in answers {
            match answer {
                Ok(found) => news += usize::from(found),
                Err(e) => failure = Some(e),
            }
        }
        match failure {
            Some(error) if news == 0 => Err(error),
            _ => Ok(news),
        }
    }

    async fn ask(&self, id: &ActivationId) -> Result<bool> {
        let request = self.api.own(Method::GET, ["activations", id.as_str()]);
        let found = self.api.find(&self.operation, request, MAX_RECORD_BYTES).await?;
        let Some(reply) = found else { return Ok(false) };
        let text = reply.whole_body().map_err(|e| self.operation.apply(e))?;
        let text = String::from_utf8_lossy(text);
        deliver(&mut self.state(), &text).map(|()| true).map_err(|e| self.operation.apply(e))
    }
}

struct Walk {
    news: usize,
    /// Where it ended, if that is not the end of the list.
    bottom: Option<Cursor>,
}

/// Takes in a record. The platform's own failures have no other place than the activation's outcome.
fn deliver(state: &mut Outstanding, json: &str) -> Result<()> {
    let record: Record<'_> = object(json.as_bytes()).map_err(|e| {
        Error::new(falco_core::ErrorKind::Protocol, "the record of an activation makes no sense")
            .with_source(&e)
    })?;
    let activation = match judge(&record) {
        Ok(activation) => activation,
        Err(e) if record.response.is_none() => return Err(e),
        Err(e) => failed_by_platform(&record, &e),
    };
    state.deliver(activation);
    Ok(())
}
