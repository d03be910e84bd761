//! `mainstay status` and `mainstay breaker` as processes, before an admin listener of a gateway
//! that is made up.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use mainstay_admin::status::{EndpointStatus, PoolStatus, TargetStatus};
use mainstay_admin::{
    Admin, Beat, BreakerOverride, Force, OverrideError, Readiness, Renewal, Source, Status,
};
use mainstay_telemetry::{Clock, Names, Settings, Telemetry};
use tempfile::TempDir;

struct Fake {
    telemetry: Arc<Telemetry>,
    forced: Mutex<Vec<BreakerOverride>>,
}

impl Source for Fake {
    fn status(&self) -> Status {
        let target = TargetStatus { model: "fraud".to_owned(), ..TargetStatus::default() };
        let endpoint = EndpointStatus {
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
        let source = Arc::new(Fake { telemetry, forced: Mutex::default() });
        let any = ([127, 0, 0, 1], 0).into();
        let admin = Admin::bind(any, &token, source.clone()).await.unwrap();
        let address = admin.local_addr().to_string();
        tokio::spawn(admin.run(std::future::pending()));
        Self { source, address, token, _folder: folder }
    }

    async fn breaker(&self, arguments: &[&str]) -> Output {
        let token = self.token.to_str().unwrap();
        let mut all = vec!["breaker", "--admin", &self.address, "--token-file", token];
        all.extend(arguments);
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
