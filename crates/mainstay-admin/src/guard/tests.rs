//! Foreign names, foreign pages and strangers stay outside.

use axum::http::Request;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SERVERS: &str = "fedcba9876543210fedcba9876543210";

fn token(path: &std::path::Path, text: &str) -> Token {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Token::load(path).unwrap()
}

fn check(method: &str, headers: &[(&str, &str)]) -> Result<(), Code> {
    check_uri(method, "/api/breakers", headers)
}

fn check_uri(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), Code> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (request, ()) = request.body(()).unwrap().into_parts();
    let folder = tempfile::tempdir().unwrap();
    let tokens = Tokens {
        operators: token(&folder.path().join("token"), TOKEN),
        viewers: None,
        heartbeats: Some(token(&folder.path().join("servers"), SERVERS)),
    };
    let hosts = ["gw-a.internal".to_owned()];
    let own = Own { hosts: hosts.to_vec(), secure: false };
    let role = role(&request, &tokens);
    super::check(&request, role, (&tokens, &own)).map_err(|refusal| refusal.code)
}

#[test]
fn our_own_names_may_be_read() {
    let own = [
        "127.0.0.1:9901",
        "10.0.0.7",
        "[::1]:9901",
        "localhost:9901",
        "LocalHost",
        "gw-a.internal:9901",
    ];
    for host in own {
        assert_eq!(check("GET", &[("host", host)]), Ok(()), "{host}");
    }
}

#[test]
fn foreign_names_are_refused_even_for_reading() {
    let foreign = [
        "attacker.example:9901",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
        "gw-a.internal.attacker.example",
        "[attacker]",
        "",
    ];
    for host in foreign {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let token = format!("Bearer {TOKEN}");
            let headers = [("host", host), ("authorization", token.as_str())];
            assert_eq!(check(method, &headers), Err(Code::ForeignHost), "{method} {host}");
        }
    }
}

#[test]
fn the_target_of_a_request_is_checked_like_its_host() {
    let foreign = "http://attacker.example/metrics";
    assert_eq!(check_uri("GET", foreign, &[("host", "127.0.0.1")]), Err(Code::ForeignHost));
    assert_eq!(check_uri("GET", "http://127.0.0.1/metrics", &[("host", "127.0.0.1")]), Ok(()));
}

#[test]
fn two_hosts_are_one_too_many() {
    let headers = [("host", "127.0.0.1"), ("host", "127.0.0.1")];
    assert_eq!(check("GET", &headers), Err(Code::ForeignHost));
}

#[test]
fn a_health_check_without_a_host_may_read() {
    assert_eq!(check("GET", &[]), Ok(()));
    assert_eq!(check("POST", &[]), Err(Code::Unauthorized));
}

#[test]
fn a_verb_needs_the_token() {
    let host = ("host", "127.0.0.1:9901");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(check(method, &[host]), Err(Code::Unauthorized), "{method}");
        let right = format!("Bearer {TOKEN}");
        assert_eq!(check(method, &[host, ("authorization", &right)]), Ok(()), "{method}");
    }
    let wrong = [
        TOKEN.to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {TOKEN}"),
        format!("Bearer {TOKEN}0"),
        format!("Bearer {}", &TOKEN[1..]),
        format!("Bearer {}", TOKEN.to_uppercase()),
    ];
    for value in wrong {
        let headers = [host, ("authorization", value.as_str())];
        assert_eq!(check("POST", &headers), Err(Code::Unauthorized), "{value}");
    }
    let lower = format!("bearer {TOKEN}");
    assert_eq!(check("POST", &[host, ("authorization", &lower)]), Ok(()));
}

#[test]
fn a_servers_token_opens_heartbeats_alone() {
    let servers = format!("Bearer {SERVERS}");
    let headers = [("host", "127.0.0.1"), ("authorization", servers.as_str())];
    assert_eq!(check_uri("PUT", "/v1/heartbeats/p/a:8000", &headers), Ok(()));
    for path in ["/api/breakers", "/v1/heartbeats", "/api//v1/heartbeats/", "/"] {
        assert_eq!(check_uri("PUT", path, &headers), Err(Code::Unauthorized), "{path}");
    }
    let operators = format!("Bearer {TOKEN}");
    let headers = [("host", "127.0.0.1"), ("authorization", operators.as_str())];
    assert_eq!(check_uri("PUT", "/v1/heartbeats/p/a:8000", &headers), Ok(()));
    let nobody = [("host", "127.0.0.1")];
    assert_eq!(check_uri("PUT", "/v1/heartbeats/p/a", &nobody), Err(Code::Unauthorized));
}

#[test]
fn a_page_may_post_only_to_where_it_comes_from() {
    let token = format!("Bearer {TOKEN}");
    let post = |host: &str, origin: &str| {
        check("POST", &[("host", host), ("origin", origin), ("authorization", &token)])
    };
    assert_eq!(post("127.0.0.1:9901", "http://127.0.0.1:9901"), Ok(()));
    let foreign =
        ["http://127.0.0.1:8080", "https://127.0.0.1:9901", "http://evil.example", "null"];
    for origin in foreign {
        assert_eq!(post("127.0.0.1:9901", origin), Err(Code::ForeignOrigin), "{origin}");
    }
}

#[test]
fn where_viewers_have_a_token_reading_needs_one_and_it_opens_no_verb() {
    let folder = tempfile::tempdir().unwrap();
    let viewers = "v".repeat(64);
    let tokens = Tokens {
        operators: token(&folder.path().join("token"), TOKEN),
        viewers: Some(token(&folder.path().join("viewers"), &viewers)),
        heartbeats: Some(token(&folder.path().join("servers"), SERVERS)),
    };
    let ask = |method: &str, path: &str, token: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (request, ()) = request.body(()).unwrap().into_parts();
        let role = role(&request, &tokens);
        let checked = super::check(&request, role, (&tokens, &Own::default()));
        checked.map(|()| role).map_err(|refusal| refusal.code)
    };
    for path in ["/metrics", "/api/status", "/api/events", "/v1/orders", "/unknown"] {
        assert_eq!(ask("GET", path, None), Err(Code::Unauthorized), "{path}");
        assert_eq!(ask("GET", path, Some(SERVERS)), Err(Code::Unauthorized), "{path}");
        assert_eq!(ask("GET", path, Some(&viewers)), Ok(Some(Role::Viewer)), "{path}");
        assert_eq!(ask("GET", path, Some(TOKEN)), Ok(Some(Role::Operator)), "{path}");
    }
    assert_eq!(ask("GET", "/livez", None), Ok(None));
    assert_eq!(ask("GET", "/readyz", Some("wrong")), Ok(None));
    assert_eq!(ask("POST", "/api/breakers", Some(&viewers)), Err(Code::Forbidden));
    assert_eq!(ask("PUT", "/v1/heartbeats/p/a", Some(&viewers)), Err(Code::Forbidden));
    assert_eq!(ask("PUT", "/v1/heartbeats/p/a", Some(SERVERS)), Ok(Some(Role::Server)));
}
