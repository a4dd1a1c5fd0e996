#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod prelude;

pub use falco_core::{Error, ErrorKind, Result};
pub use falco_executors::{DriverExt, Run};

#[doc(inline)]
pub use falco_core as core;
#[doc(inline)]
pub use falco_executors as executors;
#[doc(inline)]
pub use falco_layers as layers;
#[doc(inline)]
pub use falco_package as package;

#[cfg(feature = "aws")]
#[doc(inline)]
pub use falco_aws as aws;
#[cfg(feature = "data")]
#[doc(inline)]
pub use falco_data as data;
#[cfg(feature = "docker")]
#[doc(inline)]
pub use falco_docker as docker;
#[cfg(feature = "function")]
#[doc(inline)]
pub use falco_function as function;
#[cfg(feature = "gcp")]
#[doc(inline)]
pub use falco_gcp as gcp;
#[cfg(feature = "journal")]
#[doc(inline)]
pub use falco_journal as journal;
#[cfg(feature = "local")]
#[doc(inline)]
pub use falco_local as local;
#[cfg(feature = "meter")]
#[doc(inline)]
pub use falco_meter as meter;
#[cfg(feature = "openfaas")]
#[doc(inline)]
pub use falco_openfaas as openfaas;
#[cfg(feature = "openwhisk")]
#[doc(inline)]
pub use falco_openwhisk as openwhisk;
#[cfg(feature = "trace")]
#[doc(inline)]
pub use falco_trace as trace;

/// The programs in the README of the repository compile and run.
#[cfg(all(doctest, feature = "local", feature = "function"))]
#[doc = include_str!("../../README.md")]
pub mod readme {}
