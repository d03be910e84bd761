//! The stream of a language model on its way to the client.
//!
//! Whole events alone are passed on, so that an error of ours can follow whatever came. A stream
//! that is cut, stalls, or ends before its end gets one last event that says so, and then the
//! connection is aborted: clients of the API raise the error that the event is, and for any other
//! the answer has visibly not come to its end. Only content is progress; keep-alives do not put
//! the limit between two tokens off.

use std::future::Future;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use mainstay_policy::Class;
use mainstay_protocol::openai::error::class_inside;
use mainstay_protocol::openai::stream::{Passage, Passed, Trouble, cut_event};
use tokio::time::Instant;

use super::resume::Resuming;
use super::{Cut, OpenBody};
use crate::memory::Reservation;
use crate::request::{Ask, Resumable};
use crate::worker::Worker;

/// The page of the error with which a cut stream ends.
const CODE: &str = "MS0261";

/// How long the last event has to leave us before the connection is aborted, which would
/// otherwise overtake it.
const FLUSH: Duration = Duration::from_millis(100);

/// How long the end of a stream may follow its mark.
const LAST: Duration = Duration::from_secs(1);

/// What may be held of a stream without asking for memory.
const FREE: usize = 64 * 1024;

/// What is known of a stream while it is passed on.
#[derive(Debug)]
pub(crate) struct Following {
    passage: Box<Passage>,
    /// Between two pieces of content.
    limit: Duration,
    /// When a part was handed over: until the client asks again, it is its turn.
    handed: Option<Instant>,
    /// When the last content came.
    last: Option<Instant>,
    stage: Stage,
    /// What it takes to go on elsewhere.
    resumable: Option<Box<Resumable>>,
    /// Whether the stream has gone on elsewhere.
    adopts: bool,
    /// Another server is being asked to go on.
    pub(super) resuming: Option<Resuming>,
    /// What is held of it beyond the first.
    memory: Option<Reservation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// On its way.
    Open,
    /// All that can be said is in the queue; cut after that.
    Ending(Class),
    /// It is with hyper; cut once the time to send it is over.
    Flushing(Class),
    Over,
}

impl Following {
    /// A stream that was held until here.
    pub(crate) const fn new(
        passage: Box<Passage>,
        limit: Duration,
        first: Option<Instant>,
    ) -> Self {
        let broken = passage.is_broken();
        Self {
            passage,
            limit,
            handed: None,
            last: first,
            // What the server says of its failure is all that there is.
            stage: if broken { Stage::Ending(Class::ClientFault) } else { Stage::Open },
            resumable: None,
            adopts: false,
            resuming: None,
            memory: None,
        }
    }

    /// What it takes to go on elsewhere, if it is cut.
    pub(crate) fn resumes(&mut self, resumable: Option<Box<Resumable>>) {
        self.resumable = resumable;
    }

    /// Listens to what was held.
    pub(super) fn hear(&mut self, events: &Bytes) {
        if let Some(resumable) = &mut self.resumable {
            resumable.hear(events);
        }
    }

    /// The request with which another server goes on.
    pub(super) fn again(&mut self, worker: &Worker) -> Option<Ask> {
        let tokens = u64::from(self.passage.content());
        self.resumable.as_mut()?.again(worker, tokens)
    }

    pub(super) fn into_passage(self) -> Box<Passage> {
        self.passage
    }

    /// The tokens of the prompt and of the answer: as the server counts them, or the pieces that
    /// came.
    pub(crate) fn tokens(&self) -> [u64; 2] {
        let pieces = u64::from(self.passage.content());
        self.passage
            .usage()
            .map_or([0, pieces], |usage| [usage.prompt_tokens, usage.completion_tokens])
    }

    /// Between two pieces of content.
    pub(super) const fn limit(&self) -> Duration {
        self.limit
    }
}

impl OpenBody {
    /// The next whole events.
    pub(super) fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.clients_turn_is_over();
        loop {
            if let Some(bytes) = self.queue.pop_front() {
                self.hand_over();
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match self.stage() {
                Stage::Open => {}
                Stage::Over => return Poll::Ready(None),
                Stage::Ending(class) => {
                    self.cut(class);
                    self.idle.as_mut().reset(Instant::now() + FLUSH);
                    self.set_stage(Stage::Flushing(class));
                }
                Stage::Flushing(class) => {
                    ready!(self.idle.as_mut().poll(cx));
                    self.set_stage(Stage::Over);
                    return Poll::Ready(Some(Err(Cut(class))));
                }
            }
            if self.stage() == Stage::Open {
                if self.following.as_ref().is_some_and(|it| it.resuming.is_some()) {
                    ready!(self.poll_resuming(cx));
                } else {
                    ready!(self.poll_events(cx));
                }
            }
        }
    }

    /// Takes what the server has: it is in the queue then, or the stream is over.
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.total.is_some_and(|total| Instant::now() >= total) {
            self.break_off(Class::Timeout);
            return Poll::Ready(());
        }
        let Some(ending) = &mut self.ending else {
            self.set_stage(Stage::Over);
            return Poll::Ready(());
        };
        match ending.connection.poll_part(&mut self.rest, cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                let passed = self.following.as_mut().map(|it| it.passage.push(bytes));
                self.pass(passed.unwrap_or_default());
                if self.rest.is_end() {
                    self.upstream_ended();
                }
            }
            Poll::Ready(Some(Err(class))) => self.break_off(class),
            Poll::Ready(None) => self.upstream_ended(),
            Poll::Pending => {
                ending.trial.expect();
                ready!(self.idle.as_mut().poll(cx));
                self.break_off(Class::Timeout);
            }
        }
        Poll::Ready(())
    }

    /// Queues what may go on, and notes what it says.
    fn pass(&mut self, passed: Passed) {
        let Passed { out, content, last, trouble } = passed;
        if !out.is_empty() {
            self.queue_events(out);
        }
        if content > 0 {
            self.progressed();
        }
        match trouble {
            None if !self.has_memory() => self.break_off(Class::BadAnswer),
            None => self.look_for_end(),
            Some(Trouble::Malformed) => self.break_off(Class::BadAnswer),
            Some(Trouble::Failed(said)) => self.failed_inside(class_inside(&said), last),
        }
    }

    /// The server says that it failed: it tells the client itself, unless another one goes on.
    fn failed_inside(&mut self, class: Class, last: Bytes) {
        if class.moves_on() && self.try_elsewhere(class) {
            return;
        }
        self.cut(class);
        self.queue.push_back(last);
        self.set_stage(Stage::Ending(class));
    }

    /// After the mark of the end nothing comes but the end itself.
    fn look_for_end(&mut self) {
        if self.following.as_ref().is_some_and(|it| it.passage.is_done()) {
            let soon = self.idle.deadline().min(Instant::now() + LAST);
            self.idle.as_mut().reset(soon);
        }
    }

    /// Whether there is memory for what is held of the stream: an event that has begun, and what
    /// it takes to go on elsewhere. The first of it needs no leave.
    fn has_memory(&mut self) -> bool {
        let Some(following) = &mut self.following else { return true };
        let told = following.resumable.as_ref().map_or(0, |it| it.held());
        let held = following.passage.held() + told;
        if held <= FREE {
            return true;
        }
        match (&mut following.memory, &self.ending) {
            (Some(memory), _) => {
                let more = held.saturating_sub(memory.bytes());
                more == 0 || memory.grow(more)
            }
            (None, Some(ending)) => {
                following.memory = ending.flight.worker.shared.memory.reserve(held);
                following.memory.is_some()
            }
            (None, None) => true,
        }
    }

    /// Content came: the next has its own time.
    fn progressed(&mut self) {
        let now = Instant::now();
        let Some(following) = &mut self.following else { return };
        let next = now + following.limit;
        let gap = following.last.replace(now).map(|last| now - last);
        let next = self.total.map_or(next, |total| total.min(next));
        self.idle.as_mut().reset(next);
        if let Some(ending) = &mut self.ending {
            ending.trial.excuse();
            ending.trial.advance();
            let target = ending.flight.record.attempts().get(ending.at).map(|it| it.target);
            if let Some((target, gap)) = target.zip(gap) {
                ending.flight.worker.telemetry.token_gap(target, gap);
            }
        }
    }

    /// Counts the tokens of a stream that is over.
    pub(super) fn count_tokens(&self, ending: &super::Ending) {
        if let Some(following) = &self.following {
            let (model, tokens) = (ending.flight.record.model, following.tokens());
            ending.flight.worker.telemetry.tokens(model, tokens);
        }
    }

    /// The server closed its stream: complete, or cut.
    fn upstream_ended(&mut self) {
        if self.ending.is_none() {
            return;
        }
        let last = self.following.as_mut().map(|it| it.passage.finish()).unwrap_or_default();
        self.pass(last);
        if self.ending.is_none() {
            return;
        }
        if self.following.as_ref().is_some_and(|it| it.passage.is_complete()) {
            self.complete();
            self.set_stage(Stage::Over);
        } else {
            self.break_off(Class::Truncated);
        }
    }

    /// Queues events for the client, under the identity of the stream that it knows.
    pub(super) fn queue_events(&mut self, events: Bytes) {
        let Some(following) = &mut self.following else { return };
        let Some(resumable) = &mut following.resumable else { return self.queue.push_back(events) };
        let events = if following.adopts { resumable.adopt(&events) } else { events };
        resumable.hear(&events);
        self.queue.push_back(events);
    }

    /// The stream goes on with this passage, elsewhere.
    pub(super) fn renew(&mut self, passage: Box<Passage>) {
        if let Some(following) = &mut self.following {
            following.passage = passage;
            following.last = None;
        }
        self.adopt();
    }

    /// From now on events come from elsewhere.
    pub(super) fn adopt(&mut self) {
        if let Some(following) = &mut self.following {
            following.adopts = true;
        }
    }

    /// All of it came.
    pub(super) fn finished(&mut self) {
        self.set_stage(Stage::Over);
    }

    /// The stream cannot go on here. Where all of it had come, nothing is lost.
    fn break_off(&mut self, class: Class) {
        if self.following.as_ref().is_some_and(|it| it.passage.is_complete()) {
            // Its connection may still bring the rest of this answer.
            drop(self.settle());
            self.finished();
        } else if !self.try_elsewhere(class) {
            self.cut(class);
            self.tell_of_cut(class);
        }
    }

    /// Ends a stream that has not come to its end, with an event that says so.
    pub(super) fn tell_of_cut(&mut self, class: Class) {
        let Some(following) = &mut self.following else { return };
        let message = format!("the server's answer was cut ({}) [{CODE}]", class.as_str());
        self.queue.push_back(cut_event(following.passage.form(), CODE, &message));
        following.stage = Stage::Ending(class);
    }

    /// The time that the client took is not the server's.
    fn clients_turn_is_over(&mut self) {
        let handed = self.following.as_mut().and_then(|following| following.handed.take());
        if let Some(handed) = handed
            && self.stage() == Stage::Open
        {
            let later = self.idle.deadline() + handed.elapsed();
            self.idle.as_mut().reset(self.total.map_or(later, |total| total.min(later)));
        }
    }

    fn hand_over(&mut self) {
        if let Some(following) = &mut self.following {
            following.handed = Some(Instant::now());
        }
    }

    fn stage(&self) -> Stage {
        self.following.as_ref().map_or(Stage::Over, |following| following.stage)
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(following) = &mut self.following {
            following.stage = stage;
        }
    }
}
