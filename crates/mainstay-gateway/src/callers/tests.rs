//! Callers, by what they show and what they may ask.

use mainstay_config::Config;

use super::*;

const KEY: &str = "0123456789abcdef0123";
const NEXT: &str = "another-key-for-the-same";

fn callers(more: &str) -> (tempfile::TempDir, Callers) {
    let folder = tempfile::tempdir().unwrap();
    for (name, key) in [("a", KEY), ("b", NEXT)] {
        std::fs::write(folder.path().join(name), key).unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        "pools: {{p: {{endpoints: [\"http://a:1\"]}}}}\n\
         models: {{m: {{chain: [{{pool: p}}]}}, n: {{chain: [{{pool: p}}]}}}}\n\
         keys:\n  callers:\n    ann:\n      key: [{{file: {}}}, {{file: {}}}]\n      subject: ann.internal\n{more}",
        path("a"),
        path("b")
    );
    let config = Config::parse("test.yaml", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
    let keys = config.keys.unwrap();
    (folder, Callers::new(&keys, None))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn ask(callers: &Callers, pairs: &[(&'static str, &str)]) -> Result<String, Denied> {
    let mut headers = headers(pairs);
    let who = callers.identify(&mut headers, None, Clock::start())?;
    assert!(!headers.contains_key(AUTHORIZATION) && !headers.contains_key(&API_KEY));
    who.mark(&mut headers);
    Ok(headers[CALLER].to_str().unwrap().to_owned())
}

#[test]
fn a_key_says_who_asks_in_either_header_and_while_it_is_replaced() {
    let (_folder, callers) = callers("");
    let bearer = format!("Bearer {KEY}");
    assert_eq!(ask(&callers, &[("authorization", &bearer)]), Ok("ann".to_owned()));
    assert_eq!(
        ask(&callers, &[("authorization", &format!("bearer  {NEXT}"))]),
        Ok("ann".to_owned())
    );
    assert_eq!(ask(&callers, &[("x-api-key", KEY)]), Ok("ann".to_owned()));
    assert_eq!(ask(&callers, &[]), Err(Denied::Nameless));
    for wrong in ["", "Bearer", "Basic abc", &format!("Bearer {KEY}x"), "Bearer a.b.c", KEY] {
        assert_eq!(ask(&callers, &[("authorization", wrong)]), Err(Denied::Unknown), "{wrong}");
    }
    let two = [("x-api-key", KEY), ("x-api-key", "x")];
    assert_eq!(ask(&callers, &two), Err(Denied::Unknown), "one of two is for somebody else");
    assert_eq!(callers.strangers(), 8);
    assert!(!format!("{callers:?}").contains(KEY));
}

#[test]
fn a_certificate_says_who_asks() {
    let (_folder, callers) = callers("");
    let certificate = |subject: &str, name: &str| Certificate {
        subject: subject.to_owned(),
        names: vec![name.to_owned()],
        not_after: 0,
    };
    let ask = |certificate: &Certificate| {
        let who = callers.identify(&mut HeaderMap::new(), Some(certificate), Clock::start());
        who.map(|who| who.caller.name.to_string())
    };
    assert_eq!(ask(&certificate("ann.internal", "x")), Ok("ann".to_owned()));
    assert_eq!(ask(&certificate("", "ann.internal")), Ok("ann".to_owned()));
    assert_eq!(ask(&certificate("ann", "x")), Err(Denied::Unknown));
}

#[test]
fn grants_bound_models_rate_and_number() {
    let (_folder, callers) =
        callers("      models: [m]\n      rate: 1\n      burst: 3\n      concurrency: 2\n");
    let mut headers = headers(&[("x-api-key", KEY)]);
    let who = callers.identify(&mut headers, None, Clock::start()).unwrap();
    let now = Moment::from_millis(5);
    assert_eq!(who.enter(("n", "n"), now).unwrap_err(), Denied::Model);
    let passes = (who.enter(("m", "m"), now).unwrap(), who.enter(("m", "m"), now).unwrap());
    assert_eq!(who.enter(("m", "m"), now).unwrap_err(), Denied::AtOnce);
    drop(passes);
    drop(who.enter(("m", "m"), now).unwrap());
    let Err(Denied::Rate(wait)) = who.enter(("m", "m"), now) else { panic!("the burst is spent") };
    assert_eq!(wait, Duration::from_secs(1));
    drop(who.enter(("m", "m"), now + wait).unwrap());
    let status = status(&callers).remove(0);
    let refused = (status.refused_model, status.refused_rate, status.refused_concurrency);
    assert_eq!((refused, status.asked), ((1, 1, 1), 4));
}

#[test]
fn subjects_of_tokens_cannot_pass_for_anything_else() {
    assert_eq!(percent("ann@example"), "ann@example");
    assert_eq!(percent("a b\r\nx: é"), "a%20b%0D%0Ax:%20%C3%A9");
}

#[test]
fn a_route_for_any_name_is_granted_by_name_or_as_a_whole() {
    let grant = |names: &[&str]| {
        let mut grant = bare();
        grant.models = Some(names.iter().map(|name| Arc::from(*name)).collect());
        grant
    };
    assert!(grant(&["small"]).allows("*", "small") && !grant(&["small"]).allows("*", "large"));
    assert!(grant(&["*"]).allows("*", "large") && !grant(&["*"]).allows("fraud", "fraud"));
    assert!(bare().allows("*", "large"));
}

fn bare() -> Grant {
    Grant::default()
}
