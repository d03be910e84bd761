//! How tables look: on a terminal with colours and within its width, into a pipe without.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use console::Term;

/// How the tables look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) colours: bool,
    /// Columns of the terminal; `None` where lines may be as long as they are.
    pub(super) width: Option<u16>,
}

impl Look {
    /// What standard output can show.
    pub(super) fn of_stdout() -> Self {
        let width = Term::stdout().size_checked().map(|(_, columns)| columns);
        Self { colours: console::colors_enabled(), width }
    }
}

/// A table with these columns.
pub(super) fn table(names: &[&str], look: Look) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    match look.width {
        Some(width) => table.set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if look.colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(names.iter().map(|&name| match look.colours {
        true => Cell::new(name).add_attribute(Attribute::Bold),
        false => Cell::new(name),
    }));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Figures stand under each other.
pub(super) fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A cell, coloured where colours are shown.
pub(super) fn cell(text: &str, colour: Option<Color>, look: Look) -> Cell {
    match colour.filter(|_| look.colours) {
        Some(colour) => Cell::new(text).fg(colour),
        None => Cell::new(text),
    }
}

/// The two largest units: `2h 5m`, `12s`.
pub(super) fn age(seconds: f64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds.max(0.0) as u64;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        if left >= unit || (unit == 1 && parts.is_empty()) {
            parts.push(format!("{}{name}", left / unit));
        } else if !parts.is_empty() {
            break;
        }
        left %= unit;
    }
    parts.truncate(2);
    parts.join(" ")
}

/// A number with a space between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
