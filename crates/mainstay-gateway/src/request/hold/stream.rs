//! Holding the stream of a language model back until its first content, or until it has shown
//! how fast it is.

use std::collections::VecDeque;
use std::future::poll_fn;

use bytes::Bytes;
use mainstay_config::Prove;
use mainstay_policy::Class;
use mainstay_protocol::openai::error::class_inside;
use mainstay_protocol::openai::stream::{Passage, Passed, Trouble};
use mainstay_protocol::sse::MAX_BYTES;
use tokio::time::{Instant, timeout_at};

use super::{Held, whole};
use crate::upstream::{Connection, Inbound};

/// A stream that was held long enough.
#[derive(Debug)]
pub(in crate::request) struct Gated {
    pub(in crate::request) held: Held,
    /// Where the stream stands.
    pub(in crate::request) passage: Box<Passage>,
    /// The class of the failure that the server tells of instead of content.
    pub(in crate::request) failed: Option<Class>,
    /// When the first content came.
    pub(in crate::request) first: Option<Instant>,
}

/// What is being waited for.
struct Gate {
    passage: Box<Passage>,
    queue: VecDeque<Bytes>,
    size: usize,
    prove: Option<Prove>,
    first: Option<Instant>,
}

impl Gate {
    /// Takes what came; whether it is enough.
    fn take(&mut self, passed: Passed) -> Result<Option<Class>, Class> {
        if passed.content > 0 && self.first.is_none() {
            self.first = Some(Instant::now());
        }
        if !passed.out.is_empty() {
            self.size += passed.out.len();
            self.queue.push_back(passed.out);
        }
        if !passed.last.is_empty() {
            self.queue.push_back(passed.last);
        }
        match passed.trouble {
            None => Ok(None),
            Some(Trouble::Malformed) => Err(Class::BadAnswer),
            Some(Trouble::Failed(said)) => Ok(Some(class_inside(&said))),
        }
    }

    /// Whether the answer may be committed: keep-alives are no progress, whatever their number.
    fn is_open(&self) -> bool {
        let wanted = self.prove.map_or(1, |prove| prove.events);
        let content = self.passage.content();
        let proven = content >= wanted || (content > 0 && self.passage.is_complete());
        proven || self.size + self.passage.held() >= MAX_BYTES
    }

    /// Until when the proof must be there.
    fn until(&self) -> Option<Instant> {
        Some(self.first? + self.prove?.within)
    }

    fn committed(self, body: Inbound, failed: Option<Class>) -> Gated {
        let Self { passage, queue, first, .. } = self;
        Gated { held: Held::Open(queue, body), passage, failed, first }
    }

    /// All of it came: an answer if it says that it is one.
    fn ended(mut self) -> Result<Gated, Class> {
        let passed = self.passage.finish();
        let failed = self.take(passed)?;
        if failed.is_none() && !self.passage.is_complete() {
            return Err(Class::Truncated);
        }
        let Self { passage, queue, size, first, .. } = self;
        Ok(Gated { held: Held::Whole(whole(queue, size)), passage, failed, first })
    }
}

/// Holds a stream. The time for its first content is the attempt's; `came` is told of content.
pub(in crate::request) async fn hold_stream(
    (mut body, connection): (Inbound, &mut Connection),
    (passage, prove): (Passage, Option<Prove>),
    came: impl Fn(),
) -> Result<Gated, Class> {
    let passage = Box::new(passage);
    let mut gate = Gate { passage, queue: VecDeque::new(), size: 0, prove, first: None };
    loop {
        if body.is_end() {
            return gate.ended();
        }
        let part = poll_fn(|cx| connection.poll_part(&mut body, cx));
        let part = match gate.until() {
            None => part.await,
            // It began to speak, and is slower than it has to be.
            Some(until) => timeout_at(until, part).await.map_err(|_| Class::Timeout)?,
        };
        let passed = match part {
            None => return gate.ended(),
            Some(Err(class)) => return Err(class),
            Some(Ok(data)) => gate.passage.push(data),
        };
        let content = passed.content > 0;
        if let Some(class) = gate.take(passed)? {
            return Ok(gate.committed(body, Some(class)));
        }
        if content {
            came();
        }
        // Whatever was proven: a stream that is complete needs no commit.
        if !body.is_end() && gate.is_open() {
            return Ok(gate.committed(body, None));
        }
    }
}
