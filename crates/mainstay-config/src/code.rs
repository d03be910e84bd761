//! The stable codes of configuration faults: each names one kind of fault for good.
//!
//! Scripts and runbooks may rely on them, so a code is never given a new meaning, and each has
//! its page under `docs/errors/`.

use std::fmt;

/// The kind of a configuration fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A file cannot be read.
    Unreadable,
    /// The text is no YAML.
    Syntax,
    /// A key that is not known in its place.
    UnknownKey,
    /// A value of another kind than the key takes.
    WrongType,
    /// A value of the right kind that cannot be.
    BadValue,
    /// The same thing is set twice.
    SetTwice,
    /// Something that must be there is not.
    Missing,
    /// A name that nothing has.
    UnknownName,
    /// Times that do not fit into each other.
    Times,
    /// A step that can never be reached.
    Unreachable,
    /// A default prediction that does not fit the outputs.
    DefaultMisfit,
    /// Settings that contradict each other.
    Contradiction,
    /// Known, and not supported in this version.
    Unsupported,
    /// A secret that is written down, or cannot be read.
    Secret,
    /// Includes that lead in a circle or too deep.
    Include,
    /// Allowed and probably not meant: a pool that no model uses.
    Unused,
    /// A golden file that cannot be used, or that contradicts the declared outputs.
    Golden,
    /// A chain crosses protocols, and the model's tensors are not declared.
    Undeclared,
    /// A declared tensor that another protocol of the chain has no words for.
    Untranslatable,
    /// Sources of one chain that cannot answer what the others are asked.
    Apart,
    /// Paths of plain HTTP that are missing, faulty or taken.
    Paths,
    /// A certificate, a key or an authority that cannot be used.
    Tls,
    /// Who may ask: keys or tokens that cannot be used.
    Keys,
    /// A listener for operators that others reach.
    Exposed,
    /// What belongs to another protocol: a TCP pool in a chain, a model's pool behind a TCP
    /// listener, keys that mean nothing there.
    OtherProtocol,
    /// A pool with one writer whose writer cannot be known, or that is not alone.
    OneWriter,
}

impl Code {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 26] = [
        Self::Unreadable,
        Self::Syntax,
        Self::UnknownKey,
        Self::WrongType,
        Self::BadValue,
        Self::SetTwice,
        Self::Missing,
        Self::UnknownName,
        Self::Times,
        Self::Unreachable,
        Self::DefaultMisfit,
        Self::Contradiction,
        Self::Unsupported,
        Self::Secret,
        Self::Include,
        Self::Unused,
        Self::Golden,
        Self::Tls,
        Self::Keys,
        Self::Exposed,
        Self::OtherProtocol,
        Self::OneWriter,
        Self::Undeclared,
        Self::Untranslatable,
        Self::Apart,
        Self::Paths,
    ];

    /// The code as it is printed; also the name of its page under `docs/errors/`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "MS0101",
            Self::Syntax => "MS0102",
            Self::UnknownKey => "MS0103",
            Self::WrongType => "MS0104",
            Self::BadValue => "MS0105",
            Self::SetTwice => "MS0106",
            Self::Missing => "MS0107",
            Self::UnknownName => "MS0108",
            Self::Times => "MS0109",
            Self::Unreachable => "MS0110",
            Self::DefaultMisfit => "MS0111",
            Self::Contradiction => "MS0112",
            Self::Unsupported => "MS0113",
            Self::Secret => "MS0114",
            Self::Include => "MS0115",
            Self::Unused => "MS0116",
            Self::Golden => "MS0117",
            Self::Tls => "MS0120",
            Self::Keys => "MS0121",
            Self::Exposed => "MS0122",
            Self::OtherProtocol => "MS0125",
            Self::OneWriter => "MS0126",
            Self::Undeclared => "MS0135",
            Self::Untranslatable => "MS0136",
            Self::Apart => "MS0137",
            Self::Paths => "MS0138",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
