//! The one place that reads the time, keeps limits of it, and reads and prints it as text.
//!
//! Everything else takes the time as an argument or asks a [`Clock`], so that a test can replay the year 2022.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pin_project_lite::pin_project;
use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep};
use uuid::{NoContext, Uuid};

/// Tells the time. [`SystemClock`] unless a test or a simulation sets its own.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that all else must ask")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }
}

pin_project! {
    /// What `future` gives within `limit`. One that gives it at once, as most do, costs no timer.
    pub(crate) struct Within<F> {
        #[pin]
        future: F,
        limit: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

/// The limit passed first.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it took too long")]
pub(crate) struct Elapsed;

pub(crate) const fn within<F: Future>(limit: Duration, future: F) -> Within<F> {
    Within { future, limit, timer: None }
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(*this.limit)));
        // A future that uses up the task's budget each time must not keep the limit from passing.
        pin!(unconstrained(timer.as_mut())).poll(cx).map(|()| Err(Elapsed))
    }
}

/// A new UUID of version 7 that tells of `time` (RFC 9562 §5.7).
pub(crate) fn uuid(time: SystemTime) -> Uuid {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos()))
}

/// `time` in UTC as RFC 3339 has it, to the millisecond and without a fraction of zero.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    match Timestamp::try_from(floor(time, Duration::from_millis(1))) {
        Ok(timestamp) => timestamp.to_string(),
        // Outside the years -9999 to 9999, for which RFC 3339 has no form.
        Err(_) => String::from("unrepresentable"),
    }
}

/// `time` in UTC as RFC 3339 has it, to its last digit, so that it is equal when it is read back.
pub(crate) fn rfc3339_exactly(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|timestamp| timestamp.to_string())
}

/// `text` as a moment: RFC 3339, or the forms that registries and databases use in its place.
///
/// Without a zone it is UTC, without a time of day it is midnight; a blank may stand for the `T`, and the
/// zone may lack its colon. `None` where it is none of these, or its year is above 9999.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let timestamp =
        text.parse::<Timestamp>().or_else(|_| text.parse::<DateTime>().and_then(|civil| TimeZone::UTC.to_timestamp(civil))).ok()?;
    timestamp.try_into().ok()
}

/// Moments that may be unknown, as RFC 3339 has them, for serde. One that RFC 3339 has no form for counts as unknown.
pub(crate) mod text {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        time.and_then(super::rfc3339_exactly).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no moment")))).transpose()
    }
}

/// A moment that is known, likewise.
pub(crate) mod moment {
    use std::time::SystemTime;

    use serde::{Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        super::text::serialize(&Some(*time), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        super::text::deserialize(deserializer)?.ok_or_else(|| D::Error::custom("a moment is missing"))
    }
}

fn floor(time: SystemTime, unit: Duration) -> SystemTime {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => {
            let excess = since.as_nanos() % unit.as_nanos();
            time - Duration::from_nanos(u64::try_from(excess).unwrap_or_default())
        }
        Err(_) => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_registries_and_databases_use_is_read_as_utc() {
        let expected = parse("2021-05-04T10:00:00Z").unwrap();
        for text in [
            "2021-05-04T10:00:00.0Z",
            "2021-05-04T10:00:00.000000Z",
            "2021-05-04T10:00:00",
            "2021-05-04 10:00:00",
            "2021-05-04T12:00:00+02:00",
            "2021-05-04T05:00:00-0500",
            " 2021-05-04T10:00:00Z ",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        assert_eq!(parse("2021-05-04"), parse("2021-05-04T00:00:00Z"));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "createTime", "false", "+294247-01-10T04:00:54.775Z", "294247-01-10T04:00:54.775Z", "2021-13-01T00:00:00Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn time_is_printed_to_the_millisecond() {
        let time = parse("2026-01-31T12:00:00.123456Z").unwrap();
        assert_eq!(rfc3339(time), "2026-01-31T12:00:00.123Z");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
