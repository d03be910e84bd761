//! A steady load: so many requests a second, whether answers come or not.
//!
//! The rate does not wait for answers (an open loop): a gateway that stalls sees its queue grow,
//! as it would with real clients.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::http::{Answer, Connection, Request};
use super::{LIMIT, SLACK, eventually};

/// One request of the load and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The number that the request was made by.
    pub(crate) number: usize,
    pub(crate) sent: Instant,
    pub(crate) took: Duration,
    pub(crate) result: Result<Answer, String>,
}

/// A load that runs.
pub(crate) struct Load {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<tokio::sync::Notify>,
    runner: JoinHandle<()>,
}

/// Everything that was asked and answered, in the order of the answers.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) samples: Vec<Sample>,
}

type Idle = Arc<Mutex<Vec<Connection>>>;

impl Load {
    /// Sends `rate` requests a second to `host`; `request` makes each by its number.
    pub(crate) fn start(
        host: SocketAddr,
        rate: u32,
        request: impl Fn(usize) -> Request + Send + 'static,
    ) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(tokio::sync::Notify::new());
        let (into, stopped) = (Arc::clone(&samples), Arc::clone(&stop));
        let runner = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let idle = Idle::default();
            let mut running = JoinSet::new();
            for number in 0.. {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stopped.notified() => break,
                }
                running.spawn(play(host, (number, request(number)), idle.clone(), into.clone()));
                while running.try_join_next().is_some() {}
            }
            running.join_all().await;
        });
        Self { samples, stop, runner }
    }

    /// How many answers (or errors) have come.
    pub(crate) fn count(&self) -> usize {
        self.samples.lock().unwrap().len()
    }

    /// Waits for so many more.
    pub(crate) async fn more(&self, count: usize) {
        let enough = self.count() + count;
        eventually("enough answers", || async { (self.count() >= enough).then_some(()) }).await;
    }

    /// Waits for an answer, sent after `since`, that `fits`.
    pub(crate) async fn until(
        &self,
        what: &str,
        since: Instant,
        fits: impl Fn(&Sample) -> bool,
    ) -> Sample {
        eventually(what, || async {
            let samples = self.samples.lock().unwrap();
            samples.iter().find(|sample| sample.sent >= since && fits(sample)).cloned()
        })
        .await
    }

    /// Ends the load and waits for what is in flight.
    pub(crate) async fn stop(self) -> Report {
        self.stop.notify_one();
        self.runner.await.expect("the load runs to its end");
        let samples = std::mem::take(&mut *self.samples.lock().unwrap());
        Report { samples }
    }
}

async fn play(
    host: SocketAddr,
    (number, request): (usize, Request),
    idle: Idle,
    into: Arc<Mutex<Vec<Sample>>>,
) {
    let sent = Instant::now();
    let result = match tokio::time::timeout(LIMIT, on_any(host, &request, &idle)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    };
    into.lock().unwrap().push(Sample { number, sent, took: sent.elapsed(), result });
}

/// Asks on a connection that is free, or on a new one.
async fn on_any(host: SocketAddr, request: &Request, idle: &Idle) -> std::io::Result<Answer> {
    let free = idle.lock().unwrap().pop();
    let mut connection = match free {
        Some(connection) => connection,
        None => Connection::open(host).await?,
    };
    let answer = connection.ask(request).await?;
    if connection.is_reusable() {
        idle.lock().unwrap().push(connection);
    }
    Ok(answer)
}

impl Sample {
    /// The answer, where one came.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        self.result.as_ref().ok()
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.answer().is_some_and(|answer| answer.status() == 200)
    }

    pub(crate) fn is_degraded(&self) -> bool {
        self.answer().is_some_and(Answer::is_degraded)
    }

    /// Whether it took more than one attempt.
    pub(crate) fn was_retried(&self) -> bool {
        self.is_ok()
            && !self.is_degraded()
            && self.answer().and_then(|answer| answer.header("x-mainstay-trail")).is_some_and(
                |trail| {
                    // A hedge cuts an attempt off; nothing has failed then.
                    let well =
                        |attempt: &str| attempt.contains(" ok ") || attempt.contains(" overtaken ");
                    trail.split("; ").any(|attempt| !well(attempt))
                },
            )
    }
}

impl Report {
    /// Every request was answered with 200, none later than `deadline`.
    pub(crate) fn assert_all_answered_within(&self, deadline: Duration) {
        let failed: Vec<_> = self.samples.iter().filter(|sample| !sample.is_ok()).collect();
        let count = self.samples.len();
        assert!(failed.is_empty(), "{} of {count} failed, first {:?}", failed.len(), failed[0]);
        let slowest = self.samples.iter().max_by_key(|sample| sample.took).expect("there are some");
        assert!(slowest.took <= deadline + SLACK, "of {count} too late: {slowest:?}");
    }

    /// The requests sent after `since`.
    pub(crate) fn since(&self, since: Instant) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.sent >= since).collect()
    }
}
