//! How much at once, who waits, and whose priority is believed.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;
use mainstay_policy::limit::Priority;

/// How many requests of one model are served at once, and how many wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Concurrency {
    /// Requests at servers at once. Default no bound but those of the targets.
    pub max: Option<u32>,
    /// Requests that may wait for room. Default 100: at most a second of work for most models,
    /// and a few hundred kilobytes.
    pub queue: usize,
    /// The longest that one waits. Default 1 s; the deadline may leave less.
    pub wait: Duration,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { max: None, queue: 100, wait: Duration::from_secs(1) }
    }
}

/// How much requests matter when not all can be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Priorities {
    /// Of requests that nothing else says it of. Default normal.
    pub usual: Priority,
    /// The header in which trusted clients say it; `None`: nobody may.
    pub header: Option<HeaderName>,
    /// Whom the header is believed from.
    pub trusted: Vec<Network>,
}

impl Priorities {
    /// Whether a client at this address may name the priority of its requests.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }
}

/// Addresses with a common beginning: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// The address; what is behind the common beginning is zero.
    pub address: IpAddr,
    /// Bits of the common beginning.
    pub bits: u8,
}

impl Network {
    /// The network that a text names, or `None` where it names none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then(|| Self { address: masked(address, bits), bits })
    }

    /// Whether the address is one of these. An IPv4 address in IPv6 form counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn networks_hold_what_begins_like_them() {
        assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.9.9.9/8", "10.1.1.1"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "10.0.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && holds("::/0", "::1"));
    }

    #[test]
    fn other_texts_are_no_networks() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "a", "::/129", "10.0.0.1/-1", "1.2.3.4:80"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
