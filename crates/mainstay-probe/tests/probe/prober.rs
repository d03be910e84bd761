//! The prober: verdicts, recoveries, dependencies and its end.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::Dependency;
use mainstay_policy::health::{Change, Check, Settings};
use mainstay_policy::{Moment, Ratio, Verdict};
use mainstay_probe::{Found, GoldenProbe, Observer, Prober, Subject};
use mainstay_protocol::Protocol;
use mainstay_protocol::classify::Flavour;
use mainstay_protocol::oip::golden;
use mainstay_telemetry::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::servers::{Refusing, Server, Silent};
use crate::{AMPLE, SHORT, model, pool, until};

/// What an observer is told.
#[derive(Debug, PartialEq)]
enum Note {
    Probed(usize, Check),
    Golden(usize, Check, String),
    Changed(usize, Verdict, Verdict, String),
    Dependency(Option<usize>, String, bool),
}

struct Witness(mpsc::Sender<Note>);

impl Observer for Witness {
    fn probed(&self, subject: usize, found: &Found, _: Duration) {
        self.0.try_send(Note::Probed(subject, found.check)).expect("room");
    }

    fn unasked(&self, _: usize, found: &Found) {
        panic!("{found:?}: this process has all it needs");
    }

    fn changed(&self, subject: usize, change: &Change, _: Moment) {
        let evidence = change.evidence.to_string();
        self.0.try_send(Note::Changed(subject, change.from, change.to, evidence)).expect("room");
    }

    fn golden(&self, subject: usize, found: &Found, _: Duration, change: Option<&Change>) {
        self.0.try_send(Note::Golden(subject, found.check, found.detail.clone())).expect("room");
        if let Some(change) = change {
            let evidence = change.evidence.to_string();
            let note = Note::Changed(subject, change.from, change.to, evidence);
            self.0.try_send(note).expect("room");
        }
    }

    fn dependency(&self, subject: Option<usize>, name: &str, healthy: bool, why: &str) {
        assert!(!why.is_empty());
        self.0.try_send(Note::Dependency(subject, name.to_owned(), healthy)).expect("room");
    }
}

/// A prober at work, and what it tells.
struct Running {
    notes: mpsc::Receiver<Note>,
    observer: Arc<Witness>,
    task: JoinSet<()>,
}

fn run(subjects: Vec<Subject>, own: Vec<Dependency>) -> Running {
    let (sender, notes) = mpsc::channel(100_000);
    let observer = Arc::new(Witness(sender));
    let mut task = JoinSet::new();
    let prober = Prober::new(subjects, own, Clock::start(), 42);
    task.spawn(prober.run(Arc::clone(&observer) as _));
    Running { notes, observer, task }
}

impl Running {
    async fn next(&mut self) -> Note {
        let next = tokio::time::timeout(AMPLE, self.notes.recv()).await;
        next.expect("waited in vain for a note").expect("the witness lives")
    }

    /// The next change of a verdict, and the results for its subject before it.
    async fn change(&mut self) -> (Note, Vec<Check>) {
        let mut checks = Vec::new();
        loop {
            match self.next().await {
                Note::Probed(_, check) => checks.push(check),
                note => return (note, checks),
            }
        }
    }

    /// So many notes that are no results of single probes.
    async fn changes(&mut self, count: usize) -> Vec<Note> {
        let mut changes = Vec::new();
        while changes.len() < count {
            changes.push(self.change().await.0);
        }
        changes
    }
}

/// Quick rounds for a subject whose server answers.
fn brisk() -> Settings {
    Settings {
        interval: Duration::from_millis(40),
        fast: Duration::from_millis(10),
        down: Duration::from_millis(20),
        timeout: AMPLE,
        rise: 2,
        fall: 3,
        jitter: Ratio::percent(20),
    }
}

fn subject(url: &str) -> Subject {
    let pool = pool(url, "oip-ready");
    Subject {
        address: pool.endpoints[0].url.clone(),
        model: model("fraud", None),
        check: pool.probe.check,
        settings: brisk(),
        golden: None,
        dependencies: Vec::new(),
    }
}

/// Dependencies as an endpoint declares them.
fn dependencies(text: &str) -> Vec<Dependency> {
    let endpoint = format!("{{url: 'http://127.0.0.1:1', dependencies: {text}}}");
    let mut pool = pool(&endpoint, "off");
    pool.endpoints.remove(0).dependencies
}

fn changed(subject: usize, from: Verdict, to: Verdict, evidence: &str) -> Note {
    Note::Changed(subject, from, to, evidence.to_owned())
}

/// A question to which 0.5 is the answer.
fn golden_probe() -> GoldenProbe {
    let file = br#"{
        "request": {"inputs": [{"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}]},
        "expect": {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]}]}
    }"#;
    let questions = vec![Arc::new(golden::parse(file).unwrap())];
    let settings = Settings { fall: 2, ..brisk() };
    GoldenProbe { questions, protocol: Protocol::Oip, flavour: Flavour::Auto, settings }
}

fn says(value: f32) -> String {
    let data = format!(r#"{{"name": "y", "datatype": "FP32", "shape": [1], "data": [{value}]}}"#);
    format!(r#"{{"model_name": "fraud", "outputs": [{data}]}}"#)
}

#[tokio::test]
async fn a_golden_request_tells_right_from_wrong_and_nothing_else() {
    let server = Server::new("200 OK", &says(0.5)).await;
    let check = mainstay_config::Check::Off;
    let asked = Subject { golden: Some(golden_probe()), check, ..subject(&server.url()) };
    let mut running = run(vec![asked], Vec::new());
    let mut until = async |wanted: Verdict| loop {
        if let Note::Changed(0, _, to, evidence) = running.next().await {
            assert_eq!(to, wanted, "{evidence}");
            return running.next().await;
        }
    };
    until(Verdict::Ready).await;
    let asked = server.requests().remove(0);
    assert!(asked.starts_with("POST /v2/models/fraud/infer HTTP/1.1"), "{asked}");
    assert!(asked.ends_with(r#""data": [1]}]}"#), "{asked}");

    server.answer("200 OK", &says(0.25));
    let Note::Golden(0, check, detail) = until(Verdict::Wrong).await else { panic!("no answer") };
    assert_eq!(check, Check::Wrong);
    assert_eq!(detail, "golden request answered wrongly: output `y`[0] is 0.25, expected 0.5");

    // Busy or loading says nothing: it stays what it was.
    server.answer("503 Busy", "");
    loop {
        match running.next().await {
            Note::Golden(0, Check::NotReady, _) => break,
            Note::Golden(..) => {}
            note => panic!("{note:?}"),
        }
    }
    server.answer("500 Oh", "{}");
    loop {
        match running.next().await {
            Note::Golden(0, Check::Wrong, detail) => {
                assert_eq!(detail, "golden request answered wrongly: HTTP 500");
                break;
            }
            Note::Golden(..) => {}
            note => panic!("{note:?}"),
        }
    }
    server.answer("200 OK", &says(0.5));
    loop {
        match running.next().await {
            Note::Changed(0, Verdict::Wrong, Verdict::Ready, _) => break,
            Note::Golden(..) => {}
            note => panic!("{note:?}"),
        }
    }
}

#[tokio::test]
async fn the_first_probe_of_each_subject_decides() {
    let (ready, loading) = (Server::new("200 OK", "").await, Server::new("400 No", "").await);
    let (dead, hung) = (Refusing::new(), Silent::new().await);
    let impatient = Settings { timeout: SHORT, ..brisk() };
    let mut running = run(
        vec![
            Subject { settings: impatient, ..subject(&hung.url()) },
            subject(&ready.url()),
            subject(&loading.url()),
            subject(&dead.url()),
        ],
        Vec::new(),
    );
    let mut changes = running.changes(4).await;
    changes.sort_by_key(|note| match note {
        Note::Changed(subject, ..) => *subject,
        _ => usize::MAX,
    });
    assert_eq!(
        changes,
        [
            changed(0, Verdict::Unknown, Verdict::Dead, "a probe timed out"),
            changed(1, Verdict::Unknown, Verdict::Ready, "a probe passed"),
            changed(2, Verdict::Unknown, Verdict::Loading, "a probe said not ready"),
            changed(3, Verdict::Unknown, Verdict::Dead, "a probe was refused"),
        ]
    );
}

#[tokio::test]
async fn a_subject_falls_and_rises_by_rows() {
    let server = Server::new("200 OK", "").await;
    let mut running = run(vec![subject(&server.url())], Vec::new());
    running.change().await;

    server.answer("500 Internal Server Error", "");
    let (fall, checks) = running.change().await;
    let evidence = "3 probes in a row, the last failed";
    assert_eq!(fall, changed(0, Verdict::Ready, Verdict::Dead, evidence));
    assert_eq!(checks.iter().filter(|check| **check == Check::Failed).count(), 3);

    server.answer("200 OK", "");
    let (rise, checks) = running.change().await;
    let evidence = "2 probes in a row, the last passed";
    assert_eq!(rise, changed(0, Verdict::Dead, Verdict::Ready, evidence));
    assert_eq!(checks.iter().filter(|check| **check == Check::Passed).count(), 2);
}

#[tokio::test]
async fn a_dependency_is_asked_once_for_all_and_ejects_nobody() {
    let (server, store) = (Server::new("200 OK", "").await, Server::new("200 OK", "").await);
    let text = format!(
        "[{{name: features, http: '{}/ping', interval: 40ms, timeout: 39ms}}]",
        store.url()
    );
    let mut declared = dependencies(&text);
    // More time than a configuration allows: the machine that runs this may be busy.
    declared[0].health = brisk();
    let dependant = Subject { dependencies: declared.clone(), ..subject(&server.url()) };
    let mut running = run(vec![dependant.clone(), dependant], declared);
    assert!(matches!(running.changes(2).await[..], [Note::Changed(..), Note::Changed(..)]));

    let before = store.requests().len();
    let sick = |subject| Note::Dependency(subject, "features".to_owned(), false);
    store.answer("500 Internal Server Error", "");
    assert_eq!(running.changes(3).await, [sick(Some(0)), sick(Some(1)), sick(None)]);
    let rounds = store.requests().len() - before;
    assert!((3..=5).contains(&rounds), "one row of failures told all three: {rounds}");
    let healthy = |subject| Note::Dependency(subject, "features".to_owned(), true);
    store.answer("200 OK", "");
    assert_eq!(running.changes(3).await, [healthy(Some(0)), healthy(Some(1)), healthy(None)]);
    assert!(store.requests().iter().all(|request| request.starts_with("GET /ping ")));
}

#[tokio::test]
async fn all_dependants_share_one_probe_and_health_from_the_beginning_is_no_news() {
    let (server, store) = (Server::new("200 OK", "").await, Server::new("200 OK", "").await);
    let mut declared = dependencies(&format!("[{{name: features, http: '{}'}}]", store.url()));
    declared[0].health = Settings { interval: Duration::from_secs(600), ..brisk() };
    let dependant = Subject { dependencies: declared.clone(), ..subject(&server.url()) };
    let mut running = run(vec![dependant.clone(), dependant], declared);
    until("the dependency to be asked", || !store.requests().is_empty()).await;
    // Each subject is probed many times while a second asker would be asking for the first.
    let mut probed = 0;
    while probed < 40 {
        match running.next().await {
            Note::Probed(..) => probed += 1,
            Note::Changed(..) => {}
            news @ (Note::Dependency(..) | Note::Golden(..)) => panic!("{news:?}"),
        }
    }
    assert_eq!(store.requests().len(), 1);
}

#[tokio::test]
async fn a_dependency_that_is_sick_from_the_beginning_is_told() {
    let (server, store) = (Server::new("200 OK", "").await, Refusing::new());
    let address = store.url().replace("http://", "");
    let declared = dependencies(&format!("[{{name: features, tcp: '{address}'}}]"));
    let mut running =
        run(vec![Subject { dependencies: declared, ..subject(&server.url()) }], Vec::new());
    let told = running.changes(2).await;
    assert!(told.contains(&Note::Dependency(Some(0), "features".to_owned(), false)), "{told:?}");
}

#[tokio::test]
async fn dependencies_with_different_secrets_are_different() {
    let store = Server::new("200 OK", "").await;
    let folder = tempfile::tempdir().unwrap();
    let declared = |secret: &str| {
        let file = folder.path().join(secret);
        fs::write(&file, secret).unwrap();
        let (url, file) = (store.url(), file.display());
        let headers = format!("{{authorization: {{file: '{file}'}}}}");
        dependencies(&format!("[{{name: features, http: {{url: '{url}', headers: {headers}}}}}]"))
    };
    let server = Server::new("200 OK", "").await;
    let _running = run(
        vec![
            Subject { dependencies: declared("first"), ..subject(&server.url()) },
            Subject { dependencies: declared("second"), ..subject(&server.url()) },
        ],
        Vec::new(),
    );
    let came = |secret: &str| {
        let line = format!("authorization: {secret}\r\n");
        store.requests().iter().any(|request| request.contains(&line))
    };
    until("both secrets to come", || came("first") && came("second")).await;
}

#[tokio::test]
async fn who_is_off_is_not_asked() {
    let (off, on) = (Server::new("200 OK", "").await, Server::new("200 OK", "").await);
    let unasked = Subject { check: mainstay_config::Check::Off, ..subject(&off.url()) };
    let mut running = run(vec![unasked, subject(&on.url())], Vec::new());
    let first = running.change().await;
    let second = running.next().await;
    assert_eq!(first.0, changed(1, Verdict::Unknown, Verdict::Ready, "a probe passed"));
    assert_eq!(second, Note::Probed(1, Check::Passed));
    assert!(off.requests().is_empty());
}

#[tokio::test]
async fn a_dropped_prober_leaves_nothing_behind() {
    let (server, hung) = (Server::new("200 OK", "").await, Silent::new().await);
    let mut running = run(vec![subject(&server.url()), subject(&hung.url())], Vec::new());
    running.change().await;
    until("the hung probe to connect", || hung.seen().accepted == 1).await;
    assert!(Arc::strong_count(&running.observer) > 1);
    running.task.abort_all();
    until("the observer to be let go", || Arc::strong_count(&running.observer) == 1).await;
    until("the hung probe's connection to close", || hung.seen().closed == 1).await;
}

#[tokio::test]
async fn without_subjects_it_waits_to_be_dropped() {
    let mut running = run(Vec::new(), Vec::new());
    let ended = tokio::time::timeout(Duration::from_millis(20), running.task.join_next()).await;
    assert!(ended.is_err());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the runtime is to stand still")]
async fn a_prober_that_stood_still_itself_blames_nobody() {
    let server = Silent::new().await;
    let settings = Settings { timeout: SHORT, fall: 1, ..brisk() };
    let mut running = run(vec![Subject { settings, ..subject(&server.url()) }], Vec::new());
    tokio::time::sleep(Duration::from_millis(1)).await;
    for _ in 0..5 {
        // Nobody on this runtime does anything meanwhile, so every limit passes late.
        std::thread::sleep(SHORT + SHORT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(running.notes.try_recv().is_err(), "nothing was found out");
    let (note, _) = running.change().await;
    assert!(matches!(note, Note::Changed(0, _, Verdict::Dead, _)), "{note:?}");
}

#[tokio::test]
async fn servers_that_hang_do_not_hold_more_than_their_share_of_connections() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let holding = Arc::clone(&held);
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            holding.lock().unwrap().push(stream);
        }
    });
    let subjects = (0..600).map(|_| subject(&url)).collect();
    let running = run(subjects, Vec::new());
    until("as many as may be", || held.lock().unwrap().len() >= 512).await;
    tokio::time::sleep(SHORT).await;
    assert_eq!(held.lock().unwrap().len(), 512);
    drop(running);
    accepting.abort();
}
