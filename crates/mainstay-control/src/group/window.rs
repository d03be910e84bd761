//! Windows of the week, in UTC: "Mon-Fri 08:00-18:00", "02:00-04:00", "Sat,Sun 22:00-06:00".
//!
//! UTC, since a rule that moves with daylight saving time happens twice or never once a year. A
//! window that ends before it begins ends on the next day.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const MINUTES_OF_DAY: u32 = 24 * 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// 1970-01-01 was a Thursday.
const EPOCH_DAY: u64 = 3;

/// The time of day and of the week, as seconds since 1970-01-01 UTC. It comes in as data; nothing
/// is measured with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

impl Wall {
    /// The day of the week from Monday, and the minute of the day.
    fn day_and_minute(self) -> (u32, u32) {
        let day = (self.0 / 86_400 + EPOCH_DAY) % 7;
        (day as u32, (self.0 % 86_400 / 60) as u32)
    }
}

/// A part of the week in which something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Bits by day, from Monday.
    days: u8,
    /// Minutes of the day.
    from: u32,
    until: u32,
}

/// A text that is no window; says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no window")]
pub struct BadWindow(pub String);

impl Window {
    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self, wall: Wall) -> bool {
        let (day, minute) = wall.day_and_minute();
        let begins_on = |day: u32| self.days >> (day % 7) & 1 == 1;
        if self.from < self.until {
            return begins_on(day) && (self.from..self.until).contains(&minute);
        }
        (begins_on(day) && minute >= self.from) || (begins_on(day + 6) && minute < self.until)
    }

    /// How long until it opens; nothing while it is open.
    #[must_use]
    pub fn opens_in(&self, wall: Wall) -> Duration {
        let opens = |minutes: u64| {
            let at = Wall(wall.0 - wall.0 % 60 + minutes * 60);
            self.is_open(at).then_some(at.0)
        };
        // Every window is a whole number of minutes of a week.
        let at = (0..=u64::from(7 * MINUTES_OF_DAY)).find_map(opens).unwrap_or(wall.0);
        Duration::from_secs(at.saturating_sub(wall.0))
    }
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        parse(text).ok_or_else(|| BadWindow(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Window> {
    let mut words = text.split_whitespace();
    let (first, second) = (words.next()?, words.next());
    let (days, times) = match second {
        Some(times) => (days(first)?, times),
        None => (0x7f, first),
    };
    let (from, until) = times.split_once('-')?;
    let (from, until) = (minute(from)?, minute(until)?);
    let sound = words.next().is_none() && from != until && from < MINUTES_OF_DAY;
    sound.then_some(Window { days, from, until })
}

fn days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    text.split(',').try_fold(0, |days, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        Some((0..=length).fold(days, |days, after| days | 1 << ((first + after) % 7)))
    })
}

fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let (hour, minute) = (number(hour)?, number(minute)?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= MINUTES_OF_DAY).then_some(of_day)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != 0x7f {
            let names = (0..7).filter(|day| self.days >> day & 1 == 1).map(|day| DAYS[day]);
            write!(f, "{} ", names.collect::<Vec<_>>().join(","))?;
        }
        let clock = |minute: u32| (minute / 60, minute % 60);
        let ((hour, minute), (last_hour, last)) = (clock(self.from), clock(self.until));
        write!(f, "{hour:02}:{minute:02}-{last_hour:02}:{last:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-16, a Monday.
    const MONDAY: u64 = 1_794_787_200;

    fn at(day: u64, hour: u64, minute: u64) -> Wall {
        Wall(MONDAY + day * 86_400 + hour * 3600 + minute * 60)
    }

    #[test]
    fn a_working_week_is_open_by_day() {
        let window: Window = "Mon-Fri 08:00-18:00".parse().unwrap();
        assert!(window.is_open(at(0, 8, 0)) && window.is_open(at(4, 17, 59)));
        assert!(!window.is_open(at(0, 7, 59)) && !window.is_open(at(0, 18, 0)));
        assert!(!window.is_open(at(5, 12, 0)));
        assert_eq!(window.opens_in(at(5, 8, 0)), Duration::from_hours(48));
        assert_eq!(window.to_string(), "Mon,Tue,Wed,Thu,Fri 08:00-18:00 UTC");
    }

    #[test]
    fn a_night_begins_on_its_day_and_ends_on_the_next() {
        let window: Window = "Sun 22:00-06:00".parse().unwrap();
        assert!(window.is_open(at(6, 23, 0)) && window.is_open(at(7, 5, 59)));
        assert!(!window.is_open(at(6, 5, 0)) && !window.is_open(at(7, 23, 0)));
        let every: Window = "02:00-04:00".parse().unwrap();
        assert!((0..7).all(|day| every.is_open(at(day, 3, 0))));
        assert_eq!(every.opens_in(at(0, 1, 0)), Duration::from_hours(1));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for wrong in
            ["", "Mon", "08:00", "8:00-9:00", "08:00-08:00", "25:00-26:00", "Mun 08:00-09:00"]
        {
            assert_eq!(wrong.parse::<Window>(), Err(BadWindow(wrong.to_owned())));
        }
        assert!("Fri-Mon 00:00-24:00".parse::<Window>().is_ok());
    }
}
