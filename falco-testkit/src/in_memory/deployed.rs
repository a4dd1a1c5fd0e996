//! A function that the platform in memory holds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use falco_core::{
    Bounds, Capabilities, Code, Deployable, Deployment, Environment, Error, ErrorKind,
    FunctionError, FunctionErrorKind, Invocation, Payload, Result, Scaling,
};
use tokio::time::Instant;

use super::function::{Function, Reply};
use super::run::Run;

#[derive(Clone)]
pub(super) struct Deployed {
    pub(super) deployment: Deployment,
    pub(super) function: Function,
    pub(super) code: Code,
    pub(super) env: Environment,
    pub(super) entry_point: String,
    pub(super) arguments: Option<Payload>,
    pub(super) instances: Arc<Instances>,
}

impl Deployed {
    /// Whether it is this function, but for its owner.
    pub(super) fn is(&self, function: &Deployable) -> bool {
        self.deployment.runtime == function.runtime
            && self.deployment.scaling == function.scaling
            && self.code == function.code
            && self.env == function.env
            && self.entry_point == function.entry_point_or_main()
            && self.arguments == function.arguments
    }

    /// The invocation with the arguments that are stored with the function beneath its payload.
    pub(super) fn with_arguments(&self, invocation: &Invocation) -> Invocation {
        let invocation = invocation.clone();
        let Some(arguments) = &self.arguments else { return invocation };
        let object = |payload: &Payload| payload.parse::<serde_json::Map<_, _>>().ok();
        let (Some(mut all), Some(own)) = (object(arguments), object(invocation.payload())) else {
            return invocation;
        };
        all.extend(own);
        match Payload::json(&all) {
            Ok(payload) => invocation.with_payload(payload),
            Err(_) => invocation,
        }
    }

    /// The run that `reply` makes when it begins now, under the function's and the platform's limits.
    pub(super) fn run(
        &self,
        reply: Reply,
        extra: Duration,
        init: Option<Duration>,
        max_result: Option<u64>,
    ) -> Run {
        let mut execution = reply.execution + extra;
        let mut outcome = reply.outcome;
        match &outcome {
            Ok(result) if max_result.is_some_and(|limit| result.len() as u64 > limit) => {
                let words = format!("the result has {} bytes, over the limit", result.len());
                outcome = Err(FunctionError::new(FunctionErrorKind::BadResult, words));
            }
            Ok(result) if !result.is_object() => {
                let words = "the result is not a JSON object";
                outcome = Err(FunctionError::new(FunctionErrorKind::BadResult, words));
            }
            _ => {}
        }
        if let Some(timeout) = self.deployment.scaling.timeout.filter(|limit| execution > *limit) {
            execution = timeout;
            let words = format!("it ran longer than {timeout:?}");
            outcome = Err(FunctionError::new(FunctionErrorKind::Timeout, words));
        }
        Run { started_at: Instant::now(), init, execution, outcome }
    }
}

impl fmt::Debug for Deployed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployed")
            .field("deployment", &self.deployment)
            .field("code", &self.code)
            .field("env", &self.env)
            .finish_non_exhaustive()
    }
}

/// Warm instances of a function that have nothing to do.
#[derive(Debug, Default)]
pub(super) struct Instances(AtomicU32);

impl Instances {
    /// Takes an idle instance; false means that one has to be started.
    pub(super) fn take(&self) -> bool {
        let fewer = |idle: u32| idle.checked_sub(1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, fewer).is_ok()
    }

    pub(super) fn has_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    pub(super) fn give_back(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Refuses code that the platform cannot hold.
pub(super) fn check(function: &Deployable, capabilities: &Capabilities) -> Result<()> {
    function.validate()?;
    if !capabilities.images {
        function.refuse_image()?;
    }
    let family = function.runtime.family();
    if !capabilities.has_family(family) {
        let have = capabilities.runtimes.join(", ");
        return Err(Error::unsupported(format!("there is no runtime {}", function.runtime))
            .with_hint(format!("use one of {have}")));
    }
    let max_code = capabilities.for_runtime(&function.runtime).max_code;
    if let Some(limit) = max_code.filter(|max| function.code.len() as u64 > *max) {
        let words = format!("the code has {} bytes, and {limit} are allowed", function.code.len());
        return Err(Error::new(ErrorKind::PayloadTooLarge, words));
    }
    check_scaling(&function.scaling, capabilities)
}

/// Refuses sizes that the platform cannot grant.
pub(super) fn check_scaling(scaling: &Scaling, capabilities: &Capabilities) -> Result<()> {
    scaling.validate()?;
    within("memory_mib", scaling.memory_mib, capabilities.memory_mib)?;
    within("timeout", scaling.timeout, capabilities.timeout)
}

fn within<T>(name: &str, value: Option<T>, bounds: Option<Bounds<T>>) -> Result<()>
where
    T: PartialOrd + Copy + fmt::Debug,
{
    match (value, bounds) {
        (Some(value), Some(bounds)) if !bounds.contains(value) => Err(Error::invalid_input(
            format!("{name} has to be from {:?} to {:?}, and is {value:?}", bounds.min, bounds.max),
        )),
        _ => Ok(()),
    }
}
