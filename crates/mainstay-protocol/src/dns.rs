//! DNS as a stub resolver speaks it (RFC 1035, 2782, 3596, 6891), without I/O: a question is
//! written, its answer is read.
//!
//! Three kinds of records tell where servers are: A, AAAA and SRV; aliases (CNAME) on the way are
//! followed inside one answer, as recursive resolvers give them. An answer counts only if it is
//! to this very question: its number and the question that it repeats must match (RFC 5452,
//! section 9.1); whoever sends it must be who was asked, which is the socket's affair.
//!
//! Why not a library: the well-kept ones bring a resolver with caches, threads and transports of
//! its own, where one question and one answer are needed.

mod answer;
mod name;
mod question;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Code, Record, read_answer};
pub use name::Name;
pub use question::write_question;

/// The largest answer over UDP that is asked for: what passes everywhere without fragments
/// (DNS flag day 2020).
pub const UDP_SIZE: u16 = 1232;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Servers of a service, with port, priority and weight.
    Srv,
}

impl Kind {
    /// Its number (IANA, DNS resource record types).
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }

    /// As it is written in zones.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        }
    }
}

/// Why bytes are no answer to the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They end in the middle, or a name in them is none.
    #[error("the answer is malformed")]
    Malformed,
    /// Another number, another question, or no answer at all.
    #[error("the answer is to another question")]
    Unasked,
}
