//! The conformance suite of Falco platforms, an in-memory platform, fault injection.
