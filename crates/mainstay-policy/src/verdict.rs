//! What we hold a target to be, from all that we know of it.

/// The state of a target, fused from probes and from the traffic itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Verdict {
    /// Nothing is known yet: it may be tried, after those that are known to be ready.
    #[default]
    Unknown = 0,
    /// Answers.
    Ready = 1,
    /// Answers, and is full.
    Busy = 2,
    /// Answers, much later than its peers or than it used to.
    Slow = 3,
    /// Takes requests and completes none.
    Stalled = 4,
    /// Alive, with the model not ready: no traffic, and no failure either.
    Loading = 5,
    /// Asked for no new requests.
    Draining = 6,
    /// Refuses, resets or does not answer.
    Dead = 7,
    /// Answers, and wrongly: a golden request whose answer is known came back with another one.
    Wrong = 8,
}

impl Verdict {
    /// Every verdict, in the order of the codes.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Ready,
        Self::Busy,
        Self::Slow,
        Self::Stalled,
        Self::Loading,
        Self::Draining,
        Self::Dead,
        Self::Wrong,
    ];

    /// The verdict with this code (`verdict as u8`), or `None`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Whether new requests may go there.
    #[must_use]
    pub const fn takes_traffic(self) -> bool {
        match self {
            Self::Unknown | Self::Ready | Self::Busy | Self::Slow => true,
            Self::Stalled | Self::Loading | Self::Draining | Self::Dead | Self::Wrong => false,
        }
    }

    /// The verdict in kebab case, as metrics, records and status show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Slow => "slow",
            Self::Stalled => "stalled",
            Self::Loading => "loading",
            Self::Draining => "draining",
            Self::Dead => "dead",
            Self::Wrong => "wrong",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_their_verdict() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::from_code(verdict as u8), Some(verdict));
        }
        assert_eq!(Verdict::from_code(9), None);
    }
}
