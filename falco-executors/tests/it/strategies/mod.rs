//! The strategies, and their laws.
