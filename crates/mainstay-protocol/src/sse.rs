//! Server-sent events: where the first content of a stream is.
//!
//! A stream is held until its first content and committed then. Comments (`: keep-alive`),
//! events without data and chunks that only name a role (the first of an OpenAI-compatible
//! chat) are no content: a server that dies after them has answered nothing yet, and another can
//! still take over. An event that says `error` instead is a failure, whatever the status was.
//!
//! Lines end in LF, CR or CRLF; an event ends at an empty line.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

mod event;

/// The most events without content that are waited through.
pub const MAX_EVENTS: usize = 64;
/// The most bytes that are waited through.
pub const MAX_BYTES: usize = 256 * 1024;

const MEDIA: &str = "text/event-stream";

/// Whether a `content-type` announces an event stream.
#[must_use]
pub fn is_event_stream(content_type: &str) -> bool {
    content_type.trim_start().split_at_checked(MEDIA.len()).is_some_and(|(media, rest)| {
        let rest = rest.trim_start();
        media.eq_ignore_ascii_case(MEDIA) && (rest.is_empty() || rest.starts_with(';'))
    })
}

/// The offset just after the first event with content, or `None` if there is none yet.
#[must_use]
pub fn first_event_end(stream: &[u8]) -> Option<usize> {
    match Gate::new().push(stream) {
        Progress::Content { end } => Some(end),
        Progress::Waiting | Progress::Failed { .. } | Progress::TooLong => None,
    }
}

/// What a stream has come to so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No content yet.
    Waiting,
    /// Content came: commit the stream.
    Content {
        /// The offset in the stream just after the event.
        end: usize,
    },
    /// An error came instead of content.
    Failed {
        /// The event's data.
        data: String,
    },
    /// Neither came within [`MAX_EVENTS`] and [`MAX_BYTES`].
    TooLong,
}

/// Watches a stream, chunk by chunk, for its first content. It keeps the data of one event.
#[derive(Debug, Default)]
pub struct Gate {
    /// Bytes seen.
    seen: usize,
    /// Events seen.
    events: usize,
    /// The line that has begun.
    line: Vec<u8>,
    /// The last byte was a CR, whose LF may follow.
    after_cr: bool,
    /// The event that has begun.
    event: event::Event,
    /// What it came to; a gate stays where it is.
    settled: Option<Progress>,
}

impl Gate {
    /// A gate before the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next chunk of the stream.
    pub fn push(&mut self, chunk: &[u8]) -> Progress {
        for &byte in chunk {
            if let Some(settled) = &self.settled {
                return settled.clone();
            }
            self.seen += 1;
            self.settled = self.byte(byte).or_else(|| self.limit());
        }
        self.settled.clone().unwrap_or(Progress::Waiting)
    }

    fn byte(&mut self, byte: u8) -> Option<Progress> {
        let completes_crlf = std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
        match byte {
            b'\n' if completes_crlf => None,
            b'\n' | b'\r' => self.end_of_line(),
            _ => {
                self.line.push(byte);
                None
            }
        }
    }

    fn end_of_line(&mut self) -> Option<Progress> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.event.line(&line);
            return None;
        }
        self.events += 1;
        match std::mem::take(&mut self.event).meaning() {
            event::Meaning::Nothing => None,
            event::Meaning::Content => Some(Progress::Content { end: self.seen }),
            event::Meaning::Error(data) => Some(Progress::Failed { data }),
        }
    }

    fn limit(&self) -> Option<Progress> {
        let over = self.seen >= MAX_BYTES || self.events >= MAX_EVENTS;
        over.then_some(Progress::TooLong)
    }
}

#[cfg(test)]
mod tests;
