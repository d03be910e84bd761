//! Putting one answer together from several sources.
//!
//! A step's confidence rule may leave some rows of a batch unanswered, and rows that break a guard
//! are unanswered too; these move on alone and come back into their places. A row of little
//! confidence is still the best answer if no better one comes; one that broke a guard is void: it
//! never reaches a client. Until a rule has spoken nothing is parsed: an answer that is good
//! at once stays the server's bytes.

use std::borrow::Cow;
use std::sync::Arc;

use mainstay_config::Exhausted;
use mainstay_protocol::oip::answer::{self, Response};
use mainstay_protocol::oip::confidence::{self, Rule};
use mainstay_protocol::oip::{Encoded, infer};
use mainstay_protocol::{Error, Protocol, Tensor, form};

use super::ask::{Ask, Kind, Payload};

/// What an answer came to.
pub(super) enum Judged {
    /// Good as it is, and all that was asked.
    Accepted,
    /// With it the assembly is complete.
    Completed,
    /// Some rows are still unanswered.
    Missing,
}

/// The answer so far.
#[derive(Default)]
pub(super) struct Assembly {
    /// The request's tensors; read when first needed.
    request: Option<infer::Request>,
    /// The best answer so far, for every row.
    best: Option<Response>,
    /// How sure `best` is of each row.
    confidence: Vec<f64>,
    /// The rows that no answer was confident enough for; meaningful once `best` is there.
    open: Vec<usize>,
    /// Those of them without any usable answer.
    void: Vec<usize>,
    /// Who answered each row of `best`.
    served_by: Vec<Arc<str>>,
    moved: usize,
}

/// An answer to be judged.
pub(super) struct Candidate<'a> {
    pub(super) rule: Option<&'a Rule>,
    pub(super) served_by: &'a Arc<str>,
    pub(super) response: Response,
    /// Its rows that broke a guard, in ascending order; never all of them.
    pub(super) void: &'a [usize],
}

impl Assembly {
    /// Whether some answer is at hand, if not a confident one, or not for every row.
    pub(super) const fn has_best(&self) -> bool {
        self.best.is_some()
    }

    /// Whether an answer, if not a confident one, is at hand for every row.
    pub(super) fn is_complete(&self) -> bool {
        self.best.is_some() && self.void.is_empty()
    }

    /// Whether a default prediction is wanted; from here on only for the rows that it is wanted
    /// for. Rows without any usable answer take it whatever the route prefers for unsure ones,
    /// but not where one unsure row is an error for the whole request.
    pub(super) fn wants_default(&mut self, exhausted: Exhausted) -> bool {
        if self.best.is_none() || exhausted == Exhausted::Default {
            return true;
        }
        let unsure = self.open.len() > self.void.len();
        if self.void.is_empty() || (unsure && exhausted == Exhausted::Error) {
            return false;
        }
        self.open.clone_from(&self.void);
        true
    }

    /// The best answer so far, with who contributed.
    pub(super) fn best(&self) -> Option<(&Response, String)> {
        let mut names: Vec<&str> = Vec::new();
        for name in &self.served_by {
            if !names.contains(&&**name) {
                names.push(name);
            }
        }
        Some((self.best.as_ref()?, names.join(", ")))
    }

    /// Rows in all, and rows that later steps answered.
    pub(super) const fn rows(&self) -> (usize, usize) {
        (self.confidence.len(), self.moved)
    }

    /// The rows that are still asked for, where that is not all of them.
    pub(super) fn open_rows(&self) -> Option<&[usize]> {
        self.is_partial().then_some(&*self.open)
    }

    /// Whether only some rows of the request are still asked for.
    fn is_partial(&self) -> bool {
        self.best.is_some() && self.open.len() < self.confidence.len()
    }

    /// The request's tensors.
    ///
    /// # Errors
    /// The body cannot be read as the protocol's.
    pub(super) fn request(&mut self, ask: &Ask) -> Result<&infer::Request, Error> {
        let parsed = match self.request.take() {
            Some(parsed) => parsed,
            None => {
                let body = ask.body().map(|bytes| &bytes[..]).unwrap_or_default();
                form::read_request(ask.protocol, (body, ask.json_len), ask.context())?
            }
        };
        Ok(self.request.insert(parsed))
    }

    /// The request as far as it is known without its tensors, which in some protocols only a
    /// declaration can type.
    ///
    /// # Errors
    /// The body cannot be read as the protocol's.
    pub(super) fn outline(&self, ask: &Ask) -> Result<Cow<'_, infer::Request>, Error> {
        if let Some(known) = &self.request {
            return Ok(Cow::Borrowed(known));
        }
        let body = ask.body().map(|bytes| &bytes[..]).unwrap_or_default();
        form::outline(ask.protocol, (body, ask.json_len), ask.context()).map(Cow::Owned)
    }

    /// What is to be sent to servers that speak `server`: the part of the request that is still to
    /// be answered, in their protocol; `None` where that is what the client sent.
    pub(super) fn remainder(
        &mut self,
        ask: &Ask,
        server: Protocol,
    ) -> Result<Option<(Payload, Option<usize>)>, Error> {
        let whole = !self.is_partial();
        if whole && (server == ask.protocol || ask.kind != Kind::Infer) {
            return Ok(None);
        }
        let as_text = || form::select_rows(server, ask.body()?, &self.open);
        let Encoded { body, json_len } = if whole {
            form::write_request(server, self.request(ask)?, ask.context())?
        } else if let Some(selected) = (server == ask.protocol).then(as_text).flatten() {
            selected
        } else {
            let open = std::mem::take(&mut self.open);
            let selected = self.request(ask).and_then(|request| infer::select_rows(request, &open));
            self.open = open;
            form::write_request(server, &selected?, ask.context())?
        };
        Ok(Some((Payload::Kept(body), json_len)))
    }

    /// The tensors that are still to be answered.
    pub(super) fn remaining_inputs(&mut self, ask: &Ask) -> Result<Vec<Tensor>, Error> {
        if !self.is_partial() {
            return Ok(self.request(ask)?.inputs.clone());
        }
        let open = self.open.clone();
        Ok(infer::select_rows(self.request(ask)?, &open)?.inputs)
    }

    /// The number of rows that are still to be answered.
    pub(super) fn remaining_rows(&mut self, ask: &Ask) -> Result<usize, Error> {
        if self.is_partial() {
            return Ok(self.open.len());
        }
        match self.request(ask) {
            Ok(request) => Ok(request.rows()),
            Err(error) if !error.is_untranslatable() => Err(error),
            Err(error) => {
                let body = ask.body().ok_or(error)?;
                form::rows(ask.protocol, (body, ask.json_len), ask.context())
            }
        }
    }

    /// The rows that are asked for, where that can be told without reading the whole request.
    pub(super) fn rows_asked(&self, ask: &Ask) -> Option<usize> {
        if self.is_partial() {
            return Some(self.open.len());
        }
        form::rows(ask.protocol, (ask.body()?, ask.json_len), ask.context()).ok()
    }

    /// Takes an answer for what is open.
    ///
    /// # Errors
    /// The answer does not have what the rule looks at, or does not fit the rows it is for.
    pub(super) fn take(&mut self, ask: &Ask, candidate: Candidate<'_>) -> Result<Judged, Error> {
        let confidence = confidences(&candidate, ask.route.batch)?;
        let rule = candidate.rule;
        let accepts = |value: f64| rule.is_none_or(|rule| rule.accepts(value));
        if self.best.is_none() {
            let void = candidate.void;
            let is_open =
                |row: &usize| !accepts(confidence[*row]) || void.binary_search(row).is_ok();
            let open = (0..confidence.len()).filter(is_open).collect();
            return Ok(self.begin(candidate, confidence, open));
        }
        if !ask.route.batch {
            return Ok(self.replace(candidate, confidence, accepts));
        }
        if confidence.len() != self.open.len() {
            let tensor = candidate.response.outputs.first().map(|output| output.name.clone());
            return Err(Error::Rows {
                tensor: tensor.unwrap_or_default(),
                expected: self.open.len(),
                found: confidence.len(),
            });
        }
        self.fill(&candidate, &confidence, &accepts)
    }

    /// The first answer that a rule has looked at.
    fn begin(
        &mut self,
        candidate: Candidate<'_>,
        confidence: Vec<f64>,
        open: Vec<usize>,
    ) -> Judged {
        let judged = if open.is_empty() { Judged::Accepted } else { Judged::Missing };
        self.confidence = confidence;
        self.open = open;
        self.void = candidate.void.to_vec();
        self.served_by = vec![Arc::clone(candidate.served_by); self.confidence.len().max(1)];
        self.best = Some(candidate.response);
        judged
    }

    /// Without a batch there is one row, the whole answer: the surer one is kept.
    fn replace(
        &mut self,
        candidate: Candidate<'_>,
        confidence: Vec<f64>,
        accepts: impl Fn(f64) -> bool,
    ) -> Judged {
        let found = confidence.first().copied().unwrap_or(f64::NEG_INFINITY);
        let accepted = accepts(found);
        if accepted || self.confidence.first().is_none_or(|held| found > *held) {
            self.best = Some(candidate.response);
            self.confidence = confidence;
            self.served_by = vec![Arc::clone(candidate.served_by)];
        }
        if accepted {
            self.moved = 1;
            self.open.clear();
        }
        if accepted { Judged::Accepted } else { Judged::Missing }
    }

    /// Puts the rows that are better than what there was into their places.
    fn fill(
        &mut self,
        candidate: &Candidate<'_>,
        confidence: &[f64],
        accepts: &dyn Fn(f64) -> bool,
    ) -> Result<Judged, Error> {
        let better = |(at, row): (usize, &usize)| {
            let found = confidence[at];
            let was_void = self.void.binary_search(row).is_ok();
            let taken = was_void || accepts(found) || found > self.confidence[*row];
            (taken && candidate.void.binary_search(&at).is_err()).then_some((at, *row))
        };
        let taken: Vec<(usize, usize)> = self.open.iter().enumerate().filter_map(better).collect();
        if let Some(best) = self.best.as_mut().filter(|_| !taken.is_empty()) {
            let (from, to): (Vec<usize>, Vec<usize>) = taken.iter().copied().unzip();
            // Into a copy: a merge that fails half-way must leave nothing behind.
            let mut merged = best.clone();
            let selected = answer::select_rows(&candidate.response, &from)?;
            answer::merge_rows(&mut merged, selected, &to)?;
            *best = merged;
        }
        let accepted: Vec<usize> =
            taken.iter().filter(|(at, _)| accepts(confidence[*at])).map(|(_, row)| *row).collect();
        for (at, row) in taken {
            self.confidence[row] = confidence[at];
            self.served_by[row] = Arc::clone(candidate.served_by);
            self.void.retain(|void| *void != row);
        }
        self.moved += accepted.len();
        self.open.retain(|row| !accepted.contains(row));
        Ok(if self.open.is_empty() { Judged::Completed } else { Judged::Missing })
    }
}

/// How sure an answer is of each of its rows; an answer that no rule looks at is certain.
fn confidences(candidate: &Candidate<'_>, batch: bool) -> Result<Vec<f64>, Error> {
    match candidate.rule {
        Some(rule) if batch => confidence::per_sound_row(&candidate.response, rule, candidate.void),
        Some(rule) => confidence::whole(&candidate.response, rule).map(|value| vec![value]),
        None => {
            let rows = candidate.response.outputs.first().map_or(1, Tensor::rows);
            Ok(vec![f64::INFINITY; if batch { rows } else { 1 }])
        }
    }
}
