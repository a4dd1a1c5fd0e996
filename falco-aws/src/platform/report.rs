//! Lambda's own line about an invocation, at the end of its log.

use std::time::Duration;

/// The content of a `REPORT` line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    pub(super) duration: Option<Duration>,
    pub(super) billed: Option<Duration>,
    pub(super) memory_mib: Option<u32>,
    pub(super) memory_used_mib: Option<u64>,
    /// Only there for a cold start.
    pub(super) init: Option<Duration>,
}

/// How the line begins.
pub(super) const START: &str = "REPORT RequestId: ";

impl Report {
    /// The report in a piece of log, when there is one: it is parsed key by key, since order and set are not fixed.
    pub(super) fn find(log: &str) -> Option<Self> {
        log.lines().rev().find(|line| line.starts_with(START)).map(Self::of_line)
    }

    /// The activation and the report in a line that is one.
    pub(super) fn of_activation(line: &str) -> Option<(&str, Self)> {
        let id = line.strip_prefix(START)?.split_whitespace().next()?;
        Some((id, Self::of_line(line)))
    }

    fn of_line(line: &str) -> Self {
        let mut report = Self::default();
        for field in line.split('\t') {
            let Some((key, value)) = field.split_once(':') else { continue };
            let number = value.split_whitespace().next().unwrap_or_default();
            match key.trim() {
                "Duration" => report.duration = milliseconds(number),
                "Billed Duration" => report.billed = milliseconds(number),
                "Init Duration" => report.init = milliseconds(number),
                "Memory Size" => report.memory_mib = number.parse().ok(),
                "Max Memory Used" => report.memory_used_mib = number.parse().ok(),
                _ => {}
            }
        }
        report
    }
}

/// Milliseconds with a fraction, as a duration; nothing for what is not a sensible number.
fn milliseconds(number: &str) -> Option<Duration> {
    let seconds = number.parse::<f64>().ok()? / 1000.0;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cold_start_reports_how_long_it_took() {
        let log = "START RequestId: a Version: $LATEST\nhello\nEND RequestId: a\n\
            REPORT RequestId: a\tDuration: 395.99 ms\tBilled Duration: 662 ms\tMemory Size: 512 MB\t\
            Max Memory Used: 301 MB\tInit Duration: 265.72 ms\t\n";
        let report = Report::find(log).unwrap();
        assert_eq!(report.duration, Some(Duration::from_micros(395_990)));
        assert_eq!(report.billed, Some(Duration::from_millis(662)));
        assert_eq!((report.memory_mib, report.memory_used_mib), (Some(512), Some(301)));
        assert_eq!(report.init, Some(Duration::from_micros(265_720)));
    }

    #[test]
    fn fields_may_come_in_any_order_and_be_left_out() {
        let log = "REPORT RequestId: a\tStatus: timeout\tMax Memory Used: 30 MB\tDuration: 3000.00 ms\n\
            XRAY TraceId: x\tSegmentId: y\tSampled: true";
        let report = Report::find(log).unwrap();
        assert_eq!(report.duration, Some(Duration::from_secs(3)));
        assert_eq!((report.init, report.billed), (None, None));
    }

    #[test]
    fn what_the_function_prints_is_not_taken_for_a_report_unless_it_is_one() {
        assert_eq!(Report::find("the REPORT RequestId: is late"), None);
        assert_eq!(Report::find(""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_text_causes_no_panic(text in "\\PC{0,80}", number in "[-+0-9eE.naif]{0,12}") {
            let _ = Report::find(&text);
            let _ = Report::find(&format!("REPORT RequestId: a\tDuration: {number} ms\t{text}"));
        }
    }
}
