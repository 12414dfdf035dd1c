//! How long a server wants to be left alone: `Retry-After` (RFC 9110 §10.2.3), in seconds or as a date.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::clock::{Clock, SystemClock};

/// A server that wants more gets this much.
pub(super) const LONGEST: Duration = Duration::from_secs(3_600);

/// A date further off is taken for a mistake.
const FURTHEST_DATE: Duration = Duration::from_secs(86_400);

/// The time that `headers` ask for. `None` where they ask for none, or for none that makes sense.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let wait = match text(headers, RETRY_AFTER)?.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => until_date(headers)?,
    };
    (!wait.is_zero()).then(|| wait.min(LONGEST))
}

/// The server's clock may be any, so its date counts from its own `Date`. Only a server without one is measured by this machine's clock.
fn until_date(headers: &HeaderMap) -> Option<Duration> {
    let now = date(headers, DATE).unwrap_or_else(|| SystemClock.now());
    let wait = date(headers, RETRY_AFTER)?.duration_since(now).ok()?;
    (wait <= FURTHEST_DATE).then_some(wait)
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nonsense_is_none() {
        let rows = [
            ("17", Some(17)),
            (" 17 ", Some(17)),
            ("0", None),
            ("-1", None),
            ("86400", Some(3_600)),
            ("18446744073709551616", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)), // the obsolete forms, which a recipient must read (RFC 9110 §5.6.7)
            ("Sun Nov  6 08:49:47 1994", Some(10)),
            ("Sun, 06 Nov 1994 20:49:37 GMT", Some(3_600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None), // now
            ("Sun, 06 Nov 1994 08:49:36 GMT", None), // past
            ("Tue, 06 Nov 2094 08:49:37 GMT", None), // absurd
        ];
        for (value, seconds) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_date_from_a_server_without_clock_counts_by_ours() {
        let mut headers = HeaderMap::new();
        let date = httpdate::fmt_http_date(SystemClock.now() + Duration::from_secs(600));
        headers.insert(RETRY_AFTER, date.parse().unwrap());
        let wait = retry_after(&headers).unwrap();
        assert!(wait > Duration::from_secs(500) && wait <= Duration::from_secs(600), "{wait:?}");
    }
}
