//! A streamed answer, event by event.
//!
//! Only whole events are passed on, so that whatever happens to a server, the client's last
//! event is whole too and an error can follow it. What is passed on is what came, byte for byte.
//!
//! | event | content | end |
//! |---|---|---|
//! | comment, keep-alive, `event:` without data | no | |
//! | chunk with a role alone, an empty delta, `usage` without choices | no | |
//! | words, reasoning, a refusal, a tool call | yes | |
//! | chunk with a `finish_reason` | yes | of its choice |
//! | `response.created`, `.in_progress`, items and parts that are only announced | no | |
//! | `response.*.delta` with something in it | yes | |
//! | `[DONE]`, `response.completed`, `response.incomplete` | | yes |
//! | an `error` that is not null, `event: error`, `response.failed` | failure | |
//! | data that is no JSON | failure | |
//!
//! A stream that stops before its end, or before each of its choices has a `finish_reason`, was
//! cut. Lines end in LF, CR or CRLF; an event ends at an empty line.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

mod event;

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::error::Said;
use super::path::Form;
use super::usage::Usage;
use event::{Brought, Lines, Meaning};

/// The longest event that is waited for: pictures come as one.
pub const MAX_EVENT: usize = 4 * 1024 * 1024;

/// What is wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server says so.
    Failed(Said),
    /// An event that is no JSON, or longer than [`MAX_EVENT`]; it was not passed on.
    Malformed,
}

/// What came of some bytes of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// To be passed on: the whole events, as they came.
    pub out: Bytes,
    /// How many of them brought content.
    pub content: u32,
    /// The event in which the server says that it failed, which is not among the others.
    pub last: Bytes,
    /// What is wrong, if something is; nothing that follows is read.
    pub trouble: Option<Trouble>,
}

/// A stream on its way.
#[derive(Debug)]
pub struct Passage {
    form: Form,
    /// How many choices there are; `None` where only the mark of the end tells.
    choices: Option<u32>,
    boundary: Boundary,
    /// The event that has begun.
    pending: BytesMut,
    /// Events with content so far.
    content: u32,
    /// Choices seen and finished, as bits.
    seen: u64,
    finished: u64,
    done: bool,
    usage: Option<Usage>,
    broken: bool,
}

impl Passage {
    /// A stream before its first byte.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self {
            form,
            choices: Some(1),
            boundary: Boundary::default(),
            pending: BytesMut::new(),
            content: 0,
            seen: 0,
            finished: 0,
            done: false,
            usage: None,
            broken: false,
        }
    }

    /// The same for an answer of so many choices; `None` where only the mark of the end tells.
    #[must_use]
    pub const fn of_choices(mut self, choices: Option<u32>) -> Self {
        self.choices = choices;
        self
    }

    /// What the stream is of.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Events with content so far.
    #[must_use]
    pub const fn content(&self) -> u32 {
        self.content
    }

    /// The tokens that the server counted, if it said so.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Whether everything came: the mark of the end, or a reason to finish for every choice.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let all = |choices| self.seen == self.finished && self.finished.count_ones() >= choices;
        self.done || self.choices.is_some_and(all)
    }

    /// Whether the mark of the end came: nothing follows it.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it ended in trouble: nothing that follows is read.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that are held back: the beginning of an event.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.len()
    }

    /// Looks at the next bytes; says what of them may go on.
    pub fn push(&mut self, chunk: Bytes) -> Passed {
        let mut passed = Passed::default();
        if self.broken {
            return passed;
        }
        let Some(first) = self.boundary.end(&chunk) else {
            self.carry(&chunk, &mut passed);
            return passed;
        };
        let carried = self.pending.len();
        let bytes = if carried == 0 {
            chunk
        } else {
            self.pending.extend_from_slice(&chunk);
            self.pending.split().freeze()
        };
        let (mut from, mut end) = (0, Some(carried + first));
        while let Some(to) = end {
            let trouble = self.event(&bytes[from..to], &mut passed.content);
            if let Some(trouble) = trouble {
                self.broken = true;
                passed.out = bytes.slice(..from);
                if trouble != Trouble::Malformed {
                    passed.last = bytes.slice(from..to);
                }
                passed.trouble = Some(trouble);
                return passed;
            }
            from = to;
            end = self.boundary.end(&bytes[from..]).map(|end| from + end);
        }
        passed.out = bytes.slice(..from);
        self.carry(&bytes[from..], &mut passed);
        passed
    }

    /// The stream has ended: an event without its empty line is one all the same.
    pub fn finish(&mut self) -> Passed {
        let mut passed = Passed::default();
        if self.broken || self.pending.is_empty() {
            return passed;
        }
        let last = self.pending.split().freeze();
        passed.trouble = self.event(&last, &mut passed.content);
        self.broken = passed.trouble.is_some();
        match passed.trouble {
            None => passed.out = last,
            Some(Trouble::Failed(_)) => passed.last = last,
            Some(Trouble::Malformed) => {}
        }
        passed
    }

    /// Keeps the beginning of an event for the next chunk.
    fn carry(&mut self, beginning: &[u8], passed: &mut Passed) {
        if self.pending.len() + beginning.len() > MAX_EVENT {
            self.broken = true;
            passed.trouble = Some(Trouble::Malformed);
        } else {
            self.pending.extend_from_slice(beginning);
        }
    }

    fn event(&mut self, event: &[u8], content: &mut u32) -> Option<Trouble> {
        let lines = Lines::of(event);
        let (meaning, Brought { seen, finished, usage }) = event::read(self.form, &lines);
        self.seen |= seen;
        self.finished |= finished;
        self.usage = usage.or(self.usage);
        match meaning {
            Meaning::Nothing => {}
            Meaning::Content => {
                self.content += 1;
                *content += 1;
            }
            // An end without any content is an answer of nothing.
            Meaning::End if self.form != Form::Responses && self.content == 0 => {
                return Some(Trouble::Malformed);
            }
            Meaning::End => self.done = true,
            Meaning::Failed => {
                let data = lines.data.as_deref().unwrap_or_default();
                return Some(Trouble::Failed(Said::read(data).unwrap_or_default()));
            }
            Meaning::Malformed => return Some(Trouble::Malformed),
        }
        None
    }
}

/// The event with which the gateway ends a stream that was cut, in the form of the API.
#[must_use]
pub fn cut_event(form: Form, code: &str, message: &str) -> Bytes {
    let error = json!({
        "message": message, "type": "server_error", "param": null, "code": code
    });
    if form == Form::Responses {
        let event = json!({
            "type": "error", "code": code, "message": message, "param": null, "error": error
        });
        return format!("event: error\ndata: {event}\n\n").into();
    }
    format!("data: {}\n\n", json!({ "error": error })).into()
}

/// Finds the ends of events, however the bytes are cut.
#[derive(Debug)]
struct Boundary {
    /// Nothing stands on the present line yet.
    at_start: bool,
    /// The last byte was a CR, whose LF may follow.
    after_cr: bool,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { at_start: true, after_cr: false }
    }
}

impl Boundary {
    /// The offset after the first event that ends in `bytes`; all of them are looked at where
    /// none does. An LF that completes the CR before it opens the next event, where it is an
    /// empty line more.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(found) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) {
            let empty = found == 0 && self.at_start;
            let completes = found == 0 && bytes[at] == b'\n' && self.after_cr;
            at += found + 1;
            self.after_cr = bytes[at - 1] == b'\r';
            self.at_start = true;
            if empty && !completes {
                return Some(at);
            }
        }
        if at < bytes.len() {
            (self.at_start, self.after_cr) = (false, false);
        }
        None
    }
}

#[cfg(test)]
mod tests;
