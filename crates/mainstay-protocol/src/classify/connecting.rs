//! Why a connection could not be opened, and what that says of the server.
//!
//! Only what comes back from there says anything of it: a refusal or a reset means that nobody
//! listens any more. A gateway without a descriptor, a port or a buffer left has asked nobody, and
//! every server would look the same from there. What lies between (no route, no such name, no
//! answer in time) makes a server useless from here, without saying that its process is gone.
//!
//! connect(2), socket(2); the numbers are those of Linux on all its architectures but MIPS and
//! SPARC, where they are taken for an unreachable server instead.

use std::io;

use mainstay_policy::Class;

/// `ENFILE`: the system has no descriptor left.
const ENFILE: i32 = 23;
/// `EMFILE`: the process has none.
const EMFILE: i32 = 24;
/// `ENOBUFS`: the system has no buffer left.
const ENOBUFS: i32 = 105;

/// What a failure to connect says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connecting {
    /// Nobody listens there: whatever the server held in memory is gone.
    Gone,
    /// It cannot be reached from here; it may well be alive.
    Unreachable,
    /// The gateway itself lacked what it takes; nobody was asked.
    Shortage,
}

impl Connecting {
    /// What this error says.
    #[must_use]
    pub fn failed(error: &io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (_, Some(EMFILE | ENFILE | ENOBUFS)) => Self::Shortage,
            // Local ports, memory, entries of the routing cache.
            (
                io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::AddrInUse
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::WouldBlock,
                Some(_),
            ) => Self::Shortage,
            (
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted,
                _,
            ) => Self::Gone,
            _ => Self::Unreachable,
        }
    }

    /// Its class.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Gone | Self::Unreachable => Class::Unreachable,
            Self::Shortage => Class::Shortage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_back_from_the_server_says_that_it_is_gone() {
        // By number, as connect(2) and socket(2) give them.
        for (number, says) in [
            (111, Connecting::Gone),
            (104, Connecting::Gone),
            (103, Connecting::Gone),
            (113, Connecting::Unreachable),
            (101, Connecting::Unreachable),
            (110, Connecting::Unreachable),
            (1, Connecting::Unreachable),
            (24, Connecting::Shortage),
            (23, Connecting::Shortage),
            (105, Connecting::Shortage),
            (99, Connecting::Shortage),
            (98, Connecting::Shortage),
            (12, Connecting::Shortage),
            (11, Connecting::Shortage),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(Connecting::failed(&error), says, "{error}");
        }
        let unknown = io::Error::other("failed to lookup address information");
        assert_eq!(Connecting::failed(&unknown), Connecting::Unreachable);
    }

    #[test]
    fn what_the_gateway_lacks_blames_nobody() {
        assert!(!Connecting::Shortage.class().blames_target());
        assert!(Connecting::Gone.class().blames_target());
        assert!(Connecting::Unreachable.class().blames_target());
    }
}
