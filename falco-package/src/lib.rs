//! From function source to a deterministic archive.
