//! Sources as they are in the world: a DNS server, files, servers that register.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dns_server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dns_server::{Data, DnsServer, Mood};
use mainstay_config::{Config, Endpoint};
use mainstay_discovery::{Beat, Discovery, Options, Pools, SourceReport, Unregistered};
use mainstay_telemetry::{Clock, Names, Settings, Telemetry};
use tokio::time::Instant;

/// Longer than any wait here takes, even on a machine that stands still for a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway as discovery sees it.
#[derive(Debug, Default)]
struct Gateway {
    now: Mutex<BTreeMap<String, Endpoint>>,
    drained: Mutex<BTreeSet<String>>,
    dead: Mutex<BTreeSet<String>>,
}

impl Pools for Gateway {
    fn set(&self, pool: &str, endpoints: Vec<Endpoint>, cause: &str) {
        assert_eq!(pool, "p");
        assert!(!cause.is_empty());
        *self.now.lock().unwrap() =
            endpoints.into_iter().map(|endpoint| (endpoint.name.to_string(), endpoint)).collect();
    }

    fn drain(&self, _: &str, endpoint: &str, drained: bool) {
        let mut all = self.drained.lock().unwrap();
        let changed = if drained { all.insert(endpoint.to_owned()) } else { all.remove(endpoint) };
        assert!(changed, "{endpoint} was told twice");
    }

    fn answers(&self, _: &str, endpoint: &str) -> bool {
        !self.dead.lock().unwrap().contains(endpoint)
    }
}

/// Discovery with a configuration, and a gateway before it.
struct Bench {
    gateway: Arc<Gateway>,
    discovery: Arc<Discovery>,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn config(pool: &str) -> Config {
    let text = format!("pools: {{p: {{{pool}}}}}\nmodels: {{m: {{chain: [{{pool: p}}]}}}}\n");
    Config::parse("test.yaml", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

impl Bench {
    async fn start(pool: &str, state_dir: &Path) -> Self {
        let clock = Clock::start();
        let settings = Settings { workers: 1, recent: 1, kept: 1 };
        let telemetry = Telemetry::new(settings, Names::default(), clock);
        let gateway = Arc::new(Gateway::default());
        let options = Options { state_dir: state_dir.to_owned(), clock, seed: 7 };
        let pools = Arc::clone(&gateway) as Arc<dyn Pools>;
        let discovery = Discovery::new(options, pools, telemetry);
        discovery.configure(&config(pool));
        let running = tokio::spawn(Arc::clone(&discovery).run());
        Self { gateway, discovery, running }
    }

    fn names(&self) -> String {
        let now = self.gateway.now.lock().unwrap();
        let drained = self.gateway.drained.lock().unwrap();
        let shown = now.keys().map(|name| match drained.contains(name) {
            true => format!("({name})"),
            false => name.clone(),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// Waits until the pool has these endpoints; those in brackets are drained.
    async fn has(&self, names: &str) {
        self.until(names, || self.names() == names).await;
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            let report = self.discovery.report();
            assert!(began.elapsed() < PATIENCE, "{what}: {} {report:?}", self.names());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn source(&self) -> SourceReport {
        self.discovery.report()[0].1[0].clone()
    }

    async fn trouble(&self, part: &str) {
        let has = || self.source().trouble.is_some_and(|trouble| trouble.contains(part));
        self.until(part, has).await;
    }

    fn weights(&self) -> Vec<f32> {
        self.gateway.now.lock().unwrap().values().map(|endpoint| endpoint.weight).collect()
    }
}

fn dns(server: &DnsServer, more: &str) -> String {
    format!(
        "discover: {{dns: models.internal, port: 8000, resolver: [\"{}\"], min-refresh: 100ms, \
         max-refresh: 200ms, linger: 300ms{more}}}",
        server.address
    )
}

#[tokio::test]
async fn addresses_come_and_go() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    server.set_addresses("models.internal", &["127.0.0.2", "127.0.0.3", "::1"]);
    let bench = Bench::start(&dns(&server, ""), folder.path()).await;
    bench.discovery.asked_once(PATIENCE).await;
    assert_eq!(bench.names(), "127.0.0.2:8000 127.0.0.3:8000 [::1]:8000");
    server.set_addresses("models.internal", &["127.0.0.3", "127.0.0.4", "::1"]);
    bench.has("(127.0.0.2:8000) 127.0.0.3:8000 127.0.0.4:8000 [::1]:8000").await;
    bench.has("127.0.0.3:8000 127.0.0.4:8000 [::1]:8000").await;
}

#[tokio::test]
async fn one_family_alone_is_asked_for_where_that_is_said() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    server.set_addresses("models.internal", &["127.0.0.2", "::1"]);
    let bench = Bench::start(&dns(&server, ", family: ipv6, path: /base"), folder.path()).await;
    bench.has("[::1]:8000").await;
    let url = bench.gateway.now.lock().unwrap()["[::1]:8000"].url.to_string();
    assert_eq!(url, "http://[::1]:8000/base");
}

#[tokio::test]
async fn the_last_good_set_outlives_every_failure() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    server.set_addresses("models.internal", &["127.0.0.2"]);
    let bench = Bench::start(&dns(&server, ""), folder.path()).await;
    bench.has("127.0.0.2:8000").await;
    for (mood, part) in [(Mood::Failing, "SERVFAIL"), (Mood::Silent, "no answer within")] {
        server.set_mood(mood);
        bench.trouble(part).await;
        assert_eq!(bench.names(), "127.0.0.2:8000");
        server.set_mood(Mood::Fine);
        bench.until("it recovers", || bench.source().trouble.is_none()).await;
    }
    server.set_addresses("models.internal", &[]);
    bench.trouble("NXDOMAIN").await;
    assert_eq!(bench.names(), "127.0.0.2:8000");
    assert!(bench.source().failed >= 3);
}

#[tokio::test]
async fn a_ttl_longer_than_the_least_refresh_is_kept_to() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    server.set_addresses("models.internal", &["127.0.0.2"]);
    server.set_ttl(3_600);
    let pool = dns(&server, ", family: ipv4").replace("max-refresh: 200ms", "max-refresh: 1h");
    let bench = Bench::start(&pool, folder.path()).await;
    bench.has("127.0.0.2:8000").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(server.questions(), 1, "min-refresh would have asked five times");
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_comes_over_tcp() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    let many: Vec<String> = (1..=200).map(|n| format!("127.0.1.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.set_addresses("models.internal", &many);
    server.set_mood(Mood::Truncating);
    let bench = Bench::start(&dns(&server, ", family: ipv4"), folder.path()).await;
    bench.until("all came", || bench.gateway.now.lock().unwrap().len() == 200).await;
}

#[tokio::test]
async fn servers_of_a_service_have_ports_weights_and_ranks() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    for (name, address) in [("a.internal", "127.0.0.2"), ("b.internal", "127.0.0.3")] {
        server.set_addresses(name, &[address]);
    }
    server.set_addresses("two.internal", &["127.0.0.4", "127.0.0.5"]);
    let record = |priority, weight, target: &str| Data::Server {
        priority,
        weight,
        port: 8000,
        target: target.to_owned(),
    };
    let records = vec![
        record(10, 60, "a.internal"),
        record(10, 20, "b.internal"),
        record(20, 0, "two.internal"),
        record(30, 1, "gone.internal"),
    ];
    server.set("_oip._tcp.models.internal", records);
    let pool = dns(&server, "")
        .replace("dns: models.internal, port: 8000", "srv: _oip._tcp.models.internal");
    let bench = Bench::start(&pool, folder.path()).await;
    bench.has("127.0.0.4:8000 127.0.0.5:8000 a.internal:8000 b.internal:8000").await;
    assert_eq!(bench.weights(), [1.0, 1.0, 1.0, 20.0 / 60.0]);
    let standbys =
        bench.gateway.now.lock().unwrap().values().map(|e| e.standby.is_some()).collect::<Vec<_>>();
    assert_eq!(standbys, [true, true, false, false]);
}

#[tokio::test]
async fn the_same_address_is_one_endpoint_whoever_names_it() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    server.set_addresses("models.internal", &["127.0.0.2", "127.0.0.3", "127.0.0.9"]);
    let file = folder.path().join("list.yaml");
    std::fs::write(&file, "- {url: http://127.0.0.3:8000, name: c}\n- http://127.0.0.4:8000\n")
        .unwrap();
    let source = dns(&server, "").replace("discover: ", "");
    let pool = format!(
        "endpoints: [{{url: http://127.0.0.9:8000, name: z}}], \
         discover: [{{file: {}, linger: 300ms}}, {source}]",
        file.display()
    );
    let bench = Bench::start(&pool, folder.path()).await;
    bench.has("127.0.0.2:8000 127.0.0.4:8000 c").await;
    std::fs::write(&file, "- http://127.0.0.4:8000\n").unwrap();
    bench.has("127.0.0.2:8000 127.0.0.3:8000 127.0.0.4:8000").await;
}

#[tokio::test]
async fn a_file_with_none_of_the_old_servers_is_believed_at_a_second_look() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list.yaml");
    std::fs::write(&file, "- http://a:1\n- http://b:1\n").unwrap();
    let pool = format!("discover: {{file: {}, linger: 300ms}}", file.display());
    let bench = Bench::start(&pool, folder.path()).await;
    bench.has("a:1 b:1").await;
    std::fs::write(&file, "- http://c:1\n- http://d:1\n").unwrap();
    bench.has("a:1 b:1 c:1 d:1").await;
    bench.has("c:1 d:1").await;
    assert_eq!(bench.source().trouble, None);
}

#[tokio::test]
async fn a_file_that_turned_bad_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list.yaml");
    std::fs::write(&file, "- http://a:1\n- http://b:1\n").unwrap();
    let pool = format!("discover: {{file: {}, linger: 300ms}}", file.display());
    let bench = Bench::start(&pool, folder.path()).await;
    bench.has("a:1 b:1").await;
    std::fs::write(&file, "- http://a:1\n- nonsense\n").unwrap();
    bench.trouble("list.yaml:2:3").await;
    std::fs::remove_file(&file).unwrap();
    bench.trouble("cannot read").await;
    std::fs::write(&file, "[]").unwrap();
    bench.trouble("it names no endpoint; the last good set is kept").await;
    assert_eq!(bench.names(), "a:1 b:1");
    let new = folder.path().join("new");
    std::fs::write(&new, "- http://a:1\n- http://c:1\n").unwrap();
    std::fs::rename(&new, &file).unwrap();
    bench.has("a:1 c:1").await;
}

#[tokio::test]
async fn what_was_known_is_known_after_a_restart() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    server.set_addresses("models.internal", &["127.0.0.2", "127.0.0.3"]);
    let bench = Bench::start(&dns(&server, ""), folder.path()).await;
    bench.has("127.0.0.2:8000 127.0.0.3:8000").await;
    let kept = folder.path().join("discovery.json");
    bench.until("it is kept", || kept.exists()).await;
    drop(bench);
    server.set_mood(Mood::Failing);
    let bench = Bench::start(&dns(&server, ""), folder.path()).await;
    assert_eq!(bench.names(), "127.0.0.2:8000 127.0.0.3:8000", "before any answer");
    bench.trouble("SERVFAIL").await;
    assert!(bench.source().restored);
    server.set_mood(Mood::Fine);
    bench.until("it is confirmed", || !bench.source().restored).await;
}

#[tokio::test]
async fn a_source_goes_on_as_it_stands_when_the_configuration_is_taken_again() {
    let (server, folder) = (DnsServer::start().await, tempfile::tempdir().unwrap());
    server.set_addresses("models.internal", &["127.0.0.2"]);
    let bench = Bench::start(&dns(&server, ""), folder.path()).await;
    bench.has("127.0.0.2:8000").await;
    let looks = bench.source().succeeded;
    bench.discovery.configure(&config(&dns(&server, "")));
    assert!(bench.source().succeeded >= looks);
    assert_eq!(bench.names(), "127.0.0.2:8000");
    bench.discovery.configure(&config("endpoints: [http://a:1]"));
    assert_eq!((bench.names().as_str(), bench.discovery.report().len()), ("", 0));
}

fn beat(name: &str, url: Option<&str>) -> Beat {
    Beat {
        pool: "p".to_owned(),
        name: name.to_owned(),
        url: url.map(ToOwned::to_owned),
        lifetime: Duration::from_millis(300),
        ..Beat::default()
    }
}

const REGISTER: &str =
    "discover: {register: {from: [127.0.0.0/8], most: 2, grace: 100ms}, linger: 200ms}";

#[tokio::test]
async fn servers_register_fall_silent_and_leave() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(REGISTER, folder.path()).await;
    let (a, b) = ("http://127.0.0.2:8000", "http://127.0.0.3:8000");
    bench.discovery.beat(&beat("a", Some(a))).unwrap();
    bench.discovery.beat(&beat("b", Some(b))).unwrap();
    assert_eq!(bench.names(), "a b");
    bench.gateway.dead.lock().unwrap().insert("a".to_owned());
    bench
        .until("the dead one is gone", || {
            bench.discovery.beat(&beat("b", None)).unwrap();
            bench.names() == "b"
        })
        .await;
    assert!(bench.discovery.leave("p", "b"));
    assert_eq!(bench.names(), "(b)", "from this very moment");
    bench.has("").await;
    assert!(!bench.discovery.leave("p", "b"));
}

#[tokio::test]
async fn who_may_not_register_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let pool = format!("endpoints: [http://127.0.0.9:8000], {REGISTER}");
    let bench = Bench::start(&pool, folder.path()).await;
    let why = |name, url| match bench.discovery.beat(&beat(name, url)) {
        Err(Unregistered::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(why("a", None).contains("url"));
    assert!(why("a", Some("http://10.0.0.1:8000")).contains("10.0.0.1 is in none of the networks"));
    assert!(why("a", Some("http://models.internal:8000")).contains("no IP address"));
    assert!(why("a", Some("ftp://127.0.0.2:8000")).contains("URL"));
    assert!(why("a b", Some("http://127.0.0.2:8000")).contains("name"));
    assert!(why("a", Some("http://127.0.0.9:8000")).contains("already"));
    for (name, url) in [("a", "http://127.0.0.2:1"), ("b", "http://127.0.0.3:1")] {
        bench.discovery.beat(&beat(name, Some(url))).unwrap();
    }
    assert!(why("c", Some("http://127.0.0.4:1")).contains("2 endpoints are registered already"));
    let closed = Beat { pool: "q".to_owned(), ..beat("a", None) };
    assert_eq!(bench.discovery.beat(&closed), Err(Unregistered::Closed));
}

#[tokio::test]
async fn narrowed_networks_bind_who_is_registered_already() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(REGISTER, folder.path()).await;
    bench.discovery.beat(&beat("a", Some("http://127.0.0.2:8000"))).unwrap();
    bench.discovery.beat(&beat("b", Some("http://127.0.0.3:8000"))).unwrap();
    assert_eq!(bench.names(), "a b");

    let narrow = REGISTER.replace("127.0.0.0/8", "127.0.0.2/32");
    bench.discovery.configure(&config(&narrow));
    assert_eq!(bench.names(), "a", "from this very moment");
    bench.discovery.beat(&beat("a", None)).unwrap();
    for url in [None, Some("http://127.0.0.3:8000")] {
        assert!(matches!(bench.discovery.beat(&beat("b", url)), Err(Unregistered::Refused(_))));
    }
    assert_eq!(bench.names(), "a");

    // What is kept in the file is bound, too.
    let kept = folder.path().join("discovery.json");
    bench
        .until("it is kept", || {
            std::fs::read_to_string(&kept).is_ok_and(|text| text.contains("\"a\""))
        })
        .await;
    drop(bench);
    let none = REGISTER.replace("127.0.0.0/8", "10.0.0.0/8");
    let again = Bench::start(&none, folder.path()).await;
    assert_eq!(again.names(), "");
}
