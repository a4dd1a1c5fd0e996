//! Ways to misbehave.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Reply, Request, lock};

/// Answers some requests with an error instead of, or after, doing what they ask.
///
/// # Examples
///
/// ```
/// use falco_fakes::http::Fault;
///
/// // Three per cent of all calls find no instance.
/// let busy = Fault::answer("POST /run/", 429, "Rate exceeded.").share(0.03);
/// // The next request to make a function is served, and its answer is lost.
/// let lost = Fault::reset("CreateFunction").after_doing_it().times(1);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    part: String,
    share: f64,
    left: Option<u32>,
    after: bool,
    delay: Duration,
    kind: Kind,
    /// A generator of its own, so that a share is the same in each run.
    random: fastrand::Rng,
}

type Change = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

#[derive(Clone)]
pub(super) enum Kind {
    Reply(Reply),
    /// Another reply in place of what would be answered.
    Change(Arc<Change>),
    /// The connection is closed without an answer.
    Reset,
    /// The answer breaks off, and the connection with it.
    Truncated,
    /// No answer ever comes.
    Silence,
}

impl Fault {
    fn new(part: &str, kind: Kind) -> Self {
        let random = fastrand::Rng::with_seed(7);
        Self {
            part: part.to_owned(),
            share: 1.0,
            left: None,
            after: false,
            delay: Duration::ZERO,
            kind,
            random,
        }
    }

    /// Answers requests whose [`line`](Request::line) contains `part` with `status` and `body`, and does nothing of what
    /// they ask.
    ///
    /// `{bearer}` in `body` stands for the token that came, as some servers quote it.
    pub fn answer(part: &str, status: u16, body: &str) -> Self {
        let reply = Reply::new(status, body.to_owned());
        Self::reply(part, reply.with_header("content-type", "application/json"))
    }

    /// Gives `reply`, as [`answer`](Self::answer) does.
    pub fn reply(part: &str, reply: Reply) -> Self {
        Self::new(part, Kind::Reply(reply))
    }

    /// Makes another reply of what would be answered, also by another fault; what was asked for has happened anyway.
    pub fn change(
        part: &str,
        change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::new(part, Kind::Change(Arc::new(change)))
    }

    /// Closes the connection instead of answering.
    pub fn reset(part: &str) -> Self {
        Self::new(part, Kind::Reset)
    }

    /// Answers with half of a body, then closes the connection.
    pub fn truncated(part: &str) -> Self {
        Self::new(part, Kind::Truncated)
    }

    /// Never answers.
    pub fn silence(part: &str) -> Self {
        Self::new(part, Kind::Silence)
    }

    /// Does what is asked before it misbehaves.
    #[must_use]
    pub fn after_doing_it(mut self) -> Self {
        self.after = true;
        self
    }

    /// Waits for so long before it misbehaves.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// So many times only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.left = Some(times);
        self
    }

    /// For this share of the requests, chosen at random in the same way each time.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// With a header, in place of one of the same name, if it answers.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Kind::Reply(reply) = &mut self.kind {
            reply.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            reply.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    fn is_change(&self) -> bool {
        matches!(self.kind, Kind::Change(_))
    }

    /// Whether it strikes now.
    fn strikes(&mut self, line: &str) -> bool {
        if !line.contains(&self.part) || self.left == Some(0) || self.random.f64() >= self.share {
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reply(_) => "Reply",
            Self::Change(_) => "Change",
            Self::Reset => "Reset",
            Self::Truncated => "Truncated",
            Self::Silence => "Silence",
        })
    }
}

/// The faults of a fake. Clones share them, so that a provider can hold them for the requests that it makes itself.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    faults: Mutex<Vec<Fault>>,
    strikes: AtomicU64,
}

/// The faults of a request.
#[derive(Debug)]
pub(crate) struct Strike {
    pub(super) kind: Kind,
    pub(super) delay: Duration,
    /// Whether the request has its effect before.
    pub(crate) after: bool,
}

impl Strike {
    /// The status of the answer, if there is one.
    #[cfg(feature = "gcp")]
    pub(crate) fn status(&self) -> u16 {
        match &self.kind {
            Kind::Reply(reply) => reply.status,
            _ => 503,
        }
    }
}

impl Faults {
    /// Adds a fault: of several that match, the one that was added first strikes.
    pub fn inject(&self, fault: Fault) {
        lock(&self.0.faults).push(fault);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        lock(&self.0.faults).clear();
    }

    /// How many requests have met a fault so far.
    pub fn strikes(&self) -> u64 {
        self.0.strikes.load(Ordering::Relaxed)
    }

    /// The fault that a request meets.
    pub(crate) fn strike(&self, line: &str) -> Option<Strike> {
        let mut faults = lock(&self.0.faults);
        let mut others = faults.iter_mut().filter(|fault| !fault.is_change());
        let strike = others.find_map(|fault| {
            let (kind, delay, after) = (fault.kind.clone(), fault.delay, fault.after);
            fault.strikes(line).then_some(Strike { kind, delay, after })
        })?;
        self.0.strikes.fetch_add(1, Ordering::Relaxed);
        Some(strike)
    }

    /// The reply after all changes that match.
    pub(super) fn changed(&self, request: &Request, mut reply: Reply) -> Reply {
        let line = request.line();
        let striking: Vec<Kind> = {
            let mut faults = lock(&self.0.faults);
            let changes = faults.iter_mut().filter(|fault| fault.is_change());
            changes.filter_map(|fault| fault.strikes(&line).then(|| fault.kind.clone())).collect()
        };
        for kind in striking {
            if let Kind::Change(change) = kind {
                self.0.strikes.fetch_add(1, Ordering::Relaxed);
                reply = change(request, reply);
            }
        }
        reply
    }
}
