//! Everything that was seen: answers as the clients got them, changes as the gateway told them,
//! faults as they were made.

use std::collections::HashMap;

use mainstay_policy::Moment;

use super::timetable::Fault;

/// Who gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// The first pool.
    Forest,
    /// The second pool.
    Boosting,
    /// The model inside the gateway.
    Embedded,
    /// The default prediction.
    Default,
}

impl Source {
    /// Best first.
    pub(super) const ALL: [Self; 4] = [Self::Forest, Self::Boosting, Self::Embedded, Self::Default];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Forest => "forest",
            Self::Boosting => "boosting",
            Self::Embedded => "embedded",
            Self::Default => "default",
        }
    }

    /// Who is meant by `x-mainstay-served-by`; without it the first step answered, and alone.
    /// Where several are named, each request having one row, the last one's answer stands.
    pub(super) fn named(served_by: Option<&str>) -> Option<Self> {
        let Some(names) = served_by else { return Some(Self::Forest) };
        let last = names.rsplit(", ").next()?;
        Self::ALL.into_iter().find(|source| last.starts_with(source.as_str()))
    }
}

/// One request, played and over.
#[derive(Clone, Debug)]
pub(super) struct Played {
    /// When it was over.
    pub(super) at: Moment,
    /// Who answered; `None` is an error that the client saw.
    pub(super) source: Option<Source>,
    pub(super) degraded: bool,
    /// Whether the digit was the true one.
    pub(super) right: bool,
    /// The servers (`pool/endpoint`) that failed it on the way.
    pub(super) failed_at: Vec<String>,
    /// The server (`pool/endpoint`) that answered, where that is known.
    pub(super) server: Option<String>,
}

/// A change of state, as the gateway told it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) at: Moment,
    pub(super) subject: String,
    /// Whether it was for the worse.
    pub(super) worse: bool,
    /// In one line, for people.
    pub(super) text: String,
}

/// A fault as it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    pub(super) fault: Fault,
    pub(super) at: Moment,
    /// When it was mended: the restart was begun, or the process let go on.
    pub(super) mended: Option<Moment>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) played: Vec<Played>,
    pub(super) changes: Vec<Change>,
    pub(super) struck: Vec<Struck>,
    /// What the first client error was.
    pub(super) first_error: Option<String>,
    /// Answers of the first pool whose server is not known yet, by their request id.
    unattributed: HashMap<String, usize>,
}

impl Journal {
    /// Adds a request; one that the first pool answered at once waits under its id to be told
    /// which server it was.
    pub(super) fn add(&mut self, played: Played, id: Option<String>) {
        if let Some(id) = id.filter(|_| played.server.is_none() && played.source.is_some()) {
            self.unattributed.insert(id, self.played.len());
        }
        self.played.push(played);
    }

    /// The request with this id was answered by `server`.
    pub(super) fn attribute(&mut self, id: &str, server: String) {
        if let Some(index) = self.unattributed.remove(id) {
            self.played[index].server = Some(server);
        }
    }

    /// Requests that nobody will be named for any more.
    pub(super) fn forget_unattributed(&mut self) {
        self.unattributed.clear();
    }

    pub(super) fn client_errors(&self) -> usize {
        self.played.iter().filter(|played| played.source.is_none()).count()
    }

    /// Answers by this source, and how many of them were right.
    pub(super) fn by(&self, source: Source) -> (usize, usize) {
        let mut counts = (0, 0);
        for played in self.played.iter().filter(|played| played.source == Some(source)) {
            counts.0 += 1;
            counts.1 += usize::from(played.right);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_source() {
        assert_eq!(Source::named(None), Some(Source::Forest));
        assert_eq!(Source::named(Some("boosting/boosting-2")), Some(Source::Boosting));
        assert_eq!(Source::named(Some("embedded:digits-logistic")), Some(Source::Embedded));
        let both = "embedded:digits-logistic, default";
        assert_eq!(Source::named(Some(both)), Some(Source::Default));
        assert_eq!(Source::named(Some("someone")), None);
    }
}
