//! Names: of functions, as Google allows them; of activations; and what is written into labels.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Invocation, Ownership, RunId, RuntimeName};
use sha2::{Digest, Sha256};

use crate::client::Function;
use crate::config::START_TIMEOUT;

/// Google's names are lower-case, in letters, digits and hyphens.
const MAX_ID: usize = 63;
const MAX_LABEL: usize = 63;

/// The id of the function that a user calls `name`: the name itself where Google takes it, else one made of it that no
/// other name gives.
pub(crate) fn function_id(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() >= 4
        && name.len() <= MAX_ID
        && !name.ends_with('-')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if is_plain {
        return name.to_owned();
    }
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(MAX_ID - 11)
        .collect();
    format!("{}-x{:08x}", plain.trim_end_matches('-'), fnv(name) as u32)
}

/// FNV-1a: it has to give the same on every machine and in every version, and nobody attacks it.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// An id for one activation: when it was made, in seconds, and a random rest, as 32 hexadecimal digits. It is the
/// trace's id as well, so that Google's own logs of the request are found by it.
pub(crate) fn activation_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let random = fastrand::u128(..) & ((1 << 96) - 1);
    format!("{:08x}{random:024x}", now as u32)
}

/// The id of a submission: of an attempt that is unique it follows from run, stage, id and attempt, so that the queue takes
/// it once, however often and by which process it is submitted.
pub(crate) fn submission_id(invocation: &Invocation) -> String {
    let (run, stage, id) = (invocation.run(), invocation.stage(), invocation.id());
    if !invocation.is_unique() {
        return activation_id();
    }
    // A user's own run id does not say when the run began.
    let started_at = run.started_at().unwrap_or(UNIX_EPOCH);
    let mut hash = Sha256::new();
    for part in [run.as_str(), stage.as_str(), id.as_str()] {
        // With their lengths, so that no two lists of parts give the same text.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(invocation.attempt().to_le_bytes());
    let rest: String = hash.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    let seconds = started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{:08x}{rest}", seconds as u32)
}

/// When an activation's id was made, or its run started; `None` for what is not an id of ours.
pub(crate) fn activation_time(id: &str) -> Option<SystemTime> {
    let is_ours =
        id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let seconds = is_ours.then(|| u32::from_str_radix(&id[..8], 16).ok())??;
    Some(UNIX_EPOCH + Duration::from_secs(u64::from(seconds)))
}

/// The task of an activation. Names in a queue should begin at random, so that they spread over its servers; the
/// function's id at the end says to which function the task belongs.
pub(crate) fn task_id(activation: &str, function: &str) -> String {
    let (time, random) = activation.split_at(activation.len().min(8));
    format!("{random}{time}-{function}")
}

/// Whether a task is one of `function`.
pub(crate) fn is_task_of(task: &str, function: &str) -> bool {
    task.len() == 33 + function.len() && task.ends_with(function) && task.as_bytes()[32] == b'-'
}

const FALCO: &str = "falco";
const RUNTIME: &str = "falco-runtime";
/// The labels of texts that may be longer than a label, in the order in which they are filled: each holds 63 characters
/// of the encoded text.
const NAME: [&str; 3] = ["falco-name", "falco-name-2", "falco-name-3"];
const RUN: [&str; 4] = ["falco-run", "falco-run-2", "falco-run-3", "falco-run-4"];
const OWNER: [&str; 6] = [
    "falco-owner",
    "falco-owner-2",
    "falco-owner-3",
    "falco-owner-4",
    "falco-owner-5",
    "falco-owner-6",
];
const EXPIRES: &str = "falco-expires";
const EPOCH: &str = "falco-epoch";
const QUEUE: &str = "falco-queue";
const BUCKET: &str = "falco-bucket";
const START: &str = "falco-start";

/// The label with a hash of what is deployed.
pub(crate) const CONTENT: &str = "falco-content";

/// The labels that mark a function as Falco's.
pub(crate) fn labels(
    name: &str,
    runtime: &RuntimeName,
    ownership: Option<&Ownership>,
) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        (FALCO, "1".to_owned()),
        (RUNTIME, encode(&runtime.to_string(), MAX_LABEL)),
    ]);
    label_long(&mut labels, &NAME, name);
    if let Some(ownership) = ownership {
        let expires = ownership.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        label_long(&mut labels, &RUN, ownership.run.as_str());
        label_long(&mut labels, &OWNER, &ownership.owner);
        labels.insert(EXPIRES, expires.as_secs().to_string());
        if ownership.epoch > 0 {
            labels.insert(EPOCH, ownership.epoch.to_string());
        }
    }
    labels
}

/// Writes `text` into as many of `names` as it takes. What exceeds all of them is cut.
fn label_long(labels: &mut BTreeMap<&'static str, String>, names: &[&'static str], text: &str) {
    let mut rest = encode(text, MAX_LABEL * names.len());
    for (index, name) in names.iter().enumerate() {
        let next = rest.split_off(rest.len().min(MAX_LABEL));
        if index == 0 || !rest.is_empty() {
            labels.insert(name, rest);
        }
        rest = next;
    }
}

/// The text of labels that [`label_long`] has written.
fn read_long(function: &Function, names: &[&str]) -> Option<String> {
    function.labels.get(names[0])?;
    let parts = names.iter().map_while(|name| function.labels.get(*name));
    Some(decode(&parts.map(String::as_str).collect::<String>()))
}

/// Notes where a function's tasks and results are, for the process that removes it. A name that is too long is left out.
pub(crate) fn label_shared(labels: &mut BTreeMap<&'static str, String>, queue: &str, bucket: &str) {
    for (label, name) in [(QUEUE, queue), (BUCKET, bucket)] {
        let encoded = encode(name, MAX_LABEL);
        if decode(&encoded) == name {
            labels.insert(label, encoded);
        }
    }
}

/// Notes a hash of what is deployed.
pub(crate) fn label_content(labels: &mut BTreeMap<&'static str, String>, content: String) {
    labels.insert(CONTENT, content);
}

/// The hash of what is deployed.
pub(crate) fn content_of(function: &Function) -> Option<&str> {
    function.labels.get(CONTENT).map(String::as_str)
}

/// Notes how long a function may take to start, in seconds, unless it is as long as everywhere: Google's timeout of it
/// holds that time.
pub(crate) fn label_start(labels: &mut BTreeMap<&'static str, String>, start: Duration) {
    if start != START_TIMEOUT {
        labels.insert(START, start.as_secs().to_string());
    }
}

/// How long a function of Falco's may take to start.
pub(crate) fn start_of(function: &Function) -> Duration {
    let noted = function.labels.get(START).and_then(|seconds| seconds.parse().ok());
    noted.map_or(START_TIMEOUT, Duration::from_secs)
}

/// The queue and the bucket of a function that can be submitted to.
pub(crate) fn shared_of(function: &Function) -> (Option<String>, Option<String>) {
    let read = |label| function.labels.get(label).map(|name| decode(name));
    (read(QUEUE), read(BUCKET))
}

pub(crate) fn is_falcos(function: &Function) -> bool {
    function.labels.contains_key(FALCO) && function.environment != "GEN_1"
}

/// The name that a function was deployed under, or its id when nothing better is known.
pub(crate) fn name_of(function: &Function) -> String {
    let id = function.name.rsplit('/').next().unwrap_or_default();
    let name = read_long(function, &NAME);
    name.filter(|name| function_id(name) == id).unwrap_or_else(|| id.to_owned())
}

/// The runtime as the user named it, or as Google does.
pub(crate) fn runtime_of(function: &Function) -> Option<RuntimeName> {
    let named = function.labels.get(RUNTIME).and_then(|label| decode(label).parse().ok());
    named.or_else(|| super::runtimes::from_google(&function.build_config.runtime)?.parse().ok())
}

pub(crate) fn ownership_of(function: &Function) -> Option<Ownership> {
    let expires = function.labels.get(EXPIRES)?.parse().ok()?;
    let ownership = Ownership::new(
        RunId::new(read_long(function, &RUN)?),
        read_long(function, &OWNER).unwrap_or_default(),
        UNIX_EPOCH.checked_add(Duration::from_secs(expires))?,
    );
    let epoch = function.labels.get(EPOCH).and_then(|epoch| epoch.parse().ok());
    Some(ownership.with_epoch(epoch.unwrap_or_default()))
}

/// Labels hold lower-case letters, digits, `-` and `_`: everything else becomes `_` and its code in hexadecimal. What
/// exceeds `most` characters is cut.
fn encode(text: &str, most: usize) -> String {
    let mut label = String::with_capacity(text.len().min(most));
    for byte in text.bytes() {
        let encoded = if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' {
            char::from(byte).to_string()
        } else {
            format!("_{byte:02x}")
        };
        if label.len() + encoded.len() > most {
            break;
        }
        label.push_str(&encoded);
    }
    label
}

fn decode(label: &str) -> String {
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'_').then(|| tail.get(..2)).flatten();
        let code =
            code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use falco_core::Payload;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_portable_name_becomes_an_id_that_google_takes(name in "[A-Za-z][A-Za-z0-9_-]{0,62}") {
            let id = function_id(&name);
            prop_assert!((4..=63).contains(&id.len()), "{id}");
            prop_assert!(id.starts_with(|c: char| c.is_ascii_lowercase()) && !id.ends_with('-'), "{id}");
            prop_assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{id}");
            prop_assert_eq!(function_id(&id), id.clone(), "an id is found by itself");
        }

        #[test]
        fn labels_give_back_what_fits_and_never_break_googles_rules(text in "\\PC{0,80}") {
            let label = encode(&text, MAX_LABEL);
            prop_assert!(label.len() <= 63);
            prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)));
            prop_assert!(text.len() > 21 || decode(&label) == text);
        }

        #[test]
        fn any_label_can_be_read(label in "\\PC{0,63}") {
            decode(&label);
        }
    }

    #[test]
    fn names_that_differ_only_in_what_google_lacks_stay_apart() {
        let ids: std::collections::BTreeSet<_> =
            ["word_count", "word-count", "Word-Count", "WORD_COUNT"].map(function_id).into();
        assert_eq!(ids.len(), 4, "{ids:?}");
    }

    #[test]
    fn an_activations_id_holds_its_time_and_other_texts_are_refused() {
        let before = SystemTime::now() - Duration::from_secs(1);
        let id = activation_id();
        assert!(activation_time(&id).is_some_and(|at| at >= before && at <= SystemTime::now()));
        for other in
            ["", "abc", &id[1..], &id.to_uppercase(), "ä".repeat(16).as_str(), &format!("{id}\"")]
        {
            assert!(activation_time(other).is_none(), "{other}");
        }
    }

    fn labelled(owner: &str) -> Function {
        let ownership = Ownership::new("RUN-of_Ada-".repeat(6), owner, UNIX_EPOCH);
        let name = "F".repeat(63);
        let labels = labels(&name, &"python:3".parse().unwrap(), Some(&ownership));
        assert!(labels.values().all(|label| label.len() <= MAX_LABEL));
        let labels = labels.into_iter().map(|(name, label)| (name.to_owned(), label)).collect();
        let name = format!("projects/p/locations/l/functions/{}", function_id(&name));
        Function { name, labels, ..Function::default() }
    }

    #[test]
    fn owners_runs_and_names_that_are_longer_than_a_label_are_read_whole() {
        for owner in ["ada", &"x".repeat(63), &"\u{e4}@x".repeat(30), ""] {
            let function = labelled(owner);
            let found = ownership_of(&function).unwrap();
            assert_eq!(found.owner, owner);
            assert_eq!(found.run.as_str(), "RUN-of_Ada-".repeat(6));
            assert_eq!(name_of(&function), "F".repeat(63));
        }
    }

    #[test]
    fn a_label_that_an_earlier_version_has_cut_is_read_as_far_as_it_goes() {
        let mut function = labelled(&"x".repeat(100));
        function.labels.remove(OWNER[1]);
        assert_eq!(ownership_of(&function).unwrap().owner, "x".repeat(63));
    }

    #[test]
    fn a_task_belongs_to_one_function() {
        let task = task_id(&activation_id(), "my-map");
        assert!(is_task_of(&task, "my-map"));
        assert!(!is_task_of(&task, "map") && !is_task_of("x", "map"));
        assert!(!is_task_of(&task_id(&activation_id(), "map"), "my-map"));
    }

    #[test]
    fn an_attempt_that_is_unique_has_one_id_and_every_other_submission_its_own() {
        let first = Invocation::new("6553f100-0000beef", "map", "7", Payload::empty());
        assert_ne!(submission_id(&first), submission_id(&first));
        let unique = first.clone().with_unique(true);
        assert_eq!(submission_id(&unique), submission_id(&unique.clone()));
        assert!(submission_id(&unique).starts_with("6553f100"));
        assert!(activation_time(&submission_id(&unique)).is_some());
        let others = [
            unique.next_attempt(),
            Invocation::new("6553f100-0000beef", "ma", "p7", Payload::empty()).with_unique(true),
            Invocation::new("6553f100-0000beee", "map", "7", Payload::empty()).with_unique(true),
        ];
        for other in others {
            assert_ne!(submission_id(&other), submission_id(&unique));
        }
    }
}
