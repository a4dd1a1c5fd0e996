//! A platform that runs the registered functions inside the driver, for tests of pipelines.

mod pool;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use falco_core::{
    Activation, Capabilities, Deployable, Deployment, Error, ErrorKind, FunctionError,
    FunctionErrorKind, Invocation, Operation, Payload, Platform, Result, Scaling, invoke_only,
};

use self::pool::Pool;
use crate::context::Context;
use crate::failure::{BAD_RESULT, Failure, INITIALIZATION};
use crate::functions::Functions;
use crate::worker::record_panics;

const NAME: &str = "in-process";

impl Functions {
    /// A platform that runs these functions inside the driver, each worker on a thread of its own: for tests of a
    /// pipeline, without processes, archives or an account.
    ///
    /// Arguments and results go through JSON, so that a type which does not survive serde fails here too. Failures are
    /// those of a worker, panics included. A function that ends the process ends the driver.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::Platform;
    ///
    /// let functions = falco_function::Functions::new();
    /// assert_eq!(functions.in_process().name(), "in-process");
    /// ```
    pub fn in_process(&self) -> InProcess {
        record_panics();
        InProcess {
            functions: self.clone(),
            deployed: Mutex::default(),
            activations: AtomicU64::new(0),
        }
    }
}

/// The platform that [`Functions::in_process`] makes.
pub struct InProcess {
    functions: Functions,
    deployed: Mutex<HashMap<String, Deployed>>,
    activations: AtomicU64,
}

#[derive(Clone)]
struct Deployed {
    deployment: Deployment,
    pool: Arc<Pool>,
}

impl InProcess {
    fn find(&self, name: &str, operation: &'static str) -> Result<Deployed> {
        self.lock().get(name).cloned().ok_or_else(|| {
            let error =
                Error::new(ErrorKind::NotFound, format!("no function {name:?} is deployed"));
            error.at(Operation::new(NAME, operation).on(name))
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Deployed>> {
        // A map is whole after each of its operations.
        self.deployed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Platform for InProcess {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_shim(true).with_runtimes(["native"])
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let at = |error: Error| error.at(Operation::new(NAME, "deploy").on(&function.name));
        function.validate().and_then(|()| function.refuse_image()).map_err(at)?;
        let start = self.functions.start_of(function.entry_point_or_main()).map_err(|failure| {
            at(Error::invalid_input(failure.message)
                .with_hint("add the function before in_process() is called"))
        })?;
        let mut deployment =
            Deployment::new(&function.name, function.runtime.clone()).with_platform(NAME);
        deployment = deployment.with_scaling(function.scaling.clone());
        deployment = deployment.with_ownership(function.ownership.clone());
        let pool = Arc::new(Pool::new(start, function.arguments.clone()));
        self.lock()
            .insert(function.name.clone(), Deployed { deployment: deployment.clone(), pool });
        Ok(deployment)
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        Ok(self.find(name, "fetch_deployment")?.deployment)
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        Ok(self.lock().values().map(|deployed| deployed.deployment.clone()).collect())
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let found = self.find(&deployment.name, "scale")?;
        let scaled = found.deployment.scaling.overridden_by(scaling);
        let scaled = found.deployment.with_scaling(scaled);
        self.lock().insert(
            deployment.name.clone(),
            Deployed { deployment: scaled.clone(), pool: found.pool },
        );
        Ok(scaled)
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.find(&deployment.name, "remove")?;
        self.lock().remove(&deployment.name);
        Ok(())
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let at = |error: Error| error.at(Operation::new(NAME, "invoke").on(&deployment.name));
        let pool = self.find(&deployment.name, "invoke")?.pool;
        invocation.payload().check_argument(None).map_err(at)?;
        let started_at = SystemTime::now();
        let number = self.activations.fetch_add(1, Relaxed);
        let id = format!("{}-{number}", deployment.name);
        let trace = invocation.trace_context().to_string();
        let context = Context::new(Some(id.clone()), Some(trace), None);
        let argument = invocation.payload().as_str().to_owned();
        let answer = pool.call(argument, context).await.map_err(at)?;
        let outcome = match answer.result {
            Ok(json) => Ok(Payload::from_bytes(json).map_err(at)?),
            Err(failure) => Err(function_error(failure)),
        };
        let mut activation = Activation::new(id, outcome);
        activation.started_at = Some(started_at);
        activation.ended_at = Some(SystemTime::now());
        activation.execution = Some(answer.ran);
        activation.cold_start = Some(answer.is_cold);
        Ok(activation)
    }
}

invoke_only!(InProcess);

fn function_error(failure: Failure) -> FunctionError {
    let kind = match failure.name.as_str() {
        BAD_RESULT => FunctionErrorKind::BadResult,
        INITIALIZATION => FunctionErrorKind::Initialization,
        _ => FunctionErrorKind::Raised,
    };
    let error = FunctionError::new(kind, failure.message).with_error_type(failure.name);
    match failure.stack {
        Some(stack) => error.with_trace(stack),
        None => error,
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("functions", &self.functions).finish_non_exhaustive()
    }
}
