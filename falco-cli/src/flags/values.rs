//! How values of flags are read.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;
use std::time::Duration;

/// Reads how many of something there shall be.
///
/// # Errors
///
/// When it is not a whole number, zero, or more than `T` holds.
pub fn count<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => "it is too large".to_owned(),
        _ => "it has to be a whole number, 1 or more".to_owned(),
    })
}

/// Reads a number that is greater than zero.
///
/// # Errors
///
/// When it is not a number, infinite, zero or negative.
pub fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err(format!("{text} is not greater than zero"))
    }
}

/// Reads a span of time that is not zero, such as `30s`.
///
/// # Errors
///
/// When it is not a number with a unit, or zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it has to be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}
