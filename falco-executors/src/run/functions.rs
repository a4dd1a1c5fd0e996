//! The functions of a run: what their deployments are called, and which is deployed already.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{Deployable, Deployment, Error, Result, RunId};
use tokio::sync::Mutex as AsyncMutex;

const MAX_NAME: usize = Deployable::MAX_NAME;
/// The characters that a shortened name keeps at least, and the digits of the hash that replaces the rest.
const MIN_STEM: usize = 8;
const HASH_DIGITS: usize = 8;

/// Checks that deployments can be named after the run.
pub(super) fn check_run_id(run: &RunId) -> Result<()> {
    let text = run.as_str();
    let longest = MAX_NAME - MIN_STEM - HASH_DIGITS - 2;
    let is_portable =
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if text.is_empty() || text.len() > longest || !is_portable {
        return Err(Error::invalid_input(format!("invalid run id {text:?}"))
            .with_hint(format!("1 to {longest} letters, digits, '-' and '_'")));
    }
    Ok(())
}

/// `NAME-END`, where the end is the run's id or stands for the content. A name that is too long for that is cut, and
/// distinguished by a hash of the whole.
pub(super) fn deployment_name(function: &str, end: &str) -> String {
    let room = MAX_NAME.saturating_sub(end.len() + 1);
    if function.len() <= room {
        return format!("{function}-{end}");
    }
    let hash = crate::derivation::stable_hash(function.as_bytes());
    let stem = &function[..function.floor_char_boundary(room.saturating_sub(HASH_DIGITS + 1))];
    format!("{stem}-{:08x}-{end}", hash as u32)
}

/// The functions of a run, each deployed at most once.
#[derive(Default)]
pub(super) struct Functions(Mutex<Vec<Arc<Function>>>);

/// A function of the run.
pub(super) struct Function {
    pub(super) function: Deployable,
    /// The name of its deployment.
    pub(super) name: String,
    /// Locked during a deployment, so that others who ask for the same function wait.
    pub(super) deployment: AsyncMutex<Option<Arc<Deployment>>>,
    /// Whether a deployment has begun of which nobody knows the end, since its future was dropped.
    pub(super) in_doubt: AtomicBool,
}

impl Functions {
    /// The entry of a function, whose deployment is named by `name` if it is new.
    ///
    /// # Errors
    ///
    /// When another function has its name; and as `name`.
    pub(super) fn entry(
        &self,
        function: &Deployable,
        name: impl FnOnce() -> Result<String>,
    ) -> Result<Arc<Function>> {
        let mut functions = self.lock();
        match functions.iter().find(|entry| entry.function.name == function.name) {
            Some(entry) if is_same(&entry.function, function) => Ok(entry.clone()),
            Some(entry) => Err(clash(&entry.function, function)),
            None => {
                let (function, name) = (function.clone(), name()?);
                let (deployment, in_doubt) = (AsyncMutex::new(None), AtomicBool::new(false));
                let entry = Arc::new(Function { function, name, deployment, in_doubt });
                functions.push(entry.clone());
                Ok(entry)
            }
        }
    }

    /// The deployments of this moment.
    pub(super) fn deployments(&self) -> Vec<Arc<Deployment>> {
        self.lock().iter().filter_map(|entry| entry.deployed()).collect()
    }

    /// The deployment of a function, if it is deployed now.
    pub(super) fn deployment_of(&self, function: &Deployable) -> Option<Arc<Deployment>> {
        self.lock().iter().find(|entry| entry.function.name == function.name)?.deployed()
    }

    /// The functions that may be deployed without anybody knowing.
    pub(super) fn in_doubt(&self) -> Vec<Arc<Function>> {
        let functions = self.lock();
        functions.iter().filter(|entry| entry.in_doubt.load(Relaxed)).cloned().collect()
    }

    /// Takes note that a deployment is gone.
    pub(super) fn forget(&self, deployment: &Deployment) {
        self.lock().retain(|entry| {
            entry.deployed().is_none_or(|deployed| deployed.name != deployment.name)
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Function>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Function {
    /// The deployment, unless it is being made just now.
    fn deployed(&self) -> Option<Arc<Deployment>> {
        self.deployment.try_lock().ok()?.clone()
    }
}

/// Whether both are the same function: one deployment serves them.
fn is_same(left: &Deployable, right: &Deployable) -> bool {
    left.name == right.name
        && left.runtime == right.runtime
        && left.entry_point_or_main() == right.entry_point_or_main()
        && left.code == right.code
        && left.image == right.image
        && left.folders == right.folders
        && left.is_plain == right.is_plain
        && left.code_version == right.code_version
        && left.scaling == right.scaling
        && left.env == right.env
        && left.arguments == right.arguments
}

/// The error for two functions that share a name and nothing else.
fn clash(left: &Deployable, right: &Deployable) -> Error {
    let difference = if left.runtime != right.runtime {
        "runtimes"
    } else if left.entry_point_or_main() != right.entry_point_or_main() {
        "entry points"
    } else if left.code != right.code {
        "code"
    } else if left.image != right.image {
        "images"
    } else if left.folders != right.folders {
        "folders"
    } else if left.code_version != right.code_version {
        "code versions"
    } else if left.arguments != right.arguments {
        "arguments"
    } else {
        "settings"
    };
    Error::invalid_input(format!(
        "two functions of the plan are named {:?} and differ in their {difference}",
        left.name
    ))
    .with_hint("give them different names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_run_and_stay_portable() {
        let run = "6553f100-0000beef";
        assert_eq!(deployment_name("map", run), "map-6553f100-0000beef");
        let (long, longer) = ("x".repeat(63), format!("{}y", "x".repeat(62)));
        let names = [deployment_name(&long, run), deployment_name(&longer, run)];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(name.len() <= MAX_NAME && name.ends_with(run), "{name}");
        }
    }

    #[test]
    fn functions_that_differ_in_anything_do_not_share_a_deployment() {
        use falco_core::{Folder, Payload, Scaling};
        let function = Deployable::python("f", "x").with_image("science:1");
        let functions = Functions::default();
        let entry = |function: &Deployable| functions.entry(function, || Ok("f-run".to_owned()));
        entry(&function).unwrap();
        entry(&function.clone().with_entry_point("main")).unwrap();
        let mut without_image = function.clone();
        without_image.image = None;
        let read_only = function.clone().with_folder(Folder::read_only("/data"));
        for (other, difference) in [
            (without_image, "images"),
            (function.clone().with_image("science:2"), "images"),
            (read_only, "folders"),
            (function.clone().plain(), "settings"),
            (function.clone().with_scaling(Scaling::default().with_memory_mib(512)), "settings"),
            (function.clone().with_env("KEY", ""), "settings"),
            (function.clone().with_arguments(Payload::empty()), "arguments"),
            (function.clone().with_code_version("2"), "code versions"),
            (function.clone().with_entry_point("start"), "entry points"),
        ] {
            let Err(error) = entry(&other) else { panic!("another function: {other:?}") };
            assert!(
                error.to_string().contains(&format!("differ in their {difference}")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_run_id_that_no_name_can_carry_is_refused() {
        for id in ["", "a b", "ä", &"x".repeat(46)] {
            assert!(check_run_id(&RunId::from(id)).is_err(), "{id}");
        }
        check_run_id(&RunId::from("x".repeat(45))).unwrap();
    }
}
