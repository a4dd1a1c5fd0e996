//! The data suite: functions behind the layer of `falco-data` read, shuffle and write objects, on any platform.
//!
//! Functions run on the platform itself, and their objects are on [`FakeS3`](crate::FakeS3), which checks signatures. A crate
//! that implements the `Harness` of falco-testkit writes `falco_fakes::data_tests!(MyHarness)`, and gets a test for each
//! [`Section`] in each language; a runtime that the harness does not have is skipped by name. Other callers use [`check`].
//!
//! The functions have to reach the loopback interface of this machine.

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
    let name = platform.name().to_owned();
    let checked = async {
        let suite = Suite::deploy(platform, function(runtime)).await?;
        match section {
            Section::Objects => objects::check(&suite).await?,
            Section::Values => values::check(&suite).await?,
            Section::AtOnce => values::check_at_once(&suite).await?,
        }
        suite.end().await
    };
    if let Err(wrong) = checked.await {
        panic!("{section:?} in {runtime} on {name}: {wrong}");
    }
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
