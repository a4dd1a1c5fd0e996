//! The shim conformance suite: one function in each language, called in every way that has gone wrong somewhere, with one
//! right outcome on every platform.
//!
//! A platform crate that implements the [`Harness`](crate::conformance::Harness) of the conformance suite writes
//! `shim_tests!(MyHarness)`, and gets a test for each [`Section`] of each language; a runtime that the harness does not have
//! is skipped by name. A single case is left out, with its reason, by
//! [`Harness::exempt`](crate::conformance::Harness::exempt): it is asked for names such as `shim_python_nan`
//! and `shim_python_at_once`.
//!
//! Two cases are not in the table: `instance`, for which the platform has to report the instance that ran a call, and
//! `trace`, in which the function has to see the trace context of each attempt: in the environment variable `TRACEPARENT`;
//! an executable, in its request.
//!
//! A section makes all of its calls, and fails with the list of all wrong outcomes. After each call it makes an innocent one:
//! what a function does to its process must not show in the next call.

#![expect(clippy::panic, reason = "the sections are tests: they fail by panicking")]

mod cases;
mod run;

use falco_core::{Deployable, RuntimeName};

use crate::fixture::archive::stored;

pub use cases::{Case, Right, cases};
pub use run::check;

/// The function in Python. It knows by `case` in its argument what to do.
pub const PYTHON: &str = include_str!("function.py");

/// The function for Node.js.
pub const NODE: &str = include_str!("function.cjs");

/// The function as an executable: a script, which needs `python3` on the machine.
pub const NATIVE: &str = include_str!("native.py");

/// A part of the suite that is one test for each language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Section {
    /// The table, [`cases`], call by call.
    Calls,
    /// Ways to write the code: modules named like standard ones, a byte order mark, an asynchronous entry point.
    Sources,
    /// 1, 2, 16 and 64 calls at once: each gets its own answer.
    AtOnce,
    /// A call prints until its timeout ends it: that is its outcome, its log is bounded, and the next call works.
    Endless,
    /// The process dies between two calls: the second was never delivered to it, and gets a fresh one.
    Idle,
}

/// The suite's function for a runtime; `None` for a family that has none.
pub fn function(name: &str, runtime: &RuntimeName) -> Option<Deployable> {
    match runtime.family() {
        "python" => Some(Deployable::from_source(name, runtime.clone(), PYTHON)),
        "nodejs" => Some(Deployable::from_source(name, runtime.clone(), NODE)),
        "native" => Some(Deployable::from_source(name, runtime.clone(), NATIVE)),
        _ => None,
    }
}

/// Functions that are written in unusual ways, each with the result of a call with `{}`, and with what they raise for
/// `{"raise":true}`.
fn sources(runtime: &RuntimeName) -> Vec<(&'static str, Deployable)> {
    let source = |text: &str| Deployable::from_source("shims", runtime.clone(), text);
    let archive = |files: &[(&str, &str)]| {
        let files: Vec<_> =
            files.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
        Deployable::from_archive("shims", runtime.clone(), stored(&files))
    };
    match runtime.family() {
        "python" => vec![
            (
                "bom",
                source(
                    "\u{feff}def main(args):\n    if args:\n        raise ValueError('raised')\n    return {'n': 1}\n",
                ),
            ),
            (
                "crlf",
                source(
                    "def main(args):\r\n    if args:\r\n        raise ValueError('raised')\r\n    return {'n': 1}\r\n",
                ),
            ),
            (
                "async_main",
                source(
                    "async def main(args):\n    if args:\n        raise ValueError('raised')\n    return {'n': 1}\n",
                ),
            ),
            (
                "modules",
                archive(&[
                    (
                        "__main__.py",
                        "import json, linecache, tokenize, traceback\nfrom json import MINE\n\n\
                         def main(args):\n    if args:\n        raise ValueError('raised')\n    \
                         return {'n': (MINE + linecache.MINE + tokenize.MINE + traceback.MINE) // 4}\n",
                    ),
                    ("json.py", "MINE = 1\n"),
                    ("linecache.py", "MINE = 1\n"),
                    ("tokenize.py", "MINE = 1\n"),
                    ("traceback.py", "MINE = 1\n"),
                ]),
            ),
            (
                "modules_late",
                archive(&[
                    (
                        "__main__.py",
                        "def main(args):\n    if args:\n        raise ValueError('raised')\n    \
                         import tokenize\n    return {'n': tokenize.MINE}\n",
                    ),
                    ("tokenize.py", "MINE = 1\n"),
                ]),
            ),
        ],
        "nodejs" => vec![
            (
                "bom",
                source(
                    "\u{feff}function main(args) {\n  if (args.raise) throw new RangeError('raised');\n  return {n: 1};\n}\n",
                ),
            ),
            (
                "crlf",
                source(
                    "function main(args) {\r\n  if (args.raise) throw new RangeError('raised');\r\n  return {n: 1}; // x\r\n}",
                ),
            ),
            (
                "async_main",
                source(
                    "const main = async (args) => {\n  if (args.raise) throw new RangeError('raised');\n  return {n: 1};\n};\n",
                ),
            ),
            (
                "modules",
                archive(&[
                    (
                        "index.js",
                        "const fs = require('./fs');\nexports.main = (args) => {\n  \
                         if (args.raise) throw new RangeError('raised');\n  return {n: fs.MINE};\n};\n",
                    ),
                    ("fs.js", "exports.MINE = 1;\n"),
                    ("path.js", "exports.MINE = 1;\n"),
                ]),
            ),
        ],
        _ => Vec::new(),
    }
}

/// Makes a test of each section of the shim conformance suite for a [`Harness`](crate::conformance::Harness).
///
/// The calling crate needs tokio with `macros`, `rt` and `time` among its dev-dependencies.
#[macro_export]
macro_rules! shim_tests {
    ($harness:ty) => {
        $crate::shim_tests! { $harness;
            shim_python_calls: "python" Calls,
            shim_python_sources: "python" Sources,
            shim_python_at_once: "python" AtOnce,
            shim_python_idle: "python" Idle,
            shim_python_endless: "python" Endless,
            shim_node_calls: "nodejs" Calls,
            shim_node_sources: "nodejs" Sources,
            shim_node_at_once: "nodejs" AtOnce,
            shim_node_idle: "nodejs" Idle,
            shim_node_endless: "nodejs" Endless,
            shim_native_calls: "native" Calls,
            shim_native_at_once: "native" AtOnce,
            shim_native_idle: "native" Idle,
            shim_native_endless: "native" Endless,
        }
    };
    ($harness:ty; $($name:ident: $family:literal $section:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::shims::check::<$harness>($family, $crate::shims::Section::$section).await;
            }
        )*
    };
}
