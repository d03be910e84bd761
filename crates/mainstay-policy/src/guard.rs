//! Guards: what an answer must keep to, whoever gave it.
//!
//! Only their names stand here, as metrics and records share them; how they are checked stands
//! with the protocol, in `mainstay_protocol::oip::guard`.

/// A guard that an answer can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Guard {
    /// It cannot be read as the protocol's at all; a `NaN` in JSON ends here too.
    Readable = 1,
    /// An output that must be there is not.
    Present = 2,
    /// An output has another datatype than declared.
    Datatype = 3,
    /// An output has another shape than declared, or another number of rows than were asked for.
    Shape = 4,
    /// A value is NaN or infinite.
    Finite = 5,
    /// A value lies outside its range.
    Range = 6,
    /// A value is none of those that are allowed.
    Allowed = 7,
    /// One and the same answer, whatever is asked.
    Constant = 8,
}

impl Guard {
    /// Every guard, in the order of the codes.
    pub const ALL: [Self; 8] = [
        Self::Readable,
        Self::Present,
        Self::Datatype,
        Self::Shape,
        Self::Finite,
        Self::Range,
        Self::Allowed,
        Self::Constant,
    ];

    /// The guard with this code (`guard as u8`), or `None`; 0 is no guard's.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// The guard in kebab case, as metrics and records show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Readable => "readable",
            Self::Present => "present",
            Self::Datatype => "datatype",
            Self::Shape => "shape",
            Self::Finite => "finite",
            Self::Range => "range",
            Self::Allowed => "allowed",
            Self::Constant => "constant",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_their_guard() {
        for guard in Guard::ALL {
            assert_eq!(Guard::from_code(guard as u8), Some(guard));
        }
        assert_eq!(Guard::from_code(0), None);
        assert_eq!(Guard::from_code(9), None);
    }
}
