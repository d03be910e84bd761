//! When a server says that it may be asked again (RFC 9110, section 10.2.3).

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use mainstay_policy::Moment;
use mainstay_telemetry::Clock;

/// How long from now; `None` where nothing was said. What cannot be read is no time at all: it
/// was said, so that the server is full, but not for how long.
pub(super) fn read(headers: &HeaderMap, clock: &Clock, now: Moment) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    let text = value.to_str().unwrap_or_default().trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    let until = || {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(clock.wall(now)).ok()
    };
    Some(seconds.or_else(until).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(text: &str) -> Option<Duration> {
        let clock = Clock::start();
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("a value"));
        read(&headers, &clock, clock.now())
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        assert_eq!(said("3"), Some(Duration::from_secs(3)));
        assert_eq!(said("soon"), Some(Duration::ZERO));
        assert_eq!(said("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let far = said("Fri, 31 Dec 9999 23:59:59 GMT").expect("a time");
        assert!(far > Duration::from_secs(86_400), "{far:?}");
        let clock = Clock::start();
        assert_eq!(read(&HeaderMap::new(), &clock, clock.now()), None);
    }
}
