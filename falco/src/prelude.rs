//! The names that most programs use: `use falco::prelude::*`.

pub use falco_core::{
    AsyncPlatform, Completion, Deployable, Driver, Error, ErrorKind, ExecutionPlan, Monitor,
    Payload, Platform, Result, RuntimeName, Scaling, Stage, UsDollars, Verdict,
};
pub use falco_executors::session::{Session, StageSpec};
pub use falco_executors::typed::{Both, Function, List, Pairs, Partition, Pipeline};
pub use falco_executors::{
    AsyncExecutor, Chunks, DriverExt, ExecutionOptions, FanIn, FanOut, KeepResults, Merge,
    OnFailure, OneToOne, ParallelExecutor, Progress, Repeats, Run, RunOptions, RunOutcome,
    SequentialExecutor, Shuffle, StagePolicy, stop_signals,
};
pub use falco_layers::{Budget, RetryPolicy, Stack};
pub use falco_package::Archive;

#[cfg(feature = "aws")]
pub use falco_aws::{AwsConfig, AwsLambda};
#[cfg(feature = "docker")]
pub use falco_docker::{DockerConfig, DockerPlatform};
#[cfg(feature = "function")]
pub use falco_function::{Executable, Functions, Registered};
#[cfg(feature = "gcp")]
pub use falco_gcp::{GcpConfig, GcpFunctions};
#[cfg(feature = "local")]
pub use falco_local::{LocalConfig, LocalPlatform};
#[cfg(feature = "openfaas")]
pub use falco_openfaas::{OpenFaas, OpenFaasConfig};
#[cfg(feature = "openwhisk")]
pub use falco_openwhisk::{OpenWhisk, OpenWhiskConfig};
