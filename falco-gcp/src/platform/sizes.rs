//! Sizes: memory, processors, timeout, instances and concurrency, as Google writes and allows them.

use std::time::Duration;

use falco_core::{Bounds, Error, Result, Scaling};
use serde_json::{Map, Value, json};

use super::names;
use crate::client::Function;
use crate::config::whole_seconds;
use crate::price::default_cpus;

pub(super) const MEMORY_MIB: Bounds<u32> = Bounds { min: 128, max: 32 * 1024 };
/// The longest that Google waits for an answer.
const LONGEST: Duration = Duration::from_secs(3600);
/// How much longer Google waits than function and start may take together. The handler ends a function that runs too long
/// and says so; Google, whose time counts the start of the instance too, would end the call without a word, and a queue of
/// tasks would call again.
const MARGIN: Duration = Duration::from_secs(5);
/// Google's defaults for a function whose memory or timeout is not set.
pub(super) const DEFAULT_MEMORY_MIB: u32 = 256;
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// The variable by which the framework for Python bounds the calls that an instance serves at once, and its value. Of
/// itself it serves four for each processor, and the rest waits inside of the instance, whatever its concurrency is. An
/// idle thread costs nothing: the server starts one when it needs one.
pub(super) const THREADS: (&str, &str) = ("THREADS", "512");
const MAX_CPUS: f32 = 8.0;
const MAX_CONCURRENCY: u32 = 1000;

/// The timeouts that a function may have whose start may take `start`.
pub(super) fn timeouts(start: Duration) -> Bounds<Duration> {
    Bounds { min: Duration::from_secs(1), max: LONGEST.saturating_sub(start + MARGIN) }
}

/// Checks what Google refuses, often only minutes later and inside of an operation.
pub(super) fn check(scaling: &Scaling, start: Duration) -> Result<()> {
    let longest = timeouts(start).max;
    scaling.validate()?;
    let invalid = |message: String| Err(Error::invalid_input(message));
    if let Some(memory) = scaling.memory_mib.filter(|memory| !MEMORY_MIB.contains(*memory)) {
        return invalid(format!(
            "{memory} MiB of memory are asked for; {} to {} are allowed",
            MEMORY_MIB.min, MEMORY_MIB.max
        ));
    }
    // Fractions of a second are rounded up, so that anything above zero can be had.
    if let Some(timeout) = scaling.timeout.filter(|timeout| *timeout > longest) {
        return invalid(format!(
            "a timeout of {timeout:?} is asked for; at most {longest:?} are allowed"
        ));
    }
    if let Some(cpus) = scaling.cpus.filter(|cpus| *cpus > MAX_CPUS) {
        return invalid(format!("{cpus} processors are asked for; at most {MAX_CPUS} are allowed"));
    }
    let Some(concurrency) = scaling.concurrency.filter(|concurrency| *concurrency > 1) else {
        return Ok(());
    };
    if concurrency > MAX_CONCURRENCY {
        return invalid(format!(
            "a concurrency of {concurrency} is asked for; at most {MAX_CONCURRENCY} is allowed"
        ));
    }
    let cpus = scaling
        .cpus
        .map_or_else(|| default_cpus(scaling.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB)), f64::from);
    if cpus < 1.0 {
        return invalid(format!(
            "a concurrency of {concurrency} needs an instance of at least one processor, and this one has {cpus:.3}"
        ))
        .map_err(|e: Error| e.with_hint("set cpus to 1, or memory to 2048 MiB"));
    }
    Ok(())
}

/// The fields of `serviceConfig` that `scaling` names.
pub(super) fn fields(scaling: &Scaling, start: Duration) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    // Without a unit it would be bytes.
    set("availableMemory", scaling.memory_mib.map(|mib| json!(format!("{mib}Mi"))));
    set("availableCpu", scaling.cpus.map(|cpus| json!(cpus.to_string())));
    set("timeoutSeconds", scaling.timeout.map(|timeout| json!(served_seconds(timeout, start))));
    set("minInstanceCount", scaling.min_instances.map(|n| json!(n)));
    set("maxInstanceCount", scaling.max_instances.map(|n| json!(n)));
    set("maxInstanceRequestConcurrency", scaling.concurrency.map(|n| json!(n)));
    fields
}

/// How long Google waits for a function that may run for `timeout`.
pub(super) fn served_seconds(timeout: Duration, start: Duration) -> u64 {
    whole_seconds(timeout) + (start + MARGIN).as_secs()
}

/// The scaling in force, as far as a reply says.
pub(super) fn in_force(function: &Function) -> Scaling {
    let config = &function.service_config;
    let positive = |n: u32| (n > 0).then_some(n);
    let is_falcos = names::is_falcos(function);
    let grace = if is_falcos { (names::start_of(function) + MARGIN).as_secs() } else { 0 };
    let timeout =
        u64::from(config.timeout_seconds).checked_sub(grace).filter(|seconds| *seconds > 0);
    Scaling::default()
        .with_memory_mib(mebibytes(&config.available_memory))
        .with_cpus(cpus(&config.available_cpu))
        .with_timeout(timeout.map(Duration::from_secs))
        .with_min_instances(positive(config.min_instance_count))
        .with_max_instances(positive(config.max_instance_count))
        .with_concurrency(positive(config.max_instance_request_concurrency))
}

/// Whether a function has the sizes that are asked for.
pub(super) fn are_in_force(asked: &Scaling, function: &Function) -> bool {
    let there = in_force(function);
    // A fraction of a second is rounded up.
    let whole = asked.timeout.map(|timeout| Duration::from_secs(whole_seconds(timeout)));
    there.overridden_by(&asked.clone().with_timeout(whole)) == there
}

/// A quantity as Kubernetes writes it: `256M`, `512Mi`, `1Gi`; without a unit it is bytes.
fn mebibytes(quantity: &str) -> Option<u32> {
    let digits =
        quantity.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(digits);
    let scale = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        _ => return None,
    };
    let mib = number.parse::<f64>().ok()? * scale / 1_048_576.0;
    // `256M` is what Google writes for its 256 MiB tier's default; rounding keeps it near what was meant.
    (mib >= 1.0 && mib <= f64::from(u32::MAX)).then_some(mib.round() as u32)
}

fn cpus(quantity: &str) -> Option<f32> {
    let cpus = match quantity.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<f32>().ok()? / 1000.0,
        None => quantity.parse().ok()?,
    };
    (cpus > 0.0 && cpus.is_finite()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::START_TIMEOUT;

    #[test]
    fn a_quantity_without_a_unit_is_bytes() {
        for (quantity, mib) in [
            ("512", None),
            ("536870912", Some(512)),
            ("256M", Some(244)),
            ("512Mi", Some(512)),
            ("1Gi", Some(1024)),
            ("1.5Gi", Some(1536)),
            ("", None),
            ("Mi", None),
            ("1e300Gi", None),
            ("-1Mi", None),
        ] {
            assert_eq!(mebibytes(quantity), mib, "{quantity}");
        }
        assert_eq!(
            (cpus("500m"), cpus("2"), cpus(""), cpus("-1")),
            (Some(0.5), Some(2.0), None, None)
        );
    }

    #[test]
    fn what_google_would_refuse_minutes_later_is_refused_at_once() {
        let sizes = |change: fn(&mut Scaling)| {
            let mut scaling = Scaling::default();
            change(&mut scaling);
            check(&scaling, START_TIMEOUT).map_err(|e| e.to_string())
        };
        for (change, word) in [
            ((|s| s.memory_mib = Some(64)) as fn(&mut Scaling), "64 MiB"),
            (|s| s.timeout = Some(Duration::from_secs(3601)), "at most 3570s"),
            (|s| s.cpus = Some(16.0), "16 processors"),
            (|s| s.concurrency = Some(1001), "1001"),
            (|s| s.concurrency = Some(2), "at least one processor"),
        ] {
            assert!(sizes(change).unwrap_err().contains(word), "{word}");
        }
        sizes(|s| (s.concurrency, s.cpus) = (Some(2), Some(1.0))).unwrap();
        sizes(|s| (s.concurrency, s.memory_mib) = (Some(2), Some(2048))).unwrap();
        sizes(|s| s.timeout = Some(Duration::from_millis(100))).unwrap();
    }
}
