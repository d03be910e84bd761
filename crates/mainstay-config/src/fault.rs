//! Faults of a configuration, shown together: code, place, offending line, remedy.

use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, Severity, SourceCode,
    SourceSpan, SpanContents,
};

use crate::code::Code;
use crate::source::File;

/// One thing that is wrong, or (as a warning) probably not meant.
#[derive(Clone, Debug)]
pub struct Fault {
    code: Code,
    message: String,
    help: Option<String>,
    place: Option<Place>,
    warning: bool,
}

/// Where a fault is.
#[derive(Clone, Debug)]
struct Place {
    file: Arc<File>,
    start: usize,
    len: usize,
}

/// Shows miette the one line at fault; it would show only the marked part of it, or the lines
/// around it as well.
impl SourceCode for Place {
    fn read_span<'a>(
        &'a self,
        _: &SourceSpan,
        _: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (number, column) = self.file.position(self.start);
        let line = self.file.line_at(self.start);
        let start = self.file.line_start(self.start);
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.name.clone(),
            line.as_bytes(),
            (start, line.len()).into(),
            number - 1,
            column - 1,
            1,
        )))
    }
}

impl Fault {
    pub(crate) fn new(code: Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        Self { code, message: message.into(), help, place: None, warning: false }
    }

    /// Points at the bytes from `start` to `end`; only the first line of them is marked.
    pub(crate) fn at(mut self, file: &Arc<File>, start: usize, end: usize) -> Self {
        let start = file.boundary(start);
        let marked = file.shown.get(start..end.max(start)).unwrap_or_default();
        let len = marked.lines().next().unwrap_or_default().len();
        self.place = Some(Place { file: Arc::clone(file), start, len });
        self
    }

    pub(crate) const fn into_warning(mut self) -> Self {
        self.warning = true;
        self
    }

    /// The kind of the fault.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// For programs: severity, code, file, line, column, message, help.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let position = self.position();
        serde_json::json!({
            "severity": if self.is_warning() { "warning" } else { "error" },
            "code": self.code().as_str(),
            "file": self.file(),
            "line": position.map(|(line, _)| line),
            "column": position.map(|(_, column)| column),
            "message": self.message(),
            "help": self.help(),
        })
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Whether the configuration can be used nevertheless.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        self.warning
    }

    /// The file's name as it was given.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.file.name.as_str())
    }

    /// Line and column, both from 1, the column in characters.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        self.place.as_ref().map(|place| place.file.position(place.start))
    }

    /// The offending line, with secrets masked.
    #[must_use]
    pub fn line(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.file.line_at(place.start))
    }

    /// Whether a file's content is unknown because of it.
    pub(crate) const fn hides_a_file(&self) -> bool {
        matches!(self.code, Code::Unreadable | Code::Syntax | Code::Include)
    }

    /// Sorts faults as a reader goes through the files.
    pub(crate) fn order(&self) -> (bool, Option<&str>, usize) {
        let start = self.place.as_ref().map_or(0, |place| place.start);
        (self.place.is_some(), self.file(), start)
    }

    /// `file:line:column: `, or nothing.
    fn prefix(&self) -> String {
        match (self.file(), self.position()) {
            (Some(file), Some((line, column))) => format!("{file}:{line}:{column}: "),
            _ => String::new(),
        }
    }

    const fn severity_word(&self) -> &'static str {
        if self.warning { "warning" } else { "error" }
    }

    /// The offending line with a caret below its place.
    fn excerpt(&self) -> Option<String> {
        let (number, column) = self.position()?;
        let line = self.line()?;
        let margin = " ".repeat(number.to_string().len());
        let indent: String =
            line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let width = self.place.as_ref().map_or(1, |place| {
            place.file.shown[place.start..place.start + place.len].chars().count().max(1)
        });
        let carets = "^".repeat(width);
        Some(format!("  {number} | {line}\n  {margin} | {indent}{carets}\n"))
    }
}

/// One line: `file:line:column: error[MS0103]: message`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, severity) = (self.prefix(), self.severity_word());
        write!(f, "{prefix}{severity}[{}]: {}", self.code, self.message)
    }
}

/// A fault as miette wants it: the message alone, for the place is drawn beside it.
#[derive(Debug)]
struct Drawn<'a>(&'a Fault);

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl Diagnostic for Drawn<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(if self.0.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.place.as_ref().map(|place| place as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.0.place.as_ref()?;
        let label = LabeledSpan::new(None, place.start, place.len);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Every fault of a configuration, in the order of its files and lines.
///
/// `Display` is the plain form: for each fault its place, message, offending line and remedy.
#[derive(Clone, Debug)]
pub struct Errors(Vec<Fault>);

impl Errors {
    /// Sorts the faults as a reader meets them; there must be at least one.
    pub(crate) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| a.order().cmp(&b.order()));
        Self(faults)
    }

    /// The faults, in the order of the files and their lines.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(render_plain(&self.0).trim_end())
    }
}

impl std::error::Error for Errors {}

/// Faults as plain text: one paragraph each, greppable by `file:line:column`.
#[must_use]
pub fn render_plain(faults: &[Fault]) -> String {
    let paragraphs = faults.iter().map(|fault| {
        let excerpt = fault.excerpt().unwrap_or_default();
        let help = fault.help().map(|help| format!("  help: {help}\n")).unwrap_or_default();
        format!("{fault}\n{excerpt}{help}")
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}

/// Faults as a terminal of so many columns shows them: the line in a frame, its place marked.
#[must_use]
pub fn render_graphical(faults: &[Fault], width: usize, colours: bool) -> String {
    let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = miette::GraphicalReportHandler::new()
        .with_theme(theme)
        .with_context_lines(0)
        .with_width(width.clamp(40, 160));
    let mut out = String::new();
    for fault in faults {
        if handler.render_report(&mut out, &Drawn(fault)).is_err() {
            out.push_str(&render_plain(std::slice::from_ref(fault)));
        }
        out.push('\n');
    }
    out
}
