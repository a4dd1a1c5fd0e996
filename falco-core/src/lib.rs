#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activation;
mod batch;
mod capabilities;
mod code;
mod collected;
mod completion;
pub mod congestion;
mod content;
mod deployable;
mod deployment;
mod derivation;
mod driver;
mod environment;
mod error;
mod error_kind;
mod folder;
mod forward;
mod id;
mod image;
mod input;
mod invocation;
mod journal;
mod monitor;
mod operation;
mod ownership;
mod payload;
mod pending;
mod permission;
mod plan;
mod platform;
mod policy;
mod prices;
pub mod runtime;
mod runtime_name;
mod scaling;
mod setters;
mod stage;
mod strategy;
mod surrogates;
mod trace_context;
mod type_name;
mod unix_time;

pub use activation::{
    Activation, ActivationLog, FunctionError, FunctionErrorKind, LogLine, LogStream, UsDollars,
};
pub use async_trait::async_trait;
pub use batch::{Batch, BatchSize};
pub use bytes::Bytes;
pub use capabilities::{Bounds, Capabilities, RateLimit, RuntimeLimits};
pub use code::Code;
pub use collected::Collected;
pub use completion::{Attempts, Completion, Outcome};
pub use deployable::Deployable;
pub use deployment::Deployment;
pub use derivation::{Derivation, DerivationContext, Deriver};
pub use driver::Driver;
pub use environment::Environment;
pub use error::{Error, Result};
pub use error_kind::ErrorKind;
pub use folder::Folder;
pub use futures_core::stream::BoxStream;
pub use id::{ActivationId, InvocationId, RunId, StageName};
pub use image::Image;
pub use input::Input;
pub use invocation::Invocation;
pub use journal::{Journal, Recalled};
pub use monitor::{AttemptReason, Event, Monitor, Verdict, WaitReason};
pub use operation::Operation;
pub use ownership::Ownership;
pub use payload::Payload;
pub use pending::{Pending, Release};
pub use permission::Permission;
pub use plan::ExecutionPlan;
pub use platform::{AsyncPlatform, Platform};
pub use policy::{OnFailure, Repeats, StagePolicy};
pub use prices::Prices;
pub use runtime_name::RuntimeName;
pub use scaling::Scaling;
pub use stage::{Inputs, Stage, StageSource};
pub use strategy::{ExecutionStrategy, Target};
pub use surrogates::half_surrogate_pairs;
pub use trace_context::TraceContext;

#[doc(hidden)]
pub use platform::unsupported_submission;
