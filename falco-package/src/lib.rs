#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod lambda;
pub mod marks;
pub mod native;
pub mod openwhisk;
pub mod shim;

mod archive;
mod cache;
mod directory;
mod executable;
mod requirements;
mod vendor;
mod zipped;

pub use archive::{Archive, File};
pub use native::NATIVE_EXECUTABLE;
pub use requirements::{Glibc, Machine, Requirements, System};
pub use vendor::{PackageTarget, WithPackages, check_size};
pub use zipped::DEFAULT_MAX_UNPACKED;

/// The code in the page on packages compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/packages.md")]
pub mod packages {}
