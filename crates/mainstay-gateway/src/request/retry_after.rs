//! When a server says that it may be asked again (RFC 9110, section 10.2.3).

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use mainstay_policy::Moment;
use mainstay_telemetry::Clock;

/// Names under which some say it in milliseconds.
const MILLIS: [&str; 2] = ["retry-after-ms", "x-ms-retry-after-ms"];

/// What is left of a limit, and when it begins anew.
const LIMITS: [(&str, &str); 2] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
];

/// How long from now; `None` where nothing was said. What cannot be read is no time at all: it
/// was said, so that the server is full, but not for how long.
pub(super) fn read(headers: &HeaderMap, clock: &Clock, now: Moment) -> Option<Duration> {
    if let Some(millis) = MILLIS.iter().find_map(|name| headers.get(*name)) {
        let millis: f64 = millis.to_str().ok()?.trim().parse().ok()?;
        return Duration::try_from_secs_f64(millis / 1e3).ok();
    }
    let value = headers.get(RETRY_AFTER)?;
    let text = value.to_str().unwrap_or_default().trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    let until = || {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(clock.wall(now)).ok()
    };
    Some(seconds.or_else(until).unwrap_or_default())
}

/// When a limit that is used up begins anew, as providers of language models say it beside a
/// refusal; `None` where nothing is used up, or nothing was said.
pub(super) fn reset(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let used_up = LIMITS.iter().filter(|(remaining, _)| text(remaining) == Some("0"));
    used_up.filter_map(|(_, reset)| span(text(reset)?)).max()
}

/// `1h2m3.5s`, `20ms`, or a plain number of seconds.
fn span(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let after = &rest[number..];
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let scale = match &after[..unit] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += rest[..number].parse::<f64>().ok()? * scale;
        rest = &after[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
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
    fn milliseconds_and_limits_are_understood() {
        let clock = Clock::start();
        let mut headers = HeaderMap::new();
        headers.insert("retry-after-ms", HeaderValue::from_static("1500"));
        assert_eq!(read(&headers, &clock, clock.now()), Some(Duration::from_millis(1500)));
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining-requests", HeaderValue::from_static("7"));
        headers.insert("x-ratelimit-reset-requests", HeaderValue::from_static("9h"));
        headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_static("0"));
        headers.insert("x-ratelimit-reset-tokens", HeaderValue::from_static("1m3.5s"));
        assert_eq!(reset(&headers), Some(Duration::from_millis(63_500)));
        for (text, expected) in
            [("20ms", Some(20)), ("2", Some(2000)), ("soon", None), ("3d", None)]
        {
            assert_eq!(span(text).map(|span| span.as_millis()), expected, "{text}");
        }
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
