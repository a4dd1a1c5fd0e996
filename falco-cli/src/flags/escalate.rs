//! The sizes that functions may grow to.

use std::str::FromStr;
use std::time::Duration;

use falco_layers::Ladder;

/// Sizes as the command line names them: MiB of memory, timeouts, and whether a crash counts as out of memory.
#[derive(Clone, Debug)]
pub struct Sizes(Ladder);

impl Sizes {
    /// The steps.
    pub(crate) fn ladder(&self) -> &Ladder {
        &self.0
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut memory, mut timeouts, mut takes_crashes) = (Vec::new(), Vec::new(), false);
        for step in text.split(',').map(str::trim) {
            if step == "crashes" {
                takes_crashes = true;
            } else if let Ok(mib) = step.parse::<u32>() {
                memory.push(mib);
            } else {
                let timeout: Duration = humantime::parse_duration(step).map_err(|_| {
                    format!(
                        "{step:?} is not MiB of memory, such as 512, a time, such as 5m, or crashes"
                    )
                })?;
                timeouts.push(timeout);
            }
        }
        let mut ladder = Ladder::default();
        if !memory.is_empty() || timeouts.is_empty() {
            ladder = ladder.with_memory(memory).map_err(|error| error.to_string())?;
        }
        if !timeouts.is_empty() {
            ladder = ladder.with_timeouts(timeouts).map_err(|error| error.to_string())?;
        }
        Ok(Self(if takes_crashes { ladder.with_crashes() } else { ladder }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_mib_of_memory_times_and_crashes() {
        let sizes: Sizes = "512, 1024,1m,15m,crashes".parse().unwrap();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let memory = Ladder::memory([512, 1024]).unwrap();
        let expected = memory.with_timeouts([minutes(1), minutes(15)]).unwrap().with_crashes();
        assert_eq!(*sizes.ladder(), expected);
        let times: Sizes = "90s".parse().unwrap();
        assert_eq!(*times.ladder(), Ladder::timeouts([Duration::from_secs(90)]).unwrap());
    }

    #[test]
    fn invalid_or_not_ascending_sizes_are_refused_with_what_is_wrong() {
        for (text, words) in [
            ("", "\"\" is not MiB"),
            ("1024,512", "[1024, 512]: the steps do not ascend"),
            ("1m,30s", "the steps do not ascend"),
            ("0", "a step is zero"),
            ("512,large", "\"large\" is not MiB"),
            ("crashes", "it is empty"),
        ] {
            let error = text.parse::<Sizes>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
