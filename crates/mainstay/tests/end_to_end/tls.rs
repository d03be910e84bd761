//! TLS with servers, clients and operators, against the real program.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_tls::Settings;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::peer::Peer;
use crate::support::process::run;
use crate::support::tls::{Authority, Front, ask_secure, connect, shown_by};
use crate::support::{LIMIT, eventually};

fn infer(model: &str) -> Request {
    let body = json!({
        "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}]
    });
    Request::post(&format!("/v2/models/{model}/infer"), body.to_string())
}

fn model(pools: &[&str]) -> Value {
    let chain: Vec<_> = pools.iter().map(|pool| json!({"pool": pool})).collect();
    json!({"m": {"chain": chain}})
}

#[tokio::test]
async fn requests_and_probes_reach_a_server_that_asks_for_our_certificate() {
    let authority = Authority::new();
    let peer = Peer::good(0.5).await;
    let front =
        Front::start(peer.address, &authority.issue("server"), Some(authority.file())).await;
    let own = authority.issue("gateway");
    let tls = json!({"ca": authority.file(), "certificate": own.certificate, "key": own.key});
    let pools = json!({"p": {"endpoints": [{"url": front.url()}], "tls": tls}});
    let gateway = Gateway::ready(config(&pools, &model(&["p"]))).await;
    let before = front.shaken.load(Ordering::Relaxed);
    for _ in 0..20 {
        let answer = gateway.ask(&infer("m")).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let shaken = front.shaken.load(Ordering::Relaxed) - before;
    assert!(shaken < 15, "connections within TLS are kept: {shaken} handshakes");
    let large = vec![b' '; 3 << 20];
    let body = [&infer("m").body[..], &large].concat();
    let answer = gateway.ask(&Request { body, ..infer("m") }).await;
    assert_eq!(answer.status(), 200, "a body that does not fit into one write");
}

#[tokio::test]
async fn a_server_with_a_wrong_certificate_is_left_out_and_told_of() {
    let (known, strange) = (Authority::new(), Authority::new());
    let (bad, good) = (Peer::good(0.1).await, Peer::good(0.9).await);
    let wrong = Front::start(bad.address, &strange.issue("server"), None).await;
    let right = Front::start(good.address, &known.issue("server"), None).await;
    let pools = json!({"p": {
        "endpoints": [{"url": wrong.url(), "name": "wrong"}, {"url": right.url(), "name": "right"}],
        "tls": {"ca": known.file()},
        "probe": {"check": "off"},
    }});
    let gateway = Gateway::start(config(&pools, &model(&["p"]))).await;
    for _ in 0..10 {
        let answer = gateway.ask(&infer("m")).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    assert!(bad.received().is_empty(), "nothing is sent to whom nobody trusts");
    let event = eventually("an event says why", || async {
        gateway.events("tls").await.into_iter().find(|event| event["subject"] == "p/wrong")
    })
    .await;
    assert_eq!(event["to"], "refused");
    assert!(event["cause"].as_str().unwrap().contains("certificate"), "{event}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_or_falls_silent_is_left_out_in_time() {
    let authority = Authority::new();
    let plain = Peer::good(0.1).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = Peer::good(0.9).await;
    let right = Front::start(good.address, &authority.issue("server"), None).await;
    let pools = json!({"p": {
        "endpoints": [
            {"url": format!("https://{}", plain.address)},
            {"url": format!("https://{}", silent.local_addr().unwrap())},
            {"url": right.url()},
        ],
        "tls": {"ca": authority.file()},
        "probe": {"check": "off"},
    }});
    let gateway = Gateway::start(config(&pools, &model(&["p"]))).await;
    for _ in 0..10 {
        let answer = gateway.ask(&infer("m")).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}

async fn listening(authority: &Authority, tls: Value) -> (Gateway, Peer) {
    let peer = Peer::good(0.5).await;
    let mut config = config(&json!({"p": pool([&peer.address])}), &model(&["p"]));
    config["listen"]["tls"] = tls;
    let _ = authority;
    (Gateway::ready(config).await, peer)
}

#[tokio::test]
async fn clients_are_served_within_tls_and_agree_on_http_2() {
    let authority = Authority::new();
    let (gateway, _peer) = listening(&authority, authority.issue("gateway").json()).await;
    let by = authority.settings(None);
    for _ in 0..3 {
        let (status, text) = ask_secure(gateway.http, &by, &infer("m")).await.unwrap();
        assert_eq!(status, 200, "{text}");
    }
    // A large body both ways, so that neither fits into one record.
    let body = [&infer("m").body[..], &vec![b' '; 1 << 20]].concat();
    let (status, _) = ask_secure(gateway.http, &by, &Request { body, ..infer("m") }).await.unwrap();
    assert_eq!(status, 200);
    let url = format!("https://{}/v2/models/m/ready", gateway.http);
    let curl = tokio::process::Command::new("curl")
        .args(["-sS", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"])
        .arg("--cacert")
        .args([authority.file().to_str().unwrap(), &url])
        .output();
    let told = curl.await.unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told, "2 200");
    let plain = tokio::time::timeout(LIMIT, async {
        let mut plain = TcpStream::connect(gateway.http).await?;
        tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await?;
        let mut said = Vec::new();
        plain.read_to_end(&mut said).await.map(|_| said)
    });
    let said = plain.await.unwrap().unwrap_or_default();
    assert!(!said.starts_with(b"HTTP"), "clear text gets no answer: {said:?}");
}

#[tokio::test]
async fn who_must_show_a_certificate_and_has_none_is_not_served() {
    let (authority, strange) = (Authority::new(), Authority::new());
    let mut tls = authority.issue("gateway").json();
    tls["client-ca"] = json!(authority.file());
    let (gateway, _peer) = listening(&authority, tls).await;
    let with = authority.settings(Some(&authority.issue("client")));
    assert_eq!(ask_secure(gateway.http, &with, &infer("m")).await.unwrap().0, 200);
    assert!(ask_secure(gateway.http, &authority.settings(None), &infer("m")).await.is_err());
    let other =
        Settings { ca: Some(authority.file()), ..strange.settings(Some(&strange.issue("x"))) };
    assert!(ask_secure(gateway.http, &other, &infer("m")).await.is_err());
}

#[tokio::test]
async fn new_certificates_are_taken_up_and_broken_ones_are_not() {
    let authority = Authority::new();
    let pair = authority.issue("gateway");
    let (gateway, _peer) = listening(&authority, pair.json()).await;
    let by = authority.settings(None);
    assert_eq!(shown_by(gateway.http, &by).await, "gateway");
    let page = crate::support::http::ask(gateway.admin, &Request::get("/metrics")).await.text();
    let metric = "mainstay_certificate_expiry_timestamp_seconds{certificate=\"listen\"} ";
    assert!(page.contains(metric), "{page}");

    std::fs::write(&pair.certificate, "no certificate").unwrap();
    eventually("the broken file is told of", || async {
        let events = gateway.events("tls").await;
        events.into_iter().find(|event| event["to"].as_str().unwrap().starts_with("refused"))
    })
    .await;
    assert_eq!(shown_by(gateway.http, &by).await, "gateway", "what was stays");

    let next = authority.issue_until("next", 2000);
    std::fs::rename(&next.key, &pair.key).unwrap();
    std::fs::rename(&next.certificate, &pair.certificate).unwrap();
    let event = eventually("its end is told of", || async {
        gateway.events("tls").await.into_iter().find(|event| event["to"] == "expired")
    })
    .await;
    assert!(event["subject"].as_str().unwrap().contains("next"), "{event}");
    let good = authority.issue("better");
    std::fs::rename(&good.key, &pair.key).unwrap();
    std::fs::rename(&good.certificate, &pair.certificate).unwrap();
    eventually("the new one is shown", || async {
        let shown = connect(gateway.http, &by).await;
        (shown.is_ok() && shown_by(gateway.http, &by).await == "better").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_half_handshakes_keeps_nobody_out() {
    let authority = Authority::new();
    let peer = Peer::good(0.5).await;
    let mut config = config(&json!({"p": pool([&peer.address])}), &model(&["p"]));
    config["listen"]["tls"] = authority.issue("gateway").json();
    config["limits"] = json!({"header-timeout": "1s"});
    config["workers"] = json!(1);
    let gateway = Gateway::ready(config).await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(TcpStream::connect(gateway.http).await.unwrap());
    }
    let by = authority.settings(None);
    let request = infer("m");
    let asked = ask_secure(gateway.http, &by, &request);
    let asked = tokio::time::timeout(Duration::from_secs(2), asked);
    assert_eq!(asked.await.expect("not kept waiting").unwrap().0, 200);
    for mut stream in silent {
        let end = tokio::time::timeout(LIMIT, stream.read(&mut [0])).await;
        assert!(!matches!(end, Ok(Ok(1..)) | Err(_)), "half a handshake has its time");
    }
}

#[tokio::test]
async fn operators_ask_within_tls() {
    let authority = Authority::new();
    let peer = Peer::good(0.5).await;
    let mut config = config(&json!({"p": pool([&peer.address])}), &model(&["p"]));
    config["admin"]["tls"] = authority.issue("gateway").json();
    let gateway = Gateway::start(config).await;
    let admin = format!("https://{}", gateway.admin);
    let ca = authority.file();
    let arguments = ["status", "--admin", &admin, "--admin-ca", ca.to_str().unwrap(), "--json"];
    let ended = run(&arguments, LIMIT).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = run(&["status", "--admin", &admin], LIMIT).await;
    assert_ne!(ended.code, Some(0), "an authority that nobody named is not trusted");
}

#[tokio::test]
async fn a_server_that_refuses_our_certificate_has_read_nothing() {
    let (authority, strange) = (Authority::new(), Authority::new());
    let (bad, good) = (Peer::good(0.1).await, Peer::good(0.9).await);
    let wants = Front::start(bad.address, &authority.issue("a"), Some(strange.file())).await;
    let fine = Front::start(good.address, &authority.issue("b"), None).await;
    let pools = json!({"p": {
        "endpoints": [{"url": wants.url()}, {"url": fine.url()}],
        "tls": {"ca": authority.file()},
        "probe": {"check": "off"},
    }});
    let chain = json!([{"pool": "p"}]);
    let models = json!({"m": {"repeatable": false, "chain": chain}});
    let gateway = Gateway::start(config(&pools, &models)).await;
    for _ in 0..10 {
        let answer = gateway.ask(&infer("m")).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    assert!(bad.received().is_empty());
}
