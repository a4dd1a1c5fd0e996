//! The data suite: functions behind the layer of `falco-data` read, shuffle and write objects, on any platform.
//!
//! Functions run on the platform itself, and their objects are on [`FakeS3`](crate::FakeS3), which checks signatures. A crate
//! that implements the `Harness` of falco-testkit writes `falco_fakes::data_tests!(MyHarness)`, and gets a test for each
//! [`Section`] in each language; a runtime that the harness does not have is skipped by name. Other callers use [`check`].
//!
//! The functions have to reach the loopback interface of this machine.
//!
//! # A function in another language
//!
//! [`check_function`] takes a function of the caller's, such as one in Rust, whose executable only the caller has. The field
//! `do` of its argument names a task:
//!
//! | task | what the function does | its result |
//! |---|---|---|
//! | `read` | reads the text of `input` | `text` |
//! | `read_late` | waits until a second after `until` in `input`, then reads it | `text` |
//! | `write` | writes `text` to `out` | `out`, the object |
//! | `count` | emits each word of `input` with 1 to `out` | `out`, the object |
//! | `total` | adds up the numbers of each key of `in` | `counts`, the sums by key |
//! | `repeat` | repeats `text` so many `times` | `text`, and `exact` as it was |
//! | `all` | reads `input`, and writes it to `out` | `out`, and the text of `input` followed by `text` as `text` |

#![expect(clippy::panic, reason = "the sections are tests: they fail by panicking")]

mod objects;
mod suite;
mod values;

use std::sync::Arc;

use falco_core::{AsyncPlatform, Deployable, RuntimeName};

use suite::Suite;

/// The suite's function in Python. It knows by `do` in its argument what to do.
const PYTHON: &str = include_str!("function.py");

/// The suite's function for Node.js.
const NODE: &str = include_str!("function.cjs");

/// A part of the suite that is one test for each language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Section {
    /// Splits are read exactly, two calls never write to one key, a shuffle counts each word once, also when every third
    /// request to the store fails; a missing object and an expired URL are errors that name the object and hold no signature.
    Objects,
    /// Arguments and results beyond the platform's limits travel through the store, called and submitted; short ones do not.
    Values,
    /// 16 calls at once read, write and spill, and each gets its own answer.
    AtOnce,
}

/// Runs a section in this runtime: what [`data_tests!`](crate::data_tests) expands to.
///
/// # Panics
///
/// When the platform or the functions do not do what the section demands, and for a runtime that is neither Python nor Node.js.
pub async fn check(platform: Arc<dyn AsyncPlatform>, runtime: &RuntimeName, section: Section) {
    if let Err(wrong) = check_function(platform, &function(runtime), section).await {
        panic!("{wrong}");
    }
}

/// Runs a section with a function of the caller's, which has to do the tasks that [the module](self) lists.
///
/// # Errors
///
/// The fault that the section has found in the platform or in the function, in words.
pub async fn check_function(
    platform: Arc<dyn AsyncPlatform>,
    function: &Deployable,
    section: Section,
) -> Result<(), String> {
    let place = format!("{section:?} in {} on {}", function.runtime, platform.name());
    let checked = async {
        let suite = Suite::deploy(platform, function).await?;
        match section {
            Section::Objects => objects::check(&suite).await?,
            Section::Values => values::check(&suite).await?,
            Section::AtOnce => values::check_at_once(&suite).await?,
        }
        suite.end().await
    };
    checked.await.map_err(|wrong| format!("{place}: {wrong}"))
}

fn function(runtime: &RuntimeName) -> Deployable {
    let source = match runtime.family() {
        "python" => PYTHON,
        "nodejs" => NODE,
        family => panic!("the data suite has no function in {family}"),
    };
    let name = format!("data-{:08x}", fastrand::u32(..));
    Deployable::from_source(name, runtime.clone(), source)
}

/// Makes a test of each section of the [data suite](crate::data) for a harness of falco-testkit.
///
/// The calling crate needs falco-testkit and tokio with `macros` and `rt-multi-thread` among its dev-dependencies.
#[macro_export]
macro_rules! data_tests {
    ($harness:ty) => {
        $crate::data_tests! { $harness;
            data_python_objects: "python" Objects,
            data_python_values: "python" Values,
            data_python_at_once: "python" AtOnce,
            data_node_objects: "nodejs" Objects,
            data_node_values: "nodejs" Values,
            data_node_at_once: "nodejs" AtOnce,
        }
    };
    ($harness:ty; $($name:ident: $family:literal $section:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                use ::falco_testkit::conformance::{Harness, runtime_for};
                let harness = <$harness as Harness>::start().await;
                if let Some(runtime) = runtime_for(&harness, stringify!($name), $family) {
                    let section = $crate::data::Section::$section;
                    $crate::data::check(harness.platform(), &runtime, section).await;
                }
            }
        )*
    };
}
