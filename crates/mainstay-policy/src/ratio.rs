//! A share between nothing and all.

use std::fmt;

/// A share from 0.0 to 1.0.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio(f32);

impl Ratio {
    /// Nothing: 0 %.
    pub const ZERO: Self = Self(0.0);
    /// All: 100 %.
    pub const ONE: Self = Self(1.0);

    /// A share of `percent` hundredths; values above 100 count as 100.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        Self(if percent > 100 { 1.0 } else { percent as f32 / 100.0 })
    }

    /// The share `value`, or `None` outside 0.0 to 1.0 (or not a number).
    #[must_use]
    pub fn new(value: f32) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The share as a number from 0.0 to 1.0.
    #[must_use]
    pub const fn get(self) -> f32 {
        self.0
    }

    /// Whether `part` of `whole` reaches this share. An empty whole reaches nothing.
    #[must_use]
    pub fn reached_by(self, part: u32, whole: u32) -> bool {
        whole > 0 && f64::from(part) >= f64::from(self.0) * f64::from(whole)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shares_are_ratios() {
        assert_eq!(Ratio::new(0.5), Some(Ratio::percent(50)));
        assert_eq!(Ratio::new(1.1), None);
        assert_eq!(Ratio::new(f32::NAN), None);
        assert_eq!(Ratio::percent(250), Ratio::ONE);
    }

    #[test]
    fn an_empty_whole_reaches_nothing() {
        assert!(!Ratio::ZERO.reached_by(0, 0));
        assert!(Ratio::percent(50).reached_by(1, 2));
        assert!(!Ratio::percent(50).reached_by(1, 3));
    }
}
