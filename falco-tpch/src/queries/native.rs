//! The functions in Rust of all queries.

use std::collections::BTreeMap;
use std::fmt;

use falco_core::{Deployable, Error, Result};
use falco_function::{Executable, Functions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{q1, q3, q5, q6, q12};
use crate::failure::ScanError;

type Packed = Box<dyn Fn(&Executable) -> Result<Deployable> + Send + Sync>;

/// The functions in Rust of all queries.
#[derive(Default)]
pub struct Native {
    functions: Functions,
    packed: BTreeMap<&'static str, Packed>,
}

impl Native {
    /// Registers the functions.
    pub fn new() -> Self {
        let mut native = Self::default();
        native.add("q1-scan", q1::scan);
        native.add("q1-answer", q1::answer);
        native.add("q3-customers", q3::customers);
        native.add("q3-orders", q3::orders);
        native.add("q3-placed", q3::placed);
        native.add("q3-lines", q3::lines);
        native.add("q3-join", q3::join);
        native.add("q3-answer", q3::answer);
        native.add("q5-dimensions", q5::dimensions);
        native.add("q5-customers", q5::customers);
        native.add("q5-orders", q5::orders);
        native.add("q5-placed", q5::placed);
        native.add("q5-lines", q5::lines);
        native.add("q5-join", q5::join);
        native.add("q5-answer", q5::answer);
        native.add("q6-scan", q6::scan);
        native.add("q6-answer", q6::answer);
        native.add("q12-lines", q12::lines);
        native.add("q12-orders", q12::orders);
        native.add("q12-join", q12::join);
        native.add("q12-answer", q12::answer);
        native
    }

    fn add<A, R>(&mut self, name: &'static str, function: fn(A) -> Result<R, ScanError>)
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let registered = self.functions.add(name, function);
        let packed =
            move |program: &Executable| Ok(program.function(&registered)?.deployable().clone());
        self.packed.insert(name, Box::new(packed));
    }

    /// The functions, to be served in a worker, or in the process of the driver.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// A function as a stage takes it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an unknown name, and for a program that is not an executable.
    pub fn function(&self, program: &Executable, name: &str) -> Result<Deployable> {
        let packed = self.packed.get(name);
        packed.ok_or_else(|| Error::invalid_input(format!("there is no function {name:?}")))?(
            program,
        )
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.functions.fmt(f)
    }
}
