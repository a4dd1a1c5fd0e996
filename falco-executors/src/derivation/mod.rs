//! The built-in derivations: how the inputs of one stage follow from the completions of others.
