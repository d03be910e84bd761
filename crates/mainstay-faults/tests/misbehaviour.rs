//! Each behaviour as a client meets it on a real socket.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::io;
use std::time::Duration;

use mainstay_faults::{Control, Script, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes.
const SILENCE: Duration = Duration::from_millis(100);

fn script(text: &str) -> Script {
    text.parse().expect("a script")
}

async fn server(text: &str) -> Server {
    Server::start(script(text)).await.expect("it starts")
}

fn infer(id: &str, data: &[f64]) -> String {
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1, data.len()], "data": data});
    let body = json!({"id": id, "inputs": [input]}).to_string();
    let length = body.len();
    format!("POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
}

const READY: &str = "GET /v2/models/m/ready HTTP/1.1\r\nhost: x\r\n\r\n";

/// What a client saw.
#[derive(Debug)]
enum Seen {
    Answer(u16, String, Vec<u8>),
    /// Closed or reset with so many bytes before.
    Cut(io::ErrorKind, usize),
    /// So many bytes, and no more within [`SILENCE`].
    Silent(usize),
    Refused,
}

impl Seen {
    fn json(&self) -> Value {
        match self {
            Self::Answer(200, _, body) => serde_json::from_slice(body).expect("JSON"),
            other => panic!("no good answer: {other:?}"),
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Answer(status, ..) => *status,
            other => panic!("no answer: {other:?}"),
        }
    }
}

async fn ask(server: &Server, request: &str) -> Seen {
    timeout(LIMIT, exchange(server, request)).await.expect("in time")
}

/// Reads until the announced length has come, the connection ends, or nothing more comes.
async fn exchange(server: &Server, request: &str) -> Seen {
    let Ok(mut stream) = TcpStream::connect(server.address()).await else { return Seen::Refused };
    stream.write_all(request.as_bytes()).await.expect("it can be sent");
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match timeout(SILENCE, stream.read(&mut piece)).await {
            Err(_) => return Seen::Silent(bytes.len()),
            Ok(Err(error)) => return Seen::Cut(error.kind(), bytes.len()),
            Ok(Ok(0)) => return Seen::Cut(io::ErrorKind::UnexpectedEof, bytes.len()),
            Ok(Ok(count)) => bytes.extend_from_slice(&piece[..count]),
        }
        if let Some(answer) = whole(&bytes) {
            return answer;
        }
    }
}

fn whole(bytes: &[u8]) -> Option<Seen> {
    let text = String::from_utf8_lossy(bytes);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let body = &bytes[head.len() + 4..];
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = length.parse().ok()?;
    (body.len() >= length).then(|| Seen::Answer(status, head.to_owned(), body[..length].to_vec()))
}

async fn behaves(behaviour: &str) -> (Server, Seen) {
    let server = server(&format!("rules: [{{behave: {behaviour}, path: infer}}]")).await;
    let seen = ask(&server, &infer("1", &[1.0, 2.0])).await;
    (server, seen)
}

#[tokio::test]
async fn without_a_rule_it_answers_well() {
    let server = server("").await;
    let answer = ask(&server, &infer("seven", &[1.0, 2.5])).await.json();
    assert_eq!(answer["id"], "seven");
    assert_eq!(answer["outputs"][0]["data"], json!([3.5]));
    assert_eq!(ask(&server, READY).await.json(), json!({"name": "m", "ready": true}));
    let entries = server.journal().since(0);
    assert_eq!(entries[0].id.as_deref(), Some("seven"));
    assert!(entries[0].executed && !entries[1].executed);
}

#[tokio::test]
async fn refused_closes_port_and_connections_until_it_is_over() {
    let server = server("").await;
    let mut open = TcpStream::connect(server.address()).await.unwrap();
    server.play(script("rules: [{behave: refused}]"));
    let end = timeout(LIMIT, open.read_u8()).await.expect("the connection is cut");
    assert!(end.is_err());
    assert!(matches!(ask(&server, READY).await, Seen::Refused));
    server.play(script(""));
    timeout(LIMIT, async {
        while matches!(ask(&server, READY).await, Seen::Refused) {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it listens again");
}

#[tokio::test]
async fn a_rule_ends_by_itself() {
    let server = server("rules: [{behave: refused, for: 200ms}]").await;
    timeout(LIMIT, async {
        while !matches!(ask(&server, READY).await, Seen::Answer(200, ..)) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it listens again");
}

#[tokio::test]
async fn connections_are_cut_before_and_within_the_answer() {
    assert!(matches!(behaves("reset").await.1, Seen::Cut(io::ErrorKind::ConnectionReset, 0)));
    assert!(matches!(behaves("hang-up").await.1, Seen::Cut(_, 0)));
    let (server, seen) = behaves("reset-body").await;
    assert!(matches!(seen, Seen::Cut(io::ErrorKind::ConnectionReset, 100..)), "{seen:?}");
    let entry = &server.journal().since(0)[0];
    assert!(entry.executed && entry.answered == Some(false));
}

#[tokio::test]
async fn silence_drips_and_wrong_lengths() {
    assert!(matches!(behaves("black-hole").await.1, Seen::Silent(0)));
    assert!(matches!(behaves("slow-header, pause: 1s").await.1, Seen::Silent(1..10)));
    assert!(matches!(behaves("slow-drip, pause: 1s").await.1, Seen::Silent(50..)));
    assert!(matches!(behaves("long-length").await.1, Seen::Silent(100..)));
    let Seen::Answer(200, _, body) = behaves("short-length").await.1 else { panic!("an answer") };
    assert!(serde_json::from_slice::<Value>(&body).is_err());
}

#[tokio::test]
async fn statuses_say_what_servers_say() {
    for status in [429, 500, 503, 507, 529] {
        assert_eq!(behaves(&status.to_string()).await.1.status(), status);
    }
    let Seen::Answer(400, _, body) = behaves("not-ready").await.1 else { panic!("400") };
    assert!(String::from_utf8_lossy(&body).contains("is not at ready state"));
    let Seen::Answer(429, head, _) = behaves("429, retry-after: 2").await.1 else { panic!("429") };
    assert!(head.contains("retry-after: 2"));
}

#[tokio::test]
async fn bodies_that_are_none() {
    for behaviour in ["empty", "malformed", "truncated"] {
        let Seen::Answer(200, _, body) = behaves(behaviour).await.1 else { panic!("200") };
        assert!(serde_json::from_slice::<Value>(&body).is_err(), "{behaviour}");
    }
    let Seen::Answer(200, _, body) = behaves("nan").await.1 else { panic!("200") };
    assert!(String::from_utf8_lossy(&body).contains("[NaN]"));
    let unsure = behaves("low-confidence").await.1.json();
    assert_eq!(unsure["outputs"][1]["data"], json!([0.5, 0.5]));
    assert_eq!(behaves("wrong-answer").await.1.json()["outputs"][0]["data"], json!([1003.0]));
}

#[tokio::test]
async fn probes_and_models_are_treated_apart() {
    let server = server("rules: [{behave: 503, path: probe, model: m}]").await;
    assert_eq!(ask(&server, READY).await.status(), 503);
    assert_eq!(ask(&server, &READY.replace("/m/", "/other/")).await.status(), 200);
    assert_eq!(ask(&server, &infer("1", &[1.0])).await.status(), 200);
}

#[tokio::test]
async fn the_same_seed_chooses_the_same_requests() {
    let chosen = async |seed: u64| {
        let text = format!("{{seed: {seed}, rules: [{{behave: 500, path: infer, share: 0.5}}]}}");
        let server = server(&text).await;
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(ask(&server, &infer("1", &[1.0])).await.status());
        }
        statuses
    };
    let first = chosen(1).await;
    assert_eq!(first, chosen(1).await);
    assert!(first.contains(&500) && first.contains(&200));
    assert_ne!(first, chosen(2).await);
}

#[tokio::test]
async fn a_saturated_server_misses_its_probes() {
    let server = server("{latency: 30s, capacity: {workers: 1, queue: 1}}").await;
    let mut busy = Vec::new();
    for count in 1..=2 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(infer("1", &[1.0]).as_bytes()).await.unwrap();
        busy.push(stream);
        timeout(LIMIT, async {
            while server.journal().since(0).len() < count {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("it arrives");
    }
    assert_eq!(ask(&server, &infer("2", &[1.0])).await.status(), 503);
    server.play(script("{latency: 30s, capacity: {workers: 0}}"));
    assert!(matches!(ask(&server, READY).await, Seen::Silent(0)));
}

#[tokio::test]
async fn the_control_listener_plays_scripts_and_counts_duplicates() {
    let server = server("").await;
    let control = Control::start("127.0.0.1:0".parse().unwrap(), &server).await.unwrap();
    ask(&server, &infer("twice", &[1.0])).await;
    ask(&server, &infer("twice", &[1.0])).await;
    let to_control = async |request: String| {
        let mut stream = TcpStream::connect(control.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(LIMIT, stream.read_to_string(&mut text)).await.expect("in time").unwrap();
        text
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n");
    let put = |body: &str| {
        let length = body.len();
        format!(
            "PUT /script HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let counts = to_control(get("/counts")).await;
    assert!(counts.contains("\"executions\":2") && counts.contains("\"duplicates\":1"), "{counts}");
    let log = to_control(get("/log?since=1")).await;
    assert_eq!(log.matches("\"number\"").count(), 1, "{log}");
    assert!(to_control(put("{rules: [{behave: 500}]}")).await.starts_with("HTTP/1.1 200"));
    assert_eq!(ask(&server, READY).await.status(), 500);
    assert!(to_control(put("{rules: [{behave: nice}]}")).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn the_program_says_where_it_listens_and_writes_its_journal() {
    let folder = std::env::temp_dir();
    let journal = folder.join(format!("mainstay-faults-{}.jsonl", std::process::id()));
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_mainstay-faults"))
        .args(["--behave", "503", "--path", "infer", "--journal"])
        .arg(&journal)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let read = tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line);
    timeout(LIMIT, read).await.expect("it announces itself").unwrap();
    let address = line.trim().rsplit("http://").next().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(infer("1", &[1.0]).as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 503");
    child.kill().await.unwrap();
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::remove_file(&journal).unwrap();
    assert!(text.contains("\"behaviour\":\"503\""), "{text}");
}
