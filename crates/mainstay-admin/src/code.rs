//! The stable codes of administration: what an operator may meet and act on.
//!
//! Scripts and runbooks may rely on them, so a code is never given a new meaning, and each has
//! its page under `docs/errors/`.

use std::fmt;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The token file cannot be read or written.
    TokenFile,
    /// The token file can be read by others.
    TokenExposed,
    /// The token file holds no token.
    TokenMalformed,
    /// The listener's address cannot be had.
    Listen,
    /// A request for a host that this is not.
    ForeignHost,
    /// A request that another site's page sent.
    ForeignOrigin,
    /// A verb without the right token.
    Unauthorized,
    /// A request that says nothing that can be done.
    BadRequest,
    /// Nothing has that name.
    UnknownTarget,
    /// No record of that request is left.
    UnknownRequest,
    /// There is nothing at that path, or not with that method.
    NoSuchPath,
    /// The answer took too long.
    TooSlow,
    /// A configuration that is not put into effect.
    ConfigurationRefused,
    /// A new binary that does not become ready.
    UpgradeFailed,
    /// The admin listener does not answer.
    Unreachable,
    /// The admin listener answered with something else than expected.
    BadAnswer,
    /// A server that may not register itself.
    Unregistered,
    /// An order that would leave too little.
    TooLittle,
    /// An order that has nothing to do.
    Pointless,
    /// The file of the orders cannot be read or written.
    OrdersFile,
    /// A verb by a token that may only read.
    Forbidden,
    /// The audit trail cannot be opened.
    AuditFile,
}

impl Code {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 22] = [
        Self::TokenFile,
        Self::TokenExposed,
        Self::TokenMalformed,
        Self::Listen,
        Self::ForeignHost,
        Self::ForeignOrigin,
        Self::Unauthorized,
        Self::BadRequest,
        Self::UnknownTarget,
        Self::UnknownRequest,
        Self::NoSuchPath,
        Self::TooSlow,
        Self::ConfigurationRefused,
        Self::UpgradeFailed,
        Self::Unreachable,
        Self::BadAnswer,
        Self::Unregistered,
        Self::TooLittle,
        Self::Pointless,
        Self::OrdersFile,
        Self::Forbidden,
        Self::AuditFile,
    ];

    /// The code as it is printed; also the name of its page under `docs/errors/`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenFile => "MS0301",
            Self::TokenExposed => "MS0302",
            Self::TokenMalformed => "MS0303",
            Self::Listen => "MS0304",
            Self::ForeignHost => "MS0305",
            Self::ForeignOrigin => "MS0306",
            Self::Unauthorized => "MS0307",
            Self::BadRequest => "MS0308",
            Self::UnknownTarget => "MS0309",
            Self::UnknownRequest => "MS0310",
            Self::NoSuchPath => "MS0311",
            Self::TooSlow => "MS0312",
            Self::ConfigurationRefused => "MS0320",
            Self::UpgradeFailed => "MS0321",
            Self::Unreachable => "MS0313",
            Self::BadAnswer => "MS0314",
            Self::Unregistered => "MS0322",
            Self::TooLittle => "MS0315",
            Self::Pointless => "MS0316",
            Self::OrdersFile => "MS0317",
            Self::Forbidden => "MS0323",
            Self::AuditFile => "MS0324",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        for code in Code::ALL {
            let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
            let page = std::fs::read_to_string(format!("{pages}/{code}.md")).unwrap_or_default();
            assert!(page.starts_with(&format!("# {code}: ")), "{code}");
        }
    }
}
