//! The benchmarks of Falco.
fn main() {}
