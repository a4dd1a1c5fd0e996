//! One measured figure, its floor and its goal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One line of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The measured value.
    pub(crate) name: String,
    /// How much, in `unit`.
    pub(crate) measured: f64,
    /// The unit of `measured` and `floor`.
    pub(crate) unit: String,
    /// The value that it is compared with, measured in the same run; none where the goal is a figure of its own.
    pub(crate) floor: Option<f64>,
    /// The goal.
    pub(crate) goal: Goal,
}

/// The goal: for `measured / floor` where there is a floor, else for `measured`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// Shown for comparison only.
    Shown,
}

impl Figure {
    /// A figure beside a floor; the goal is about their ratio.
    pub(crate) fn beside(
        name: impl Into<String>,
        unit: &str,
        measured: f64,
        floor: f64,
        goal: Goal,
    ) -> Self {
        Self { name: name.into(), measured, unit: unit.to_owned(), floor: Some(floor), goal }
    }

    /// A figure by itself; the goal is about the figure.
    pub(crate) fn alone(name: impl Into<String>, unit: &str, measured: f64, goal: Goal) -> Self {
        Self { name: name.into(), measured, unit: unit.to_owned(), floor: None, goal }
    }

    /// Measured by floor, where there is a floor.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.measured / floor)
    }

    /// Whether the goal holds.
    pub(crate) fn is_reached(&self) -> bool {
        let value = self.ratio().unwrap_or(self.measured);
        match self.goal {
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
            Goal::Shown => true,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.ratio().unwrap_or(self.measured);
        write!(f, "{}: {value:.3}, and the goal is {}", self.name, self.goal)
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::Shown => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_is_about_the_ratio_where_there_is_a_floor() {
        assert!(Figure::beside("rate", "1/s", 40.0, 100.0, Goal::AtLeast(0.3)).is_reached());
        assert!(!Figure::beside("time", "s", 1.3, 1.0, Goal::AtMost(1.2)).is_reached());
        assert!(!Figure::alone("memory", "MB", 65.0, Goal::AtMost(64.0)).is_reached());
    }

    #[test]
    fn a_figure_that_could_not_be_measured_misses_its_goal() {
        assert!(!Figure::beside("rate", "1/s", f64::NAN, 1.0, Goal::AtLeast(0.0)).is_reached());
    }
}
