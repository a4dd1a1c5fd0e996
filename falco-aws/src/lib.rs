//! Falco on AWS Lambda.
