//! The single door for contributors of Falco.
fn main() {}
