//! What a run's deployments are called, and which function is which.

use falco_core::{Deployable, Error, Result, RunId};

/// The longest function name that every platform takes; see [`Deployable::validate`].
const MAX_NAME: usize = 63;
/// What a shortened name keeps at least, and the digits of the hash that replaces the rest.
const MIN_STEM: usize = 8;
const HASH_DIGITS: usize = 8;

/// Checks that deployments can be named after the run.
pub(super) fn check_run_id(run: &RunId) -> Result<()> {
    let text = run.as_str();
    let longest = MAX_NAME - MIN_STEM - HASH_DIGITS - 2;
    let is_portable =
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if text.is_empty() || text.len() > longest || !is_portable {
        return Err(Error::invalid_input(format!("{text:?} is no run id"))
            .with_hint(format!("1 to {longest} letters, digits, '-' and '_'")));
    }
    Ok(())
}

/// `NAME-RUNID`. A name that is too long for that is cut, and told apart by a hash of the whole.
pub(super) fn deployment_name(function: &str, run: &RunId) -> String {
    let room = MAX_NAME.saturating_sub(run.as_str().len() + 1);
    if function.len() <= room {
        return format!("{function}-{run}");
    }
    let hash = crate::derivation::stable_hash(function.as_bytes());
    let stem = &function[..function.floor_char_boundary(room.saturating_sub(HASH_DIGITS + 1))];
    format!("{stem}-{:08x}-{run}", hash as u32)
}

/// Whether both are the same function: one deployment serves them.
pub(super) fn is_same(left: &Deployable, right: &Deployable) -> bool {
    left.name == right.name
        && left.runtime == right.runtime
        && left.entry_point() == right.entry_point()
        && left.code == right.code
        && left.settings == right.settings
}

/// The error for two functions that share a name and nothing else.
pub(super) fn clash(left: &Deployable, right: &Deployable) -> Error {
    let difference = if left.runtime != right.runtime {
        "runtimes"
    } else if left.entry_point() != right.entry_point() {
        "entry points"
    } else if left.code != right.code {
        "code"
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
        let run = RunId::from("6553f100-0000beef");
        assert_eq!(deployment_name("map", &run), "map-6553f100-0000beef");
        let (long, longer) = ("x".repeat(63), format!("{}y", "x".repeat(62)));
        let names = [deployment_name(&long, &run), deployment_name(&longer, &run)];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(name.len() <= MAX_NAME && name.ends_with(run.as_str()), "{name}");
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
