//! Falco on Apache OpenWhisk.
