//! Runnable pipelines on Falco, one per idea.
