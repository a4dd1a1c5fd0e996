//! The fates of calls: the faults that a test orders.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use falco_core::{Error, ErrorKind, FunctionError, FunctionErrorKind, Invocation};

/// The methods of a platform, as a test counts and disturbs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the trait's method of that name")]
pub enum Operation {
    Deploy,
    FetchDeployment,
    ListDeployments,
    Scale,
    Remove,
    Invoke,
    Submit,
    Collect,
    ActivationLog,
}

impl Operation {
    /// The method's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::FetchDeployment => "fetch_deployment",
            Self::ListDeployments => "list_deployments",
            Self::Scale => "scale",
            Self::Remove => "remove",
            Self::Invoke => "invoke",
            Self::Submit => "submit",
            Self::Collect => "collect",
            Self::ActivationLog => "activation_log",
        }
    }
}

/// A call that has reached the platform.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Call<'a> {
    /// The method.
    pub operation: Operation,
    /// The number of the call among those of this method, from 1.
    pub number: u64,
    /// The function's name; empty for `list_deployments`.
    pub function: &'a str,
    /// The invocation to run, for `invoke` and `submit`.
    pub invocation: Option<&'a Invocation>,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        operation: Operation,
        number: u64,
        function: &'a str,
        invocation: Option<&'a Invocation>,
    ) -> Self {
        Self { operation, number, function, invocation }
    }
}

/// The fate of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fate {
    /// It is served.
    Serve,
    /// The platform answers with this error at once, and nothing ran.
    Refuse(Error),
    /// It is served, and the caller gets this error instead of the answer. A submitted activation runs, and nobody
    /// knows its id.
    LoseAnswer(Error),
    /// The function fails in this way after its time; as [`Serve`](Self::Serve) for what runs no function.
    FailFunction(FunctionError),
    /// No answer ever comes; the call can only be dropped. An invoked activation runs until then.
    Hang,
    /// The activation runs to its end, and nobody hears of it: its record never appears, and an invoke hangs.
    Lose,
    /// A submitted activation is reported as gone when its time is over, and the error is `Lost`. An invoked one ends
    /// with that error.
    Vanish,
    /// A submitted activation is accepted, and `collect` reports it as gone with this error when its time is over.
    /// An invoked one ends with it.
    FailLate(Error),
    /// The platform's own code panics.
    Panic,
}

impl Fate {
    /// Refused for its rate, with the wait that the platform suggests.
    pub fn throttle(retry_after: Option<Duration>) -> Self {
        let error = Error::new(ErrorKind::Throttled, "too many requests");
        Self::Refuse(match retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        })
    }

    /// Refused because the platform has a fault; nothing ran.
    pub fn unavailable() -> Self {
        Self::Refuse(Error::new(ErrorKind::Unavailable, "the platform is out of order"))
    }

    /// Served, and the connection is reset before the answer: it may have run.
    pub fn reset() -> Self {
        Self::LoseAnswer(
            Error::new(ErrorKind::Unavailable, "connection reset").with_may_have_run(true),
        )
    }

    /// The function raises.
    pub fn raise() -> Self {
        Self::FailFunction(FunctionError::new(FunctionErrorKind::Raised, "raised on purpose"))
    }
}

/// Decides what becomes of each call.
///
/// # Examples
///
/// ```
/// use falco_testkit::{Fate, Fates, Odds, Operation};
///
/// let first_two_are_throttled = Fates::sequence([Fate::throttle(None), Fate::throttle(None)]);
/// let third_deploy_fails = Fates::by(|call| match (call.operation, call.number) {
///     (Operation::Deploy, 3) => Fate::unavailable(),
///     _ => Fate::Serve,
/// });
/// let noise = Fates::random(42, Odds { throttled: 0.05, lost: 0.01, ..Odds::default() });
/// # let _ = (first_two_are_throttled, third_deploy_fails, noise);
/// ```
#[derive(Clone, Default)]
pub struct Fates(Option<Arc<Decide>>);

type Decide = dyn Fn(&Call<'_>) -> Fate + Send + Sync;

impl Fates {
    /// Every call is served.
    pub const SERVE: Self = Self(None);

    /// As the test says, call by call.
    pub fn by(decide: impl Fn(&Call<'_>) -> Fate + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(decide)))
    }

    /// The first invocations that arrive, invoked or submitted, meet these fates in order; later ones are served.
    pub fn sequence(fates: impl IntoIterator<Item = Fate>) -> Self {
        let left = Mutex::new(fates.into_iter().collect::<Vec<_>>().into_iter());
        Self::by(move |call| match call.invocation {
            Some(_) => {
                left.lock().unwrap_or_else(PoisonError::into_inner).next().unwrap_or(Fate::Serve)
            }
            None => Fate::Serve,
        })
    }

    /// Each invocation of this id meets `fate` on each of its attempts; all others are served.
    pub fn of_invocation(id: impl Into<String>, fate: Fate) -> Self {
        let id = id.into();
        Self::by(move |call| match call.invocation {
            Some(invocation) if invocation.id().as_str() == id => fate.clone(),
            _ => Fate::Serve,
        })
    }

    /// Faults by chance. The same seed gives the n-th call of a method the same fate.
    pub fn random(seed: u64, odds: Odds) -> Self {
        Self::by(move |call| odds.draw(call, &mut rng(seed, call.operation, call.number)))
    }

    pub(crate) fn decide(&self, call: &Call<'_>) -> Fate {
        self.0.as_ref().map_or(Fate::Serve, |decide| decide(call))
    }
}

impl fmt::Debug for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Fates(programmed)" } else { "Fates(serve)" })
    }
}

/// How likely each fault is, from 0 to 1. Together they must not exceed 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Odds {
    /// An invocation is refused for its rate.
    pub throttled: f64,
    /// The wait that such a refusal suggests.
    pub retry_after: Option<Duration>,
    /// An invocation is refused, as unavailable; it does not run.
    pub unavailable: f64,
    /// An invocation runs, and its answer is lost on the way.
    pub reset: f64,
    /// A function raises.
    pub raised: f64,
    /// No answer ever comes to an invoke or a submit.
    pub hung: f64,
    /// The record of a submitted activation never appears.
    pub lost: f64,
    /// A submitted activation is reported as gone.
    pub gone: f64,
    /// The platform's code panics.
    pub panicked: f64,
    /// A collect fails: nothing is learned.
    pub collect_failed: f64,
}

impl Odds {
    fn draw(&self, call: &Call<'_>, rng: &mut fastrand::Rng) -> Fate {
        let chance = rng.f64();
        if call.operation == Operation::Collect {
            return if chance < self.collect_failed { Fate::unavailable() } else { Fate::Serve };
        }
        if call.invocation.is_none() {
            return Fate::Serve;
        }
        let mut below = 0.0;
        let mut hit = |odds: f64| {
            below += odds;
            chance < below
        };
        if hit(self.throttled) {
            Fate::throttle(self.retry_after)
        } else if hit(self.unavailable) {
            Fate::unavailable()
        } else if hit(self.reset) {
            Fate::reset()
        } else if hit(self.raised) {
            Fate::raise()
        } else if hit(self.hung) {
            Fate::Hang
        } else if hit(self.lost) {
            Fate::Lose
        } else if hit(self.gone) {
            Fate::Vanish
        } else if hit(self.panicked) {
            Fate::Panic
        } else {
            Fate::Serve
        }
    }
}

/// A random state of its own for each call, so that the order in which calls draw does not matter.
pub(super) fn rng(seed: u64, operation: Operation, number: u64) -> fastrand::Rng {
    let stream = (operation as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    let place = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut rng = fastrand::Rng::with_seed(seed ^ stream ^ place);
    // wyrand's first value still resembles its seed.
    rng.u64(..);
    rng
}
