//! A platform that keeps every promise but one.

mod platform;
mod submitting;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationLog, AsyncPlatform, Deployable, Deployment, Environment, Error,
    ErrorKind, FunctionError, FunctionErrorKind, Invocation, Payload, Pending, Result,
};
use tokio::time::{Instant, sleep};

use super::mutation::Mutation;

pub(super) struct Mutant {
    mutation: Mutation,
    inner: Arc<dyn AsyncPlatform>,
    one_at_a_time: tokio::sync::Mutex<()>,
    submitted: Mutex<Vec<Pending>>,
    released: Mutex<Vec<Activation>>,
    just_deployed: AtomicBool,
    crashed: AtomicBool,
    /// The variables of every deployment so far.
    variables: Mutex<Environment>,
    removed: Mutex<Vec<Deployment>>,
    removed_at: Arc<Mutex<Option<Instant>>>,
    /// The arguments that were stored with the function that was deployed last.
    arguments: Mutex<Option<Payload>>,
    /// The result that came before, for the one that comes next.
    last_result: Mutex<Option<Payload>>,
    first_log: Mutex<Option<ActivationLog>>,
    /// Calls that have begun and not ended; a dropped one never does.
    open: AtomicU32,
    deploys: AtomicU32,
    /// Functions whose deploy has begun and has not returned.
    unfinished: Mutex<BTreeSet<String>>,
    /// Functions that print while they are loaded, and were not called yet.
    talkative: Mutex<BTreeSet<String>>,
}

fn is_throttled<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Throttled)
}

/// Whether nobody knows what became of the call.
fn is_in_doubt<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().is_err_and(Error::may_have_run)
}

impl Mutant {
    pub(super) fn new(
        mutation: Mutation,
        inner: Arc<dyn AsyncPlatform>,
        removed_at: Arc<Mutex<Option<Instant>>>,
    ) -> Self {
        Self {
            mutation,
            inner,
            one_at_a_time: tokio::sync::Mutex::default(),
            submitted: Mutex::default(),
            released: Mutex::default(),
            just_deployed: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            variables: Mutex::default(),
            removed: Mutex::default(),
            removed_at,
            arguments: Mutex::default(),
            last_result: Mutex::default(),
            first_log: Mutex::default(),
            open: AtomicU32::new(0),
            deploys: AtomicU32::new(0),
            unfinished: Mutex::default(),
            talkative: Mutex::default(),
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    fn changed<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match (self.mutation, error.kind()) {
            (Mutation::CallsAbsenceAFailure, ErrorKind::NotFound) => {
                Error::new(ErrorKind::Unavailable, "nothing there")
            }
            (Mutation::TakesThrottlingForAFault, ErrorKind::Throttled) => {
                Error::new(ErrorKind::Unavailable, "429")
            }
            (Mutation::TakesARefusalForAFault, ErrorKind::Unauthorized) => {
                Error::new(ErrorKind::Unavailable, "401").with_hint("try again")
            }
            (Mutation::SaysThatALostCallDidNotRun, _) => error.with_may_have_run(false),
            (Mutation::TakesAnOutageForAFault, _) => error.with_unreachable(false),
            (Mutation::ListsNoRuntimes, ErrorKind::Unsupported) => {
                Error::unsupported("there is no such runtime")
            }
            (Mutation::CallsAnUnknownRuntimeInvalid, ErrorKind::Unsupported) => {
                Error::invalid_input(error.to_string())
            }
            (Mutation::CallsTooLongInvalid, ErrorKind::PayloadTooLarge) => {
                Error::invalid_input(error.to_string())
            }
            (Mutation::SaysThatARefusedCallMayHaveRun, _) => error.with_may_have_run(true),
            (Mutation::QuotesASecret, kind) => Error::new(kind, "the key is marked-key"),
            (Mutation::NamesNoImage, ErrorKind::Unsupported) => {
                Error::unsupported("it runs no images").with_hint("leave the image out")
            }
            (
                Mutation::NamesNothingBeforeSending,
                kind @ (ErrorKind::InvalidInput
                | ErrorKind::PayloadTooLarge
                | ErrorKind::Unsupported),
            ) => {
                let hint = error.hint().unwrap_or_default().to_owned();
                Error::new(kind, error.message()).with_hint(hint)
            }
            (Mutation::NamesNoOperation, kind) => Error::new(kind, error.message()),
            (Mutation::NamesNoPlatform, kind) => Error::new(kind, error.message())
                .with_operation(error.operation().unwrap_or_default())
                .with_function(error.function().unwrap_or_default()),
            (Mutation::NamesNoFunction, kind) => Error::new(kind, error.message())
                .with_platform(error.platform().unwrap_or_default())
                .with_operation(error.operation().unwrap_or_default()),
            _ => error,
        })
    }

    /// The changed activation, where the platform does not keep it as it is.
    fn altered(&self, mut activation: Activation) -> Result<Activation> {
        if let Ok(result) = &mut activation.outcome {
            match self.mutation {
                Mutation::SwallowsUnicode => {
                    let ascii = result.as_str().replace(|c| !char::is_ascii(&c), "?");
                    *result = Payload::from_bytes(ascii)?;
                }
                Mutation::RoundsNumbers => {
                    let rounded = result.as_str().replace("9007199254740991", "9007199254740992");
                    *result = Payload::from_bytes(rounded)?;
                }
                Mutation::RoundsLargeIntegers => {
                    let rounded = result.as_str().replace("9007199254740993", "9007199254740992");
                    *result = Payload::from_bytes(rounded)?;
                }
                Mutation::CutsOffLineBreaks => {
                    *result = Payload::from_bytes(result.as_str().replace("\\n\"", "\""))?;
                }
                Mutation::CallsEmptyNull if result.as_str() == "{}" => {
                    *result = Payload::from_bytes("null")?;
                }
                Mutation::MixesUpAnswers => {
                    let before = self.last_result.lock().unwrap().replace(result.clone());
                    *result = before.unwrap_or_else(|| result.clone());
                }
                Mutation::RefusesHalfOfTheLimit if result.len() > 100_000 => {
                    let words = "it is too long";
                    activation.outcome =
                        Err(FunctionError::new(FunctionErrorKind::BadResult, words));
                    return Ok(activation);
                }
                _ => {}
            }
        }
        if let Err(error) = &mut activation.outcome {
            match (self.mutation, error.kind) {
                (Mutation::CallsBrokenCodeAFault, FunctionErrorKind::Initialization)
                | (Mutation::CallsRaisingAFault, FunctionErrorKind::Raised) => {
                    return Err(Error::new(ErrorKind::Unavailable, error.message.clone()));
                }
                (Mutation::CallsCrashesFaults, FunctionErrorKind::Crashed) => {
                    return Err(Error::new(ErrorKind::Unavailable, error.message.clone()));
                }
                (Mutation::LosesTheWords, _) => error.message = "it failed".to_owned(),
                (Mutation::TakesAnyResult, FunctionErrorKind::BadResult) => {
                    activation.outcome = Ok(Payload::empty());
                }
                (Mutation::StaysDeadAfterATimeout, FunctionErrorKind::Timeout) => {
                    self.crashed.store(true, Ordering::Relaxed);
                }
                (Mutation::CallsEverythingRaised, _) => error.kind = FunctionErrorKind::Raised,
                (Mutation::CallsTimeoutsCrashes, FunctionErrorKind::Timeout) => {
                    error.kind = FunctionErrorKind::Crashed;
                }
                (Mutation::WritesNullForNaN, FunctionErrorKind::BadResult) => {
                    activation.outcome = Ok(Payload::from_bytes("{\"value\":null}")?);
                }
                (Mutation::TruncatesResults, FunctionErrorKind::BadResult) => {
                    activation.outcome = Ok(Payload::from_bytes("{\"value\":\"xx\"}")?);
                }
                (Mutation::StaysDeadAfterACrash, FunctionErrorKind::Crashed) => {
                    self.crashed.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        match self.mutation {
            Mutation::GivesOneIdToAll => activation.id = "one".into(),
            Mutation::CallsEverythingCold => activation.cold_start = Some(true),
            Mutation::CallsEverythingWarm => activation.cold_start = Some(false),
            Mutation::EndsBeforeItBegins => {
                let began = activation.started_at.unwrap_or_else(SystemTime::now);
                activation.started_at = Some(began);
                activation.ended_at = Some(began - Duration::from_secs(1));
            }
            Mutation::ReportsTooShortATime => activation.execution = Some(Duration::from_millis(1)),
            _ => {}
        }
        Ok(activation)
    }

    /// Counts a call without a guard, as a platform does that unlocks at the end only.
    async fn enter(&self) -> Result<()> {
        if self.is(Mutation::LocksUpWhenDropped) {
            if self.open.load(Ordering::Relaxed) > 0 {
                return Err(Error::new(ErrorKind::Unavailable, "locked"));
            }
            self.open.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Whether an argument is as long as the platform says that it takes, and this one takes less.
    fn is_at_the_limit(&self, invocation: &Invocation, limit: Option<u64>) -> bool {
        let length = invocation.payload().len() as u64;
        self.is(Mutation::TakesLessThanItSays) && limit.is_some_and(|limit| length >= limit)
    }

    fn leave(&self) {
        self.open.store(0, Ordering::Relaxed);
    }
}

/// Deploys a second after it was dropped, as a thread may that nobody has stopped.
struct LateDeploy(Option<(Arc<dyn AsyncPlatform>, Deployable)>);

impl Drop for LateDeploy {
    fn drop(&mut self) {
        if let Some((platform, function)) = self.0.take() {
            tokio::spawn(async move {
                sleep(Duration::from_secs(1)).await;
                let _ = platform.deploy(&function).await;
            });
        }
    }
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.is(Mutation::ShowsASecret) { "marked-key" } else { "REDACTED" };
        f.debug_struct("Mutant").field("key", &key).finish()
    }
}
