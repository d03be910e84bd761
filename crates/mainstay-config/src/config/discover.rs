//! Where endpoints come from beside the file.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_control::group::Standby;
use mainstay_policy::discovery::{LeaseSettings, Settings};
use mainstay_protocol::dns::Name;
use serde_json::{Value, json};

use super::{Endpoint, EndpointUrl, Network, Site};

/// One source of a pool's endpoints.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Discover {
    /// Who is asked, or who speaks.
    pub origin: Origin,
    /// How it is looked at and believed.
    pub settings: Settings,
    /// The share of each endpoint, times what the source itself says. Default 1.
    pub weight: f32,
    /// Where the endpoints run, where the source does not say.
    pub site: Site,
}

/// Who is asked for endpoints, or speaks for itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A DNS name.
    Dns(DnsName),
    /// A file with a list of endpoints.
    File(PathBuf),
    /// Servers that register themselves.
    Register(Register),
}

/// A DNS name that is looked up.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DnsName {
    /// The name.
    pub name: Name,
    /// The servers' port; `None` for a service (SRV), whose records name ports.
    pub port: Option<u16>,
    /// Put before every path: empty, or `/base`.
    pub prefix: Arc<str>,
    /// Which addresses count. Default both.
    pub family: Family,
    /// The DNS servers; empty for those of the system.
    pub resolvers: Vec<SocketAddr>,
}

/// Which addresses of a DNS name count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// A and AAAA.
    #[default]
    Both,
    /// A alone.
    Ipv4,
    /// AAAA alone.
    Ipv6,
}

/// Servers that register themselves.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Register {
    /// The networks whose addresses may be registered; empty for private ones.
    pub from: Vec<Network>,
    /// How many, and for how long.
    pub settings: LeaseSettings,
}

/// Networks whose addresses may be registered where nothing else is said (RFC 1918, RFC 4193).
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
/// Networks that hand out credentials, or lead to a neighbour that nobody chose: link-local ones,
/// with the metadata services of all clouds at their IPv4 addresses, and the IPv6 addresses of
/// those of Amazon, Google and Oracle, which lie in private networks.
const SENSITIVE: [&str; 5] =
    ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe"];

impl Register {
    /// Whether this address may be registered. Heartbeats need a token, but who holds it must
    /// not be able to send the gateway's requests wherever it likes: by default neither to the
    /// gateway's own host, nor to link-local and metadata addresses, nor out of the network. The
    /// second are admitted only by an entry that names nothing else: a wide network means servers.
    /// IPv4 addresses count as such in every form that IPv6 has for them.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = plain(address);
        if address.is_unspecified() || address.is_multicast() {
            return false;
        }
        let parsed = |text: &str| Network::parse(text);
        let mut sensitive = SENSITIVE.into_iter().filter_map(parsed);
        let sensitive = sensitive.find(|network| network.contains(address));
        if self.from.is_empty() {
            let mut private = PRIVATE.into_iter().filter_map(parsed);
            return sensitive.is_none() && private.any(|network| network.contains(address));
        }
        let names = |network: &&Network| match &sensitive {
            Some(narrow) => narrow.contains(network.address) && network.bits >= narrow.bits,
            None => true,
        };
        self.from.iter().filter(names).any(|network| network.contains(address))
    }
}

/// An address as the network sees it: the IPv4 address of a mapped one (RFC 4291), of a
/// compatible one (the same, deprecated), and of one that is translated (RFC 6052, `64:ff9b::/96`).
fn plain(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    let IpAddr::V6(six) = address else { return address };
    let four = || IpAddr::V4(u32::try_from(six.to_bits() & 0xffff_ffff).unwrap_or(0).into());
    match six.segments() {
        [0, 0, 0, 0, 0, 0, ..] if !six.is_loopback() && !six.is_unspecified() => four(),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => four(),
        _ => address,
    }
}

impl Endpoint {
    /// An endpoint that a source named: of weight 1, with nothing else known of it.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>, url: EndpointUrl) -> Self {
        let (name, site) = (name.into(), Site::default());
        Self {
            name,
            url,
            weight: 1.0,
            dependencies: Vec::new(),
            process: None,
            site,
            standby: None,
            provider: None,
        }
    }

    /// The endpoint with what its source says of all of its endpoints.
    #[must_use]
    pub fn placed(mut self, source: &Discover) -> Self {
        self.weight *= source.weight;
        let Site { region, zone } = source.site.clone();
        self.site.region = self.site.region.or(region);
        self.site.zone = self.site.zone.or(zone);
        self
    }

    /// The endpoint as a hot standby of those that its source prefers.
    #[must_use]
    pub const fn as_standby(mut self) -> Self {
        self.standby = Some(Standby::Hot);
        self
    }

    /// The endpoint as it would be written in a list of endpoints.
    #[must_use]
    pub fn written(&self) -> Value {
        let mut written = json!({
            "url": self.url.to_string(), "name": self.name, "weight": self.weight
        });
        let standby = self.standby.map(Standby::as_str);
        let more = [
            ("region", self.site.region.as_deref()),
            ("zone", self.site.zone.as_deref()),
            ("standby", standby),
        ];
        for (key, value) in more {
            if let Some(value) = value {
                written[key] = value.into();
            }
        }
        written
    }
}

/// The source as status and events show it.
impl fmt::Display for Discover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Dns(DnsName { name, port: Some(port), .. }) => write!(f, "dns {name}:{port}"),
            Origin::Dns(DnsName { name, port: None, .. }) => write!(f, "srv {name}"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Register(_) => f.write_str("registered"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(from: &[&str], address: &str) -> bool {
        let from = from.iter().filter_map(|network| Network::parse(network)).collect();
        let register = Register { from, settings: LeaseSettings::default() };
        register.admits(address.parse().unwrap())
    }

    #[test]
    fn private_addresses_may_register_unless_something_else_is_said() {
        for address in ["10.1.2.3", "172.20.0.1", "192.168.1.1", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(admits(&[], address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "8.8.8.8",
            "0.0.0.0",
            "224.0.0.1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:aa02",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "::127.0.0.1",
        ] {
            assert!(!admits(&[], address), "{address}");
        }
    }

    #[test]
    fn what_is_said_holds_instead() {
        assert!(admits(&["127.0.0.0/8"], "127.0.0.9") && !admits(&["127.0.0.0/8"], "10.0.0.1"));
        assert!(!admits(&["0.0.0.0/0"], "0.0.0.0"), "that is no server");
        assert!(admits(&["::/0"], "2001:db8::1") && admits(&["::/0"], "fd12::1"));
    }

    #[test]
    fn metadata_services_are_admitted_only_by_name() {
        let everything = ["0.0.0.0/0", "::/0", "fc00::/7", "fd00::/8"];
        for address in
            ["169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "fd20:ce::254"]
        {
            assert!(!admits(&everything, address), "{address}");
            assert!(admits(&[address], address), "{address}");
        }
        assert!(!admits(&everything, "::ffff:169.254.169.254"));
        assert!(admits(&["169.254.0.0/16"], "169.254.169.254"));
    }
}
