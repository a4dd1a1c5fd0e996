//! Falco on Google Cloud Functions, 2nd generation.
