//! Counters of one worker: flat arrays, indexed by what a record says.
//!
//! Only the worker that owns them writes, so that an increment is a plain load and store; a
//! reader sums the workers and may see one request half counted, never a wrong total later.

use crate::histogram::Histograms;
use crate::record::{Attempt, End, Reason, Record};
use crate::tally::Tally;
use mainstay_policy::{Class, Guard, SentState};

/// How many ways a request can end.
pub(crate) const ENDS: usize = End::ALL.len();
/// How many reasons a degraded answer can have.
pub(crate) const REASONS: usize = Reason::ALL.len();
/// How many classes an attempt can fall into: success and each failure.
pub(crate) const CLASSES: usize = Class::ALL.len() + 1;
/// How many guards an answer can break.
pub(crate) const GUARDS: usize = Guard::ALL.len();

/// What tokens are counted of.
pub(crate) const TOKENS: [&str; 2] = ["prompt", "answer"];

/// Where the counters of a (model, step) stand. Model 0 is "none recognised", the last step of each
/// model "none answered". Models are only ever added, so a layout is right for all that it knows.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The first cell of each model, and the end of the last one.
    starts: Vec<usize>,
}

/// Everything that one worker counts.
#[derive(Debug)]
pub(crate) struct Counters {
    /// By cell and end.
    pub(crate) requests: Tally,
    /// By cell and reason.
    pub(crate) degraded: Tally,
    /// By model: attempts beyond the first of their request.
    pub(crate) retries: Tally,
    /// By model: requests that reached a server.
    pub(crate) forwarded: Tally,
    /// By model: attempts that may have reached a server.
    pub(crate) sent: Tally,
    /// By model: attempts that were made beside a late one.
    pub(crate) hedges: Tally,
    /// By model: those of them whose answer was the request's.
    pub(crate) hedges_won: Tally,
    /// By model: requests that were refused because they fail wherever they go.
    pub(crate) poisoned: Tally,
    /// By model: answers given again for an idempotency key.
    pub(crate) replayed: Tally,
    /// By model: rows that a later step than the first answered.
    pub(crate) rows_moved: Tally,
    /// By model and guard.
    pub(crate) guards: Tally,
    /// By target and class; class 0 is success.
    pub(crate) attempts: Tally,
    /// By model.
    pub(crate) durations: Histograms,
    /// By target.
    pub(crate) attempt_durations: Histograms,
    /// By model, of prompts and of answers of language models.
    pub(crate) tokens: Tally,
    /// By target: from an attempt to the first content of its stream.
    pub(crate) first_tokens: Histograms,
    /// By target: between two pieces of content.
    pub(crate) token_gaps: Histograms,
}

impl Layout {
    /// Without models.
    pub(crate) fn new() -> Self {
        Self { starts: vec![0, 1] }
    }

    /// Adds a model with so many steps.
    pub(crate) fn add(&mut self, steps: usize) {
        self.starts.push(self.all_cells() + steps + 1);
    }

    /// Models, with the one that stands for "none recognised".
    pub(crate) fn models(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether it knows the model of a record.
    pub(crate) fn knows(&self, model: u16) -> bool {
        model == u16::MAX || usize::from(model) + 1 < self.models()
    }

    /// The place of a record's model.
    pub(crate) fn model(&self, model: u16) -> usize {
        if model != u16::MAX && self.knows(model) { usize::from(model) + 1 } else { 0 }
    }

    /// The cells of a model, one for each step and a last one for "none answered".
    pub(crate) fn cells(&self, model: usize) -> std::ops::Range<usize> {
        self.starts[model]..self.starts[model + 1]
    }

    fn cell(&self, model: usize, step: u8) -> usize {
        let cells = self.cells(model);
        (cells.start + usize::from(step)).min(cells.end - 1)
    }

    fn all_cells(&self) -> usize {
        self.starts[self.models()]
    }
}

impl Counters {
    pub(crate) fn new(layout: &Layout, targets: usize) -> Self {
        let (cells, models) = (layout.all_cells(), layout.models());
        Self {
            requests: Tally::new(cells * ENDS),
            degraded: Tally::new(cells * REASONS),
            retries: Tally::new(models),
            forwarded: Tally::new(models),
            sent: Tally::new(models),
            hedges: Tally::new(models),
            hedges_won: Tally::new(models),
            poisoned: Tally::new(models),
            replayed: Tally::new(models),
            rows_moved: Tally::new(models),
            guards: Tally::new(models * GUARDS),
            attempts: Tally::new(targets * CLASSES),
            durations: Histograms::new(models),
            attempt_durations: Histograms::new(targets),
            tokens: Tally::new(models * TOKENS.len()),
            first_tokens: Histograms::new(targets),
            token_gaps: Histograms::new(targets),
        }
    }

    /// Makes room for so many models and targets; what was counted stays.
    pub(crate) fn grow(&self, layout: &Layout, targets: usize) {
        let (cells, models) = (layout.all_cells(), layout.models());
        self.requests.grow(cells * ENDS);
        self.degraded.grow(cells * REASONS);
        let by_model = [&self.retries, &self.forwarded, &self.sent, &self.hedges, &self.hedges_won];
        let others = [&self.poisoned, &self.replayed, &self.rows_moved];
        by_model.into_iter().chain(others).for_each(|tally| tally.grow(models));
        self.guards.grow(models * GUARDS);
        self.attempts.grow(targets * CLASSES);
        self.durations.grow(models);
        self.attempt_durations.grow(targets);
        self.tokens.grow(models * TOKENS.len());
        self.first_tokens.grow(targets);
        self.token_gaps.grow(targets);
    }

    /// Forgets a target whose number nobody counts under any more.
    pub(crate) fn forget_target(&self, target: usize) {
        self.attempts.clear(target * CLASSES..(target + 1) * CLASSES);
        self.attempt_durations.clear(target);
        self.first_tokens.clear(target);
        self.token_gaps.clear(target);
    }

    /// Counts a finished request.
    pub(crate) fn count(&self, layout: &Layout, record: &Record) {
        let model = layout.model(record.model);
        let cell = layout.cell(model, record.step);
        self.requests.add(cell * ENDS + record.end as usize, 1);
        self.durations.observe(model, record.took);
        if record.degraded {
            self.degraded.add(cell * REASONS + record.reason as usize, 1);
        }
        if record.rows_moved > 0 {
            self.rows_moved.add(model, u64::from(record.rows_moved));
        }
        if record.reason == Reason::Poison {
            self.poisoned.add(model, 1);
        }
        if record.replayed {
            self.replayed.add(model, 1);
        }
        self.count_attempts(model, record.attempts());
        self.count_guard(model, record.guard);
    }

    fn count_guard(&self, model: usize, guard: Option<Guard>) {
        if let Some(guard) = guard {
            self.guards.add(model * GUARDS + guard as usize - 1, 1);
        }
    }

    fn count_attempts(&self, model: usize, attempts: &[Attempt]) {
        let mut sent = 0;
        for attempt in attempts {
            sent += u64::from(attempt.sent != SentState::NotSent);
            let target = attempt.target as usize;
            let class = attempt.class.map_or(0, |class| class as usize);
            self.count_guard(model, attempt.guard);
            self.attempts.add(target * CLASSES + class, 1);
            self.attempt_durations.observe(target, attempt.took());
        }
        if attempts.len() > 1 {
            let hedges = attempts.iter().filter(|attempt| attempt.is_hedge());
            let won = hedges.clone().filter(|attempt| attempt.class.is_none()).count() as u64;
            let hedges = hedges.count() as u64;
            self.hedges.add(model, hedges);
            self.hedges_won.add(model, won);
            self.retries.add(model, (attempts.len() as u64 - 1).saturating_sub(hedges));
        }
        if sent > 0 {
            self.forwarded.add(model, 1);
            self.sent.add(model, sent);
        }
    }
}
