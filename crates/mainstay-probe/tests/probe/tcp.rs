//! TCP: whoever accepts a connection passes.

use mainstay_policy::health::Check;

use crate::servers::{Refusing, Server, Silent};
use crate::{ask, ask_shortly};

#[tokio::test]
async fn an_accepted_connection_is_enough() {
    let silent = Silent::new().await;
    assert_eq!(ask(&silent.url(), "tcp").await.check, Check::Passed);
}

#[tokio::test]
async fn refused_is_not_timed_out() {
    assert_eq!(ask(&Refusing::new().url(), "tcp").await.check, Check::Refused);
    assert_eq!(ask(&Refusing::new().url(), "oip-ready").await.check, Check::Refused);
    assert_eq!(ask(&Refusing::new().url(), "grpc").await.check, Check::Refused);
    let silent = Silent::new().await;
    assert_eq!(ask_shortly(&silent.url(), "oip-ready").await, Check::TimedOut);
    assert_eq!(ask_shortly(&silent.url(), "{http: {path: /}}").await, Check::TimedOut);
    assert_eq!(ask_shortly(&silent.url(), "grpc").await, Check::TimedOut);
}

#[tokio::test]
async fn a_check_may_have_a_port_of_its_own() {
    let (main, other) = (Refusing::new(), Server::new("200 OK", "").await);
    let port = other.port();
    assert_eq!(ask(&main.url(), &format!("{{tcp: {{port: {port}}}}}")).await.check, Check::Passed);
    let http = format!("{{http: {{path: /, port: {port}}}}}");
    assert_eq!(ask(&main.url(), &http).await.check, Check::Passed);
    assert!(other.requests()[0].contains(&format!("host: 127.0.0.1:{port}\r\n")));
}

#[tokio::test]
async fn a_host_without_an_address_is_refused() {
    let found = ask("http://no-such-host.invalid:80", "tcp").await;
    assert_eq!(found.check, Check::Refused, "{}", found.detail);
}
