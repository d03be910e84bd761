//! What is made of an answer after its client has it.
//!
//! Some models remember good answers, and some try their fallbacks out with a share of the requests.
//! Whatever that takes is done on the control runtime: a worker only hands over what it held
//! anyway, over a bounded queue, and when that is full the sample is dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Uri};
use mainstay_protocol::Protocol;
use mainstay_protocol::form::Context;
use tokio::sync::mpsc;

use crate::memory::{Memory, Reservation};
use crate::rehearsal;
use crate::request::{Ask, Question};
use crate::shared::Shared;
use crate::snapshot::Route;

/// Answers on their way to the control runtime; each holds its request's body and its own.
const QUEUE: usize = 256;

/// A prediction as it was asked for, without the hold of the worker that answered it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) protocol: Protocol,
    pub(crate) route: Arc<Route>,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) json_len: Option<usize>,
    /// What it takes of the memory for shadows; golden requests take none.
    pub(crate) reservation: Option<Reservation>,
}

impl Asked {
    /// `None` for anything but a prediction, and for one whose body was not kept. What it took of
    /// the memory for clients' requests is given back here: a shadow that hangs must not take it
    /// from them.
    pub(crate) fn of(ask: Ask) -> Option<Self> {
        let body = ask.question()?.body.clone();
        drop(ask.reservation);
        Some(Self {
            protocol: ask.protocol,
            route: ask.route.share(),
            uri: ask.uri,
            headers: ask.headers,
            body,
            json_len: ask.json_len,
            reservation: None,
        })
    }

    /// What its messages do not say of the model by themselves.
    pub(crate) fn context(&self) -> Context<'_> {
        self.route.context()
    }

    /// What its answer depends on.
    pub(crate) fn question(&self) -> Question<'_> {
        let (uri, headers, json_len) = (&self.uri, &self.headers, self.json_len);
        let (protocol, model) = (self.protocol, &*self.route.name);
        Question { protocol, model, uri, headers, body: &self.body, json_len }
    }
}

/// A prediction that was answered, with what it was answered.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) asked: Asked,
    /// The step that answered.
    pub(crate) step: usize,
    /// The server that did, if it was one.
    pub(crate) target: Option<u32>,
    /// Its answer as it came, and the length of its JSON part where binary tensors follow it.
    pub(crate) answer: Option<(Bytes, Option<usize>)>,
    /// Whether it is of full quality.
    pub(crate) good: bool,
    /// Whether the request is to be sent to the fallbacks as well.
    pub(crate) sampled: bool,
    /// From the request's head to here.
    pub(crate) took: Duration,
    /// When.
    pub(crate) at: SystemTime,
}

/// The way of answers to the control runtime.
#[derive(Debug)]
pub(crate) struct Aftermath {
    queue: mpsc::Sender<Heard>,
    /// The other end, until somebody [runs](run) it.
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
    /// For what waits here and what is sent in the shadow.
    memory: Arc<Memory>,
    lost: AtomicU64,
}

impl Aftermath {
    /// Room for so many bytes.
    pub(crate) fn new(memory: usize) -> Self {
        let (queue, heard) = mpsc::channel(QUEUE);
        let memory = Arc::new(Memory::new(memory));
        Self { queue, heard: Mutex::new(Some(heard)), memory, lost: AtomicU64::new(0) }
    }

    /// Other room from now on.
    pub(crate) fn resize(&self, memory: usize) {
        self.memory.resize(memory);
    }

    /// Hands an answer over, if there is room.
    pub(crate) fn tell(&self, mut heard: Heard) {
        let answer = heard.answer.as_ref().map_or(0, |(answer, _)| answer.len());
        heard.asked.reservation = self.memory.reserve(heard.asked.body.len() + answer);
        if heard.asked.reservation.is_none() || self.queue.try_send(heard).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers that were dropped for want of room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Takes in what workers hand over, and looks after what nobody has proven for long.
pub(crate) async fn run(shared: Arc<Shared>) {
    let heard = shared.aftermath.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut answers) = heard else { return };
    let mut tick = tokio::time::interval(rehearsal::LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                shared.snapshot().routes.iter().for_each(|route| rehearsal::look(&shared, route));
            }
            heard = answers.recv() => match heard {
                Some(heard) => take_in(&shared, heard),
                None => return,
            },
        }
    }
}

fn take_in(shared: &Arc<Shared>, heard: Heard) {
    if let (Some(rule), Some((answer, json_len)), true) =
        (&heard.asked.route.last_good, &heard.answer, heard.good)
    {
        shared.last_good.put((heard.asked.question(), rule), (answer, *json_len), heard.at);
    }
    if heard.sampled {
        rehearsal::rehearse(shared, heard);
    }
}
