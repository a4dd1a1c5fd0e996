//! The functions in Python, which run DuckDB.

use falco_core::Deployable;

/// The function in Python with a name such as `q1-scan`. The package `duckdb` has to be on its path.
pub fn python(name: &str) -> Deployable {
    let function = Deployable::python(name, include_str!("../functions/tpch.py"));
    function.with_entry_point(name.replace('-', "_"))
}
