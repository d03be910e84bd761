//! The clients: the held-out digits, one after the other, at a steady rate.
//!
//! The rate does not wait for answers, as real clients do not: a gateway that stalled would see
//! its requests pile up.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use hyper::header::HeaderMap;
use mainstay_telemetry::Clock;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Answer, Client};
use super::digits::{self, Digit};
use super::journal::{Journal, Played, Source};

const PATH: &str = "/v2/models/digits/infer";

/// Plays without end; dropped, it stops and gives up what is in flight.
pub(super) async fn play(
    clock: Clock,
    client: Rc<Client>,
    rate: u32,
    journal: Rc<RefCell<Journal>>,
    stop: Rc<tokio::sync::Notify>,
) -> anyhow::Result<()> {
    let digits = digits::all()?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut playing = JoinSet::new();
    for digit in digits.iter().cycle() {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.notified() => break,
        }
        playing.spawn_local(one(clock, Rc::clone(&client), digit.clone(), Rc::clone(&journal)));
        while playing.try_join_next().is_some() {}
    }
    playing.join_all().await;
    Ok(())
}

async fn one(clock: Clock, client: Rc<Client>, digit: Digit, journal: Rc<RefCell<Journal>>) {
    let answer = client.post(PATH, digit.body.clone()).await;
    let mut journal = journal.borrow_mut();
    let mut played = Played {
        at: clock.now(),
        source: None,
        degraded: false,
        right: false,
        failed_at: Vec::new(),
        server: None,
    };
    match answer {
        Ok(answer) if answer.status.is_success() => {
            let id = header(&answer.headers, "x-mainstay-request-id").map(str::to_owned);
            read(&mut played, &digit, &answer);
            journal.add(played, id);
        }
        Ok(answer) => {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            journal.first_error.get_or_insert_with(|| format!("{}: {said}", answer.status));
            journal.add(played, None);
        }
        Err(error) => {
            journal.first_error.get_or_insert_with(|| format!("{error:#}"));
            journal.add(played, None);
        }
    }
}

/// What an answer says of itself.
fn read(played: &mut Played, digit: &Digit, answer: &Answer) {
    let served_by = header(&answer.headers, "x-mainstay-served-by");
    played.source = Source::named(served_by);
    played.server = served_by.filter(|name| name.contains('/')).map(str::to_owned);
    played.degraded = header(&answer.headers, "x-mainstay-degraded") == Some("true");
    played.right = digits::label(&answer.body) == Some(digit.label);
    played.failed_at =
        header(&answer.headers, "x-mainstay-trail").map(failed_at).unwrap_or_default();
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The servers that failed, out of `forest/forest-1 unreachable 1ms; forest/forest-2 ok 4ms`.
fn failed_at(trail: &str) -> Vec<String> {
    trail
        .split("; ")
        .filter_map(|attempt| {
            let mut words = attempt.split(' ');
            let (server, how) = (words.next()?, words.next()?);
            (how != "ok").then(|| server.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_names_the_servers_that_failed() {
        let trail = "forest/forest-1 unreachable 1ms; forest/forest-2 ok 4ms";
        assert_eq!(failed_at(trail), ["forest/forest-1"]);
        assert!(failed_at("forest/forest-2 ok 4ms").is_empty());
        assert!(failed_at("").is_empty());
    }
}
