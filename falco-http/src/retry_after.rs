//! The wait that a server asks for.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The wait that `Retry-After` asks for, in either of its forms: seconds, or a date.
///
/// A date is counted from the reply's own `Date`, so that clocks which differ do no harm; without one, from `now`.
/// A date that has passed means no wait; what cannot be understood means `None`.
///
/// # Examples
///
/// ```
/// use falco_http::{reqwest::header::HeaderMap, retry_after};
/// use std::time::{Duration, SystemTime};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("retry-after", "120".parse()?);
/// assert_eq!(retry_after(&headers, SystemTime::now()), Some(Duration::from_secs(120)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let date =
        headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Some(until.duration_since(date.unwrap_or(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(retry: &str, date: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_date_counts_from_the_servers_clock() {
        let headers =
            headers("Wed, 21 Oct 2026 07:28:00 GMT", Some("Wed, 21 Oct 2026 07:27:30 GMT"));
        assert_eq!(retry_after(&headers, SystemTime::UNIX_EPOCH), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_date_without_the_servers_clock_counts_from_ours_and_never_backwards() {
        let until = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
        let headers = headers("Wed, 21 Oct 2026 07:28:00 GMT", None);
        let wait = |now| retry_after(&headers, now);
        assert_eq!(wait(until - Duration::from_secs(5)), Some(Duration::from_secs(5)));
        assert_eq!(wait(until + Duration::from_secs(5)), Some(Duration::ZERO));
    }

    #[test]
    fn an_invalid_retry_after_is_ignored() {
        for nonsense in ["soon", "-1", "1.5", "", "99999999999999999999999"] {
            assert_eq!(
                retry_after(&headers(nonsense, None), SystemTime::now()),
                None,
                "{nonsense}"
            );
        }
    }
}
