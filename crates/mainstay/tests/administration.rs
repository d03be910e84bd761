//! `mainstay status` and `mainstay breaker` as processes, before an admin listener of a gateway
//! that is made up.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use mainstay_admin::status::{EndpointStatus, PoolStatus, TargetStatus};
use mainstay_admin::{
    Admin, Beat, BreakerOverride, Carried, Force, Instruction, OrderError, OrderStatus,
    OverrideError, Readiness, Renewal, Source, Status,
};
use mainstay_control::forecast::Forecast;
use mainstay_control::orders::Scope;
use mainstay_telemetry::{Clock, Names, Settings, Telemetry};
use tempfile::TempDir;

struct Fake {
    telemetry: Arc<Telemetry>,
    forced: Mutex<Vec<BreakerOverride>>,
    told: Mutex<Vec<Instruction>>,
}

impl Source for Fake {
    fn status(&self) -> Status {
        let target = TargetStatus { model: "fraud".to_owned(), ..TargetStatus::default() };
        let endpoint = EndpointStatus {
            process: None,
            name: "a:8000".to_owned(),
            url: "http://a:8000".to_owned(),
            models: vec![target],
            ..EndpointStatus::default()
        };
        Status {
            node: "gw-test".to_owned(),
            ready: true,
            pools: vec![PoolStatus {
                name: "fraud-v2".to_owned(),
                endpoints: vec![endpoint],
                ..PoolStatus::default()
            }],
            ..Status::default()
        }
    }

    fn live(&self) -> bool {
        true
    }

    fn readiness(&self) -> Readiness {
        Readiness::yes()
    }

    fn deep(&self) -> Readiness {
        Readiness::yes()
    }

    fn force_breaker(&self, request: &BreakerOverride) -> Result<usize, OverrideError> {
        if request.pool != "fraud-v2" {
            return Err(OverrideError::Pool { known: vec!["fraud-v2".to_owned()] });
        }
        self.forced.lock().unwrap().push(request.clone());
        Ok(2)
    }

    fn order(&self, instruction: &Instruction) -> Result<Carried, OrderError> {
        if instruction.scope.to_string() == "p/last" {
            return Err(OrderError::TooLittle(vec!["it is the last".to_owned()]));
        }
        self.told.lock().unwrap().push(instruction.clone());
        Ok(Carried { done: !instruction.dry_run, ..Carried::default() })
    }

    fn orders(&self) -> Vec<OrderStatus> {
        Vec::new()
    }

    fn forecast(&self, scope: &Scope) -> Result<Forecast, OrderError> {
        Ok(Forecast { change: format!("{scope} dies"), ..Forecast::default() })
    }

    fn heartbeat(&self, beat: &Beat) -> Result<Renewal, OverrideError> {
        Err(OverrideError::Pool { known: vec![beat.pool.clone()] })
    }

    fn leave(&self, _: &str, _: &str) -> Result<(), OverrideError> {
        Ok(())
    }

    fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }
}

struct Gateway {
    source: Arc<Fake>,
    address: String,
    token: PathBuf,
    _folder: TempDir,
}

impl Gateway {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("admin-token");
        let telemetry = Telemetry::new(Settings::default(), Names::default(), Clock::start());
        let source = Arc::new(Fake { telemetry, forced: Mutex::default(), told: Mutex::default() });
        let any = ([127, 0, 0, 1], 0).into();
        let admin = Admin::bind(any, &token, source.clone()).await.unwrap();
        let address = admin.local_addr().to_string();
        tokio::spawn(admin.run(std::future::pending()));
        Self { source, address, token, _folder: folder }
    }

    async fn breaker(&self, arguments: &[&str]) -> Output {
        self.operator(&[&["breaker"], arguments].concat()).await
    }

    async fn operator(&self, arguments: &[&str]) -> Output {
        let token = self.token.to_str().unwrap();
        let mut all = arguments.to_vec();
        all.extend(["--admin", &self.address, "--token-file", token]);
        mainstay(&all).await
    }
}

async fn mainstay(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(arguments).env_remove("MAINSTAY_ADMIN");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn status_is_a_table_or_json() {
    let gateway = Gateway::start().await;
    let table = mainstay(&["status", "--admin", &gateway.address]).await;
    assert!(table.status.success(), "{}", text(&table.stderr));
    let page = text(&table.stdout);
    assert!(page.contains("gw-test  ready") && page.contains("a:8000"), "{page}");
    assert!(!page.contains('\u{1b}'), "no colours into a pipe");
    let with_scheme = format!("http://{}", gateway.address);
    let json = mainstay(&["status", "--json", "--admin", &with_scheme]).await;
    let status: Status = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(status, gateway.source.status());
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_said_with_the_remedy() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let output = mainstay(&["status", "--admin", &address]).await;
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("MS0313") && message.contains("--admin ADDR"), "{message}");
}

#[tokio::test]
async fn a_breaker_is_forced_and_given_back() {
    let gateway = Gateway::start().await;
    let endpoint = ["fraud-v2", "a:8000", "--reason", "replacing a disk"];
    let open = [&endpoint[..], &["--force", "open", "--for", "30m"]].concat();
    let output = gateway.breaker(&open).await;
    let told = "2 breakers of fraud-v2/a:8000 forced open for 30m: replacing a disk\n";
    assert_eq!(text(&output.stdout), told, "{}", text(&output.stderr));
    let back = [&endpoint[..], &["--force", "none"]].concat();
    assert!(gateway.breaker(&back).await.status.success());
    let forced = gateway.source.forced.lock().unwrap();
    assert_eq!(
        forced.iter().map(|order| order.force).collect::<Vec<_>>(),
        [Force::Open, Force::None]
    );
    assert_eq!(forced[0].lasts.as_secs(), 1800);
}

#[tokio::test]
async fn an_order_that_cannot_be_followed_is_refused() {
    let gateway = Gateway::start().await;
    let endless = ["fraud-v2", "a:8000", "--force", "open", "--reason", "a disk"];
    assert_eq!(gateway.breaker(&endless).await.status.code(), Some(2));
    let unknown = ["fraud-v9", "a:8000", "--force", "open", "--reason", "a disk", "--for", "5m"];
    let output = gateway.breaker(&unknown).await;
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("MS0309") && message.contains("fraud-v2"), "{message}");
    assert!(gateway.source.forced.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_verb_is_one_order() {
    let gateway = Gateway::start().await;
    for (arguments, verb) in [
        (&["drain", "p/a:8000", "--wait", "1s"][..], "drain"),
        (&["drain", "--zone", "z1", "--for", "2h"], "drain"),
        (&["undrain", "--region", "eu"], "undrain"),
        (&["maintenance", "p/a:8000", "--for", "30m"], "maintenance"),
        (&["maintenance", "p/a:8000", "--end"], "end-maintenance"),
        (&["weight", "p/a:8000", "0.5"], "weight"),
        (&["failover", "p", "--to", "b:8000"], "failover"),
        (&["failback", "p/a:8000"], "failback"),
    ] {
        let output = gateway.operator(&[arguments, &["--reason", "why not"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        let told = gateway.source.told.lock().unwrap().last().cloned().unwrap();
        assert_eq!((told.act.as_str(), &*told.reason), (verb, "why not"));
    }
    let help = text(&mainstay(&["drain", "--help"]).await.stdout);
    assert!(help.contains("Examples:") && help.contains("--dry-run"), "{help}");
}

#[tokio::test]
async fn what_is_refused_exits_with_2_and_a_gateway_that_is_gone_with_1() {
    let gateway = Gateway::start().await;
    let refused = gateway.operator(&["drain", "p/last", "--reason", "x"]).await;
    assert_eq!(refused.status.code(), Some(2));
    let says = text(&refused.stderr);
    assert!(says.contains("MS0315") && says.contains("it is the last"), "{says}");
    for wrong in [
        &["drain", "--reason", "x"][..],
        &["drain", "p/a"],
        &["drain", "p", "--reason", "x"],
        &["drain", "p/a", "--zone", "z1", "--reason", "x"],
        &["maintenance", "p/a", "--end", "--for", "1m", "--reason", "x"],
    ] {
        assert_eq!(gateway.operator(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
    let token = gateway.token.to_str().unwrap();
    let gone = ["drain", "p/a", "--reason", "x", "--admin", "127.0.0.1:1", "--token-file", token];
    assert_eq!(mainstay(&gone).await.status.code(), Some(1));
}

#[tokio::test]
async fn a_forecast_is_asked_for_by_name() {
    let gateway = Gateway::start().await;
    let asked = mainstay(&["forecast", "p/10.0.0.1:8000", "--admin", &gateway.address]).await;
    assert!(text(&asked.stdout).starts_with("p/10.0.0.1:8000 dies"), "{}", text(&asked.stdout));
    let zone = ["forecast", "--zone", "eu west", "--json", "--admin", &gateway.address];
    let forecast: Forecast = serde_json::from_slice(&mainstay(&zone).await.stdout).unwrap();
    assert_eq!(forecast.change, "zone eu west dies");
}
