//! The shapes of arguments and results that derivations make and take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The argument after a fan-in or of a chunk: `{"results": [..]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// Results of the stage before, sorted by id.
    pub results: Vec<T>,
}

/// The argument after a join: `{"left": [..], "right": [..]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both<L, R> {
    /// Results of the one stage, sorted by id.
    pub left: Vec<L>,
    /// Results of the other.
    pub right: Vec<R>,
}

/// The result that a shuffle takes: `{"pairs": {"key": value, ..}}`. A function that has a key more than once returns
/// `{"pairs": [["key", value], ..]}`, which a shuffle takes as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairs<V> {
    /// Values by their keys.
    pub pairs: BTreeMap<String, V>,
}

/// The argument after a shuffle: `{"partition": 3, "groups": {"key": [values], ..}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition<V> {
    /// The number of the partition, from 0.
    pub partition: u32,
    /// The keys of the partition, each with all of its values in the order of the ids they come from.
    pub groups: BTreeMap<String, Vec<V>>,
}
