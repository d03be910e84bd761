//! The system's own resolvers, as `/etc/resolv.conf` names them (resolv.conf(5)).
//!
//! It is read before each lookup: on machines that move between networks it changes, and reading
//! it costs nothing beside a lookup.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mainstay_protocol::dns::Name;

/// Where it stands.
const PATH: &str = "/etc/resolv.conf";
/// Servers that are asked; glibc takes no more either.
const MAX_SERVERS: usize = 3;
/// Domains that are tried.
const MAX_SEARCH: usize = 6;
/// A name with as many dots is first tried as it is.
const NDOTS: usize = 1;
/// Where DNS servers listen.
const PORT: u16 = 53;

/// Whom to ask, and what names mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) servers: Vec<SocketAddr>,
    search: Vec<Name>,
    ndots: usize,
}

impl System {
    /// As it stands now. Without the file, the machine itself is asked, as resolv.conf(5) says.
    pub(crate) fn read() -> Self {
        Self::parse(&std::fs::read_to_string(PATH).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut system = Self { servers: Vec::new(), search: Vec::new(), ndots: NDOTS };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => system.servers.extend(words.next().and_then(server)),
                Some("search" | "domain") => {
                    system.search = words.filter_map(Name::parse).take(MAX_SEARCH).collect();
                }
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:"));
                    let ndots = ndots.filter_map(|number| number.parse().ok()).next_back();
                    system.ndots = ndots.unwrap_or(system.ndots).min(15);
                }
                _ => {}
            }
        }
        system.servers.truncate(MAX_SERVERS);
        if system.servers.is_empty() {
            system.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        system
    }

    /// What a name may mean, in the order in which it is tried.
    pub(crate) fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut all: Vec<Name> =
            self.search.iter().filter_map(|domain| name.below(domain)).collect();
        let first = if name.dots() >= self.ndots { 0 } else { all.len() };
        all.insert(first, name.clone());
        all
    }
}

/// The address of a server; one with a scope (fe80::1%eth0) cannot be asked without it.
fn server(word: &str) -> Option<SocketAddr> {
    word.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(text: &str, name: &str) -> Vec<String> {
        let names = System::parse(text).candidates(&Name::parse(name).unwrap());
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_cluster_s_file_is_understood() {
        let text = "# made by kubelet\nnameserver 10.96.0.10\nnameserver ::1\n\
                    search ns.svc.cluster.local svc.cluster.local\noptions ndots:5 timeout:1\n";
        let servers: Vec<_> = System::parse(text).servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.96.0.10:53", "[::1]:53"]);
        let expected = ["models.ns.svc.cluster.local", "models.svc.cluster.local", "models"];
        assert_eq!(candidates(text, "models"), expected);
    }

    #[test]
    fn a_name_with_dots_is_first_what_it_says() {
        assert_eq!(candidates("search b\n", "x.a"), ["x.a", "x.a.b"]);
        assert_eq!(candidates("search b\n", "x"), ["x.b", "x"]);
        assert_eq!(candidates("", "x.a"), ["x.a"]);
    }

    #[test]
    fn without_servers_the_machine_itself_is_asked() {
        assert_eq!(System::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
