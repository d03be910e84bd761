//! How much a request matters when not all can be served.

/// The priorities, the highest first: the order of the variants is the order of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// Served before everything else.
    Critical = 0,
    /// Before ordinary requests.
    High = 1,
    /// Ordinary requests.
    #[default]
    Normal = 2,
    /// Batch work, refreshes: what can come again later.
    Low = 3,
}

impl Priority {
    /// Every priority, the highest first, in the order of the codes.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The priority with this code (`priority as u8`), or `None`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The priority of this name in any case; `None` where there is no such name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let name = name.trim_ascii();
        Self::ALL.into_iter().find(|one| name.eq_ignore_ascii_case(one.as_str().as_bytes()))
    }

    /// The priority in lower case, as headers, configuration and metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The part of a queue of `size` that this priority and those below may fill together: all
    /// for the two highest, four fifths for ordinary requests, half for the lowest, so that a
    /// flood of lesser work never leaves a higher one without a place. At least one place, where
    /// there are any.
    #[must_use]
    pub const fn share_of(self, size: usize) -> usize {
        let share = match self {
            Self::Critical | Self::High => size,
            Self::Normal => size - size / 5,
            Self::Low => size - size / 2,
        };
        if share == 0 && size > 0 { 1 } else { share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back_to_their_priority() {
        for priority in Priority::ALL {
            assert_eq!(Priority::from_code(priority as u8), Some(priority));
            assert_eq!(Priority::from_name(priority.as_str().as_bytes()), Some(priority));
        }
        assert_eq!(Priority::from_name(b" HIGH "), Some(Priority::High));
        assert_eq!(Priority::from_name(b"urgent"), None);
        assert_eq!(Priority::from_code(4), None);
    }

    #[test]
    fn the_highest_is_served_first() {
        assert!(Priority::Critical < Priority::High && Priority::Normal < Priority::Low);
    }

    #[test]
    fn shares_shrink_with_the_priority_and_never_to_nothing() {
        let shares = |size| Priority::ALL.map(|priority| priority.share_of(size));
        assert_eq!(shares(100), [100, 100, 80, 50]);
        assert_eq!(shares(1), [1, 1, 1, 1]);
        assert_eq!(shares(0), [0, 0, 0, 0]);
    }
}
