#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "aws")]
pub mod aws;
mod conformance;
#[cfg(feature = "data")]
pub mod data;
pub mod field;
#[cfg(feature = "gcp")]
pub mod gcp;
pub mod http;
#[cfg(feature = "openfaas")]
pub mod openfaas;
#[cfg(feature = "openwhisk")]
pub mod openwhisk;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(any(feature = "aws", feature = "openwhisk"))]
mod unpacked;

#[cfg(feature = "aws")]
pub use aws::FakeAws;
#[cfg(feature = "gcp")]
pub use gcp::FakeGcp;
pub use http::{Fault, HttpFake, Reply, Request};
#[cfg(feature = "openfaas")]
pub use openfaas::FakeOpenFaas;
#[cfg(feature = "openwhisk")]
pub use openwhisk::FakeOpenWhisk;
#[cfg(feature = "s3")]
pub use s3::FakeS3;
