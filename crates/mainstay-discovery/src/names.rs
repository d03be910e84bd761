//! Endpoints out of DNS names: addresses with a port, or the servers of a service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Discover, DnsName, Endpoint, EndpointUrl, Family};
use mainstay_policy::discovery::Said;
use mainstay_protocol::dns::{Answer, Code, Kind, Name, Record};
use tokio::task::JoinSet;

use crate::resolver;
use crate::system::System;

/// For a whole lookup with everything in it.
const DEADLINE: Duration = Duration::from_secs(8);
/// Names of servers that are looked up at once.
const AT_ONCE: usize = 16;
/// Endpoints that one name can have: as many as a pool holds.
const MOST: usize = 1024;
/// The least weight of a server whose record says 0: a little, as RFC 2782 has it.
const LEAST_WEIGHT: f32 = 0.01;

/// Looks the name up.
pub(crate) async fn look(discover: &Discover, dns: &DnsName) -> Said<Endpoint> {
    let looked = tokio::time::timeout(DEADLINE, look_up(discover, dns)).await;
    let said = looked.unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")));
    match said {
        Ok(Said::Found { endpoints, .. }) if endpoints.len() > MOST => {
            Said::Failed(format!("{} endpoints; a pool holds at most {MOST}", endpoints.len()))
        }
        Ok(said) => said,
        Err(why) => Said::Failed(why),
    }
}

async fn look_up(discover: &Discover, dns: &DnsName) -> Result<Said<Endpoint>, String> {
    let (servers, names) = if dns.resolvers.is_empty() {
        let system = System::read();
        let names = system.candidates(&dns.name);
        (system.servers, names)
    } else {
        (dns.resolvers.clone(), vec![dns.name.clone()])
    };
    let mut nothing = None;
    for name in &names {
        let said = match dns.port {
            Some(port) => hosts(&servers, name, port, (discover, dns)).await?,
            None => service(&servers, name, (discover, dns)).await?,
        };
        match said {
            Some(Said::Found { ref endpoints, .. }) if endpoints.is_empty() => nothing = said,
            Some(said) => return Ok(said),
            None => {}
        }
    }
    nothing.ok_or_else(|| format!("there is no such name: {} (NXDOMAIN)", dns.name))
}

/// Each address of a name is an endpoint; `None` where there is no such name.
async fn hosts(
    servers: &[SocketAddr],
    name: &Name,
    port: u16,
    (discover, dns): (&Discover, &DnsName),
) -> Result<Option<Said<Endpoint>>, String> {
    let Some(found) = addresses(servers, name, dns.family).await? else { return Ok(None) };
    let endpoints = found.ips.iter().filter_map(|ip| {
        let address = SocketAddr::new(*ip, port);
        endpoint(discover, dns, address, address.to_string())
    });
    Ok(Some(Said::Found { endpoints: endpoints.collect(), ttl: found.ttl, lacking: found.lacking }))
}

/// The addresses of a name.
#[derive(Debug, Default)]
struct Addresses {
    ips: BTreeSet<IpAddr>,
    ttl: Option<Duration>,
    /// Why these may not be all.
    lacking: Option<String>,
}

/// The addresses of a name; `None` where there is no such name.
async fn addresses(
    servers: &[SocketAddr],
    name: &Name,
    family: Family,
) -> Result<Option<Addresses>, String> {
    let answers = match family {
        Family::Ipv4 => vec![resolver::ask(servers, name, Kind::A).await],
        Family::Ipv6 => vec![resolver::ask(servers, name, Kind::Aaaa).await],
        Family::Both => {
            let v4 = resolver::ask(servers, name, Kind::A);
            let (v4, v6) = tokio::join!(v4, resolver::ask(servers, name, Kind::Aaaa));
            vec![v4, v6]
        }
    };
    let mut found = Addresses::default();
    let mut exists = false;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    for answer in &answers {
        match answer {
            Ok(Answer { code: Code::NoSuchName, .. }) => {}
            Ok(answer) => {
                exists = true;
                found.ips.extend(answer.records.iter().filter_map(address));
                found.ttl = shorter(found.ttl, answer.ttl);
            }
            Err(why) if failed == answers.len() => return Err(why.clone()),
            Err(why) => found.lacking = Some(why.clone()),
        }
    }
    match &found.lacking {
        // Half an answer that names nobody says nothing at all.
        Some(why) if found.ips.is_empty() => Err(why.clone()),
        _ => Ok(exists.then_some(found)),
    }
}

const fn address(record: &Record) -> Option<IpAddr> {
    match record {
        Record::Address(address) => Some(*address),
        Record::Server { .. } => None,
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// The servers of a service (SRV); `None` where there is no such name.
async fn service(
    servers: &[SocketAddr],
    name: &Name,
    (discover, dns): (&Discover, &DnsName),
) -> Result<Option<Said<Endpoint>>, String> {
    let answer = resolver::ask(servers, name, Kind::Srv).await?;
    if answer.code == Code::NoSuchName {
        return Ok(None);
    }
    let targets: BTreeSet<Name> = answer.records.iter().filter_map(target).collect();
    let mut hosts = BTreeMap::new();
    let (mut ttl, mut lacking) = (answer.ttl, None);
    for (target, found) in addresses_of(servers, targets, dns.family).await {
        match found {
            Ok(Some(found)) => {
                ttl = shorter(ttl, found.ttl);
                lacking = lacking.or(found.lacking);
                hosts.insert(target, found.ips);
            }
            Ok(None) => {}
            Err(why) => lacking = lacking.or(Some(why)),
        }
    }
    let ranks = Ranks::of(&answer.records);
    let endpoints = answer.records.iter().flat_map(|record| {
        let Record::Server { priority, weight, port, target } = record else { return Vec::new() };
        let ips = hosts.get(target).cloned().unwrap_or_default();
        let one = ips.len() == 1;
        let named = ips.into_iter().filter_map(|ip| {
            let address = SocketAddr::new(ip, *port);
            let name = if one { format!("{target}:{port}") } else { address.to_string() };
            endpoint(discover, dns, address, name)
        });
        named.map(|named| ranks.rank(named, (*priority, *weight))).collect()
    });
    let mut all = BTreeMap::new();
    for (url, endpoint) in endpoints {
        // A server that is named twice counts as what it is named first.
        all.entry(url).or_insert(endpoint);
    }
    Ok(Some(Said::Found { endpoints: all, ttl, lacking }))
}

fn target(record: &Record) -> Option<Name> {
    match record {
        Record::Server { target, .. } => Some(target.clone()),
        Record::Address(_) => None,
    }
}

/// The addresses of many names, some at a time.
async fn addresses_of(
    servers: &[SocketAddr],
    names: BTreeSet<Name>,
    family: Family,
) -> Vec<(Name, Result<Option<Addresses>, String>)> {
    let servers: Arc<[SocketAddr]> = servers.into();
    let (mut names, mut found) = (names.into_iter(), Vec::new());
    let mut under_way = JoinSet::new();
    let start = |under_way: &mut JoinSet<_>, name: Name| {
        let servers = Arc::clone(&servers);
        under_way.spawn(async move {
            let addresses = addresses(&servers, &name, family).await;
            (name, addresses)
        });
    };
    for name in names.by_ref().take(AT_ONCE) {
        start(&mut under_way, name);
    }
    while let Some(ended) = under_way.join_next().await {
        found.extend(ended.ok());
        if let Some(name) = names.next() {
            start(&mut under_way, name);
        }
    }
    found
}

/// What priorities and weights mean among the servers of a service.
struct Ranks {
    first: u16,
    /// By priority, the largest weight.
    largest: BTreeMap<u16, u16>,
}

impl Ranks {
    fn of(records: &[Record]) -> Self {
        let mut largest = BTreeMap::new();
        for record in records {
            if let Record::Server { priority, weight, .. } = record {
                let most = largest.entry(*priority).or_insert(0);
                *most = (*weight).max(*most);
            }
        }
        Self { first: largest.keys().next().copied().unwrap_or_default(), largest }
    }

    /// Its share against the largest of its priority; a standby, if others come before it.
    fn rank(
        &self,
        (url, mut endpoint): (Arc<str>, Endpoint),
        (priority, weight): (u16, u16),
    ) -> (Arc<str>, Endpoint) {
        let largest = self.largest.get(&priority).copied().unwrap_or_default();
        if largest > 0 {
            endpoint.weight *= (f32::from(weight) / f32::from(largest)).max(LEAST_WEIGHT);
        }
        let endpoint = if priority > self.first { endpoint.as_standby() } else { endpoint };
        (url, endpoint)
    }
}

/// An endpoint by its URL.
fn endpoint(
    discover: &Discover,
    dns: &DnsName,
    address: SocketAddr,
    name: String,
) -> Option<(Arc<str>, Endpoint)> {
    let url: EndpointUrl = format!("http://{address}{}", dns.prefix).parse().ok()?;
    let key = url.to_string().into();
    Some((key, Endpoint::named(name, url).placed(discover)))
}
