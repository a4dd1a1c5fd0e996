//! The strategies, and their laws.

mod admission;
mod asynchronous;
mod ending;
mod fixture;
mod laws;
mod repeats;
mod silence;
mod speculation;
mod spy;
mod strangers;
