//! The run in the key of an output.

use falco_core::RunId;

use crate::place::{hash, plain};

/// Hexadecimal digits of the random part that each call has.
const RANDOM: usize = 12;

/// Attempt and a random part, `1-5f3a7c019e2b`: no other call of the invocation has both.
pub(crate) fn unique(attempt: u32) -> String {
    format!("{attempt}-{:012x}", fastrand::u64(..1 << 48))
}

/// The end of a key in an output, `-RUN-ATTEMPT-RANDOM`. The random part ends with a hash of the run: by their names alone
/// the keys `part-a` of run `b` and `part` of run `a-b` could not be distinguished.
pub(crate) fn suffix(run: &RunId, unique: &str) -> String {
    format!("-{}-{unique}{:08x}", plain(run.as_str()), hash(run.as_str()))
}

/// Whether a call of this run has written the object with this name.
pub(crate) fn is_of(run: &RunId, name: &str) -> bool {
    let mark = format!("-{}-", plain(run.as_str()));
    let hash = format!("{:08x}", hash(run.as_str()));
    // Matches may share a dash: `part-a` of run `a`.
    let after_mark = |at| name.get(at..)?.strip_prefix(&*mark);
    (0..name.len()).filter_map(after_mark).any(|rest| {
        let Some((attempt, rest)) = rest.split_once('-') else { return false };
        let end = rest.find('.').unwrap_or(rest.len());
        let random = rest[..end].strip_suffix(&*hash);
        !attempt.is_empty()
            && attempt.bytes().all(|digit| digit.is_ascii_digit())
            && random.is_some_and(|random| {
                random.len() == RANDOM && random.bytes().all(|digit| digit.is_ascii_hexdigit())
            })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::object::with_suffix;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_output_is_of_the_run_that_wrote_it_and_of_no_other(
            key in "[ab1-]{0,4}(\\.[ab1-]{0,3})?",
            run in "[ab1. -]{1,5}",
            other in "[ab1. -]{1,5}",
            attempt in 1_u32..30,
        ) {
            let url = format!("s3://b/{key}");
            let written = with_suffix(&url, &suffix(&run.as_str().into(), &unique(attempt)));
            let name = &written["s3://b/".len()..];
            prop_assert!(is_of(&run.as_str().into(), name), "{name}");
            prop_assert_eq!(is_of(&other.as_str().into(), name), other == run, "{}", name);
        }
    }

    #[test]
    fn what_users_put_beside_the_outputs_is_of_no_run() {
        for name in [
            "part-a-1.csv",
            "part-a-1-5f3a7c019e2b.csv",
            "part-a-x-5f3a7c019e2b.csv",
            "-a-",
            "_SUCCESS",
        ] {
            assert!(!is_of(&"a".into(), name), "{name}");
        }
    }
}
