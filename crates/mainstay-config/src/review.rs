//! From what is written to what is valid, collecting every fault on the way.
//!
//! Each section is reviewed to its end whatever was found before; a faulty value is replaced by
//! its default, so that one fault never brings another. Only at the end, when there is no fault,
//! does the configuration leave this module.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::Ratio;

use crate::code::Code;
use crate::config::{Config, Network};
use crate::fault::{Errors, Fault};
use crate::load::Loaded;
use crate::raw::Opt;
use crate::reader::shorten;
use crate::source::{File, Span};
use crate::spanned::Spanned;
use crate::value::{Length, Share, Size};

pub(crate) mod address;
mod balance;
mod breaker;
mod chain;
mod check;
mod concurrency;
mod cors;
mod crossing;
pub(crate) mod discover;
mod fallback;
mod golden;
mod groups;
mod guards;
mod keys;
mod language;
mod model;
mod outliers;
mod paths;
mod pool;
mod prediction;
mod process;
mod repetition;
mod sections;
mod signals;
mod tcp;
mod tls;

/// The collector of faults.
pub(crate) struct Review {
    files: Vec<Arc<File>>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// A file could not be read, so that what seems missing may be in it.
    partial: bool,
    /// Where each local address is written that a process is to listen on.
    processes: HashMap<(String, u16), Span>,
    /// The names of all pools, those that could not be read among them.
    pool_names: Vec<String>,
}

/// A remedied mistake: its message and what to do.
pub(crate) type Refusal = (Code, String, String);

/// The valid configuration, or every fault.
pub(crate) fn review(loaded: Loaded) -> Result<Config, Errors> {
    let Loaded { raw, pool_names, files, faults, version, paths } = loaded;
    let partial = faults.iter().any(Fault::hides_a_file);
    let mut review = Review {
        files,
        faults,
        warnings: Vec::new(),
        partial,
        processes: HashMap::new(),
        pool_names,
    };
    let Some(raw) = raw else { return Err(Errors::new(review.faults)) };
    let mut config = sections::config(&mut review, &raw, (version, paths));
    if !review.faults.is_empty() {
        return Err(Errors::new(review.faults));
    }
    config.warnings = review.warnings;
    Ok(config)
}

impl Review {
    fn fault(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let fault = self.place(Fault::new(code, message, help), span);
        self.faults.push(fault);
    }

    fn refuse(&mut self, span: Span, (code, message, help): Refusal) {
        self.fault(code, span, message, help);
    }

    fn warn(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let fault = self.place(Fault::new(code, message, help), span).into_warning();
        self.warnings.push(fault);
    }

    fn place(&self, fault: Fault, span: Span) -> Fault {
        match self.files.get(span.file as usize) {
            Some(file) => fault.at(file, span.start as usize, span.end as usize),
            None => fault,
        }
    }

    /// The line of a place, from 1.
    fn line(&self, span: Span) -> usize {
        let file = self.files.get(span.file as usize);
        file.map_or(0, |file| file.position(span.start as usize).0)
    }

    /// A path as the file means it: relative to the folder of the file.
    fn path(&self, text: &Spanned<String>) -> PathBuf {
        let folder = self.files.get(text.span.file as usize).map(|file| file.folder.clone());
        folder.unwrap_or_default().join(&text.value)
    }

    /// A number within bounds, or its default.
    fn number<T, U>(&mut self, written: &Opt<T>, bounds: RangeInclusive<T>, default: U) -> U
    where
        T: Copy + PartialOrd + fmt::Display + Into<U>,
    {
        let Some(number) = written else { return default };
        if bounds.contains(&number.value) {
            return number.value.into();
        }
        let message = format!(
            "expected a number from {} to {}, found {}",
            bounds.start(),
            bounds.end(),
            number.value
        );
        self.fault(Code::BadValue, number.span, message, "");
        default
    }

    /// A count from 1 to `most`, or its default.
    fn count(&mut self, written: &Opt<u32>, most: u32, default: usize) -> usize {
        let default = u32::try_from(default).unwrap_or(most);
        usize::try_from(self.number(written, 1..=most, default)).unwrap_or(usize::MAX)
    }

    /// A duration above zero, or its default.
    fn time(&mut self, written: &Opt<Length>, default: Duration) -> Duration {
        match written {
            Some(length) if length.value.0.is_zero() => {
                let help = "write a longer time, or leave the key out for its default";
                self.fault(Code::BadValue, length.span, "this time must be above zero", help);
                default
            }
            Some(length) => length.value.0,
            None => default,
        }
    }

    /// A size above zero, or its default.
    fn size(&mut self, written: &Opt<Size>, default: usize) -> usize {
        match written {
            Some(size) if size.value.0 == 0 => {
                let help = "write a larger size, or leave the key out for its default";
                self.fault(Code::BadValue, size.span, "this size must be above zero", help);
                default
            }
            Some(size) => size.value.0,
            None => default,
        }
    }
}

/// The networks of a list; `otherwise` says what an empty one would mean.
fn networks(
    review: &mut Review,
    list: &Spanned<Vec<Spanned<String>>>,
    otherwise: &str,
) -> Vec<Network> {
    if list.is_empty() {
        let help = "name addresses or networks, or leave the key out";
        review.fault(Code::Missing, list.span, otherwise, help);
    }
    let mut found = Vec::new();
    for written in &list.value {
        match Network::parse(written) {
            Some(network) => found.push(network),
            None => {
                let message = format!("{:?} is no address or network", shorten(written));
                let help = "write for example 10.0.0.7, 10.0.0.0/8 or fd00::/8";
                review.fault(Code::BadValue, written.span, message, help);
            }
        }
    }
    found
}

/// A share, or its default.
fn share(written: &Opt<Share>, default: Ratio) -> Ratio {
    written.as_ref().map_or(default, |share| share.value.0)
}

/// Where the first of some optional keys is written; `otherwise` when none is.
fn first_place(written: &[Option<Span>], otherwise: Span) -> Span {
    written.iter().flatten().next().copied().unwrap_or(otherwise)
}

/// Whether a key, or part of it, may stand in the file and was left out for a fault.
fn may_be_lost<P, T>(parent: &Spanned<P>, written: &Opt<T>) -> bool {
    written.as_ref().map_or(parent.damaged, |value| value.damaged)
}

/// The place of an optional key.
fn span_of<T>(written: &Opt<T>) -> Option<Span> {
    written.as_ref().map(|value| value.span)
}

/// Whether a text is fit for a name that trails, headers and metrics show.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-:[]".contains(c))
}
