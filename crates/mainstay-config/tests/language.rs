//! Language models in a configuration: what is taken, and each trap that is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use mainstay_config::{Check, Code, Config, Key};
use mainstay_policy::balance::Rule;
use mainstay_policy::chain::Cause;
use mainstay_protocol::Protocol;
use mainstay_protocol::classify::Flavour;

fn parse(pool: &str, model: &str) -> Result<Config, Vec<Code>> {
    let text = format!(
        "pools:\n  p: {{protocol: openai, {pool}}}\n  q: {{protocol: openai, endpoints: \
         [http://b:1]}}\n  t: {{endpoints: [http://c:1]}}\nmodels:\n  m: {{{model}}}\n  n: {{chain: \
         [{{pool: q}}]}}\n  o: {{chain: [{{pool: t}}]}}\n"
    );
    Config::parse("test.yaml", &text)
        .map_err(|errors| errors.faults().iter().map(|fault| fault.code()).collect())
}

fn codes(pool: &str, model: &str) -> Vec<Code> {
    parse(pool, model).err().unwrap_or_default()
}

const POOL: &str = "endpoints: [http://a:1]";
const MODEL: &str = "chain: [{pool: p}]";

#[test]
fn a_short_pool_has_what_it_needs() {
    let config = parse(POOL, MODEL).unwrap();
    let pool = &config.pools[0];
    assert_eq!((pool.protocol, pool.flavour), (Protocol::OpenAi, Flavour::OpenAi));
    assert_eq!(pool.probe.check, Check::Off, "no provider is asked for nothing");
    let config = parse("flavour: vllm, endpoints: [http://a:1]", MODEL).unwrap();
    assert!(matches!(&config.pools[0].probe.check, Check::Http(check) if check.path == "/health"));
}

#[test]
fn streams_are_limited() {
    let pool = "endpoints: [http://a:1], streams: {first-token: 5s, prove: {events: 4}}";
    let streams = parse(pool, MODEL).unwrap().pools[0].streams;
    assert_eq!((streams.first_token, streams.inter_token), (Some(Duration::from_secs(5)), None));
    assert_eq!(streams.prove.unwrap().events, 4);
    let pool = "endpoints: [http://a:1], streams: {prove: {events: 65}}";
    assert_eq!(codes(pool, MODEL), [Code::BadValue]);
}

#[test]
fn keys_come_from_files_and_are_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "planted-key\n").unwrap();
    let pool = format!(
        "endpoints: [{{url: http://a:1, api-key: {{file: {:?}}}, model: other, headers: {{x-a: b}}}}]",
        file.path()
    );
    let config = parse(&pool, MODEL).unwrap();
    let provider = config.pools[0].endpoints[0].provider.as_ref().unwrap();
    assert_eq!(provider.headers["authorization"], "Bearer planted-key");
    assert!(provider.has_key && provider.model.as_deref() == Some("other"));
    assert!(!format!("{config:?}").contains("planted-key"));
}

#[test]
fn a_secret_under_any_name_is_a_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "planted").unwrap();
    let headers = format!("{{x-goog-api-key: {{file: {:?}}}}}", file.path());
    let pool = format!("endpoints: [{{url: http://a:1, headers: {headers}}}]");
    let config = parse(&pool, MODEL).unwrap();
    assert!(config.pools[0].endpoints[0].provider.as_ref().unwrap().has_key);
}

#[test]
fn causes_are_read() {
    let model = "chain: [{pool: p}, {pool: q, on: [context-length, timeout]}]";
    let config = parse(POOL, model).unwrap();
    let causes = config.models[0].chain[1].causes;
    assert!(causes.hold(Cause::ContextLength) && causes.hold(Cause::Timeout));
    assert!(!causes.hold(Cause::ServerError));
    assert!(config.models[0].chain[0].causes.hold(Cause::ServerError));
}

#[test]
fn balance_by_tokens_and_prefix() {
    let balance = |text: &str| parse(&format!("{POOL}, balance: {text}"), MODEL);
    assert_eq!(balance("tokens").unwrap().pools[0].balance, Rule::Tokens);
    let config = balance("{ring-hash: {prompt-prefix: 1KiB}}").unwrap();
    assert_eq!(config.pools[0].key, Some(Key::PromptPrefix(1024)));
    assert_eq!(balance("{ring-hash: {prompt-prefix: 2MiB}}").unwrap_err(), [Code::BadValue]);
    let both = balance("{ring-hash: {prompt-prefix: 1KiB, header: x-user}}");
    assert_eq!(both.unwrap_err(), [Code::Contradiction]);
}

#[test]
fn traps_are_refused() {
    for (pool, model, expected) in [
        ("endpoints: [{url: http://a:1, api-key: sk-1}]", MODEL, vec![Code::Secret]),
        ("endpoints: [{url: http://a:1, api-key: {env: NO_SUCH_KEY}}]", MODEL, vec![Code::Secret]),
        (POOL, "chain: [{pool: p, on: [timeout]}]", vec![Code::Contradiction]),
        (POOL, "chain: [{pool: p}, {pool: q, on: []}]", vec![Code::Unreachable]),
        (POOL, "chain: [{pool: p}, {pool: q, on: [weather]}]", vec![Code::BadValue]),
        (POOL, "chain: [{pool: p}, {pool: t}]", vec![Code::Apart]),
        (POOL, "chain: [{pool: p}, {last-good: 10m}]", vec![Code::Apart]),
        (POOL, "chain: [{pool: p}], batch: first-dimension", vec![Code::Contradiction]),
        (POOL, "chain: [{pool: p}], continuation: prefix", vec![]),
        (POOL, "chain: [{pool: p}], continuation: always", vec![Code::BadValue]),
    ] {
        assert_eq!(codes(pool, model), expected, "{pool} {model}");
    }
    let text = "pools: {t: {endpoints: [http://c:1], streams: {first-token: 1s}}}\n\
                models: {o: {chain: [{pool: t}], continuation: prefix}}\n";
    let errors = Config::parse("test.yaml", text).unwrap_err();
    let codes: Vec<Code> = errors.faults().iter().map(|fault| fault.code()).collect();
    assert_eq!(codes, [Code::Contradiction, Code::Contradiction]);
}
