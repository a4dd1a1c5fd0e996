#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod derivation;
mod progress;
mod report;
mod run;
mod strategy;
