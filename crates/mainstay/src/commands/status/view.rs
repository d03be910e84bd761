//! The status as tables: what clients get first, what it comes from below.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use console::Term;
use mainstay_admin::Status;
use mainstay_admin::status::{
    BreakerState, BreakerStatus, EndpointStatus, ModelStatus, SourceStatus, StepStatus,
    TargetStatus,
};
use mainstay_policy::Verdict;

/// How the tables look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    colours: bool,
    /// Columns of the terminal; `None` where lines may be as long as they are.
    width: Option<u16>,
}

impl Look {
    /// What standard output can show.
    pub(super) fn of_stdout() -> Self {
        let width = Term::stdout().size_checked().map(|(_, columns)| columns);
        Self { colours: console::colors_enabled(), width }
    }
}

/// The whole status.
pub(super) fn render(status: &Status, look: Look) -> String {
    let models = models(&status.models, look).trim_fmt();
    let mut page = format!("{}\n\n{models}", title(status, look));
    for model in &status.models {
        page.push_str(&notes(model));
    }
    if status.pools.iter().any(|pool| !pool.endpoints.is_empty()) {
        // Writing to a string does not fail.
        let _ = write!(page, "\n\n{}", pools(status, look).trim_fmt());
    }
    if status.pools.iter().any(|pool| !pool.sources.is_empty()) {
        let _ = write!(page, "\n\n{}", sources(status, look).trim_fmt());
    }
    page
}

fn title(status: &Status, look: Look) -> String {
    let (word, style) = if status.ready {
        ("ready", console::Style::new().green().bold())
    } else {
        ("not ready", console::Style::new().red().bold())
    };
    format!(
        "{}  {}  up {}  configuration {}  mainstay {}",
        status.node,
        style.force_styling(look.colours).apply_to(word),
        age(status.uptime_seconds),
        status.config,
        status.version
    )
}

/// What only some models have: hedges, poison, replays.
fn notes(model: &ModelStatus) -> String {
    let mut notes = Vec::new();
    if model.hedges > 0 {
        let (hedges, won) = (grouped(model.hedges), grouped(model.hedges_won));
        notes.push(format!("{hedges} late attempts hedged, {won} of the hedges answered first"));
    }
    if model.poisoned > 0 {
        notes.push(format!("{} poison requests refused", grouped(model.poisoned)));
    }
    if model.replayed > 0 {
        notes.push(format!("{} answers replayed", grouped(model.replayed)));
    }
    if notes.is_empty() { String::new() } else { format!("\n{}: {}", model.name, notes.join("; ")) }
}

fn models(models: &[ModelStatus], look: Look) -> Table {
    let names = ["MODEL", "STEP", "", "WHY", "REQUESTS", "DEGRADED", "FAILED", "AMPLIFICATION"];
    let mut table = table(&names, look);
    for column in 4..8 {
        align_right(&mut table, column);
    }
    for model in models {
        for (at, step) in model.steps.iter().enumerate() {
            let mut row = model_cells(model, at == 0, look);
            row.splice(1..1, step_cells(at, step, look));
            table.add_row(row);
        }
    }
    table
}

/// The cells of the model itself stand beside its first step.
fn model_cells(model: &ModelStatus, first: bool, look: Look) -> Vec<Cell> {
    if !first {
        return vec![Cell::new(""); 5];
    }
    let name = if model.available { None } else { Some(Color::Red) };
    let degraded = (model.degraded > 0).then_some(Color::Yellow);
    let failed = (model.failed > 0).then_some(Color::Red);
    vec![
        cell(&model.name, name, look),
        Cell::new(grouped(model.requests)),
        cell(&part(model.degraded, model.requests), degraded, look),
        cell(&part(model.failed, model.requests), failed, look),
        Cell::new(format!("{:.2}", model.amplification)),
    ]
}

fn step_cells(at: usize, step: &StepStatus, look: Look) -> [Cell; 3] {
    let name = match step.kind.as_str() {
        kind if kind == step.name => step.name.clone(),
        kind => format!("{} ({kind})", step.name),
    };
    let (word, colour) =
        if step.available { ("available", Color::Green) } else { ("unavailable", Color::Red) };
    [Cell::new(format!("{}. {name}", at + 1)), cell(word, Some(colour), look), Cell::new(&step.why)]
}

fn pools(status: &Status, look: Look) -> Table {
    let names =
        ["POOL", "ENDPOINT", "MODEL", "VERDICT", "FOR", "BREAKER", "IN FLIGHT", "LATENCY", "WHY"];
    let mut table = table(&names, look);
    for column in [4, 6, 7] {
        align_right(&mut table, column);
    }
    for pool in &status.pools {
        let mut name = pool.name.as_str();
        for endpoint in &pool.endpoints {
            for row in endpoint_rows(std::mem::take(&mut name), endpoint, look) {
                table.add_row(row);
            }
        }
    }
    table
}

/// Where endpoints come from beside the configuration.
fn sources(status: &Status, look: Look) -> Table {
    let mut table = table(&["POOL", "SOURCE", "ENDPOINTS", "LEAVING", "LAST ANSWER", "WHY"], look);
    for column in [2, 3] {
        align_right(&mut table, column);
    }
    for pool in &status.pools {
        let mut name = pool.name.as_str();
        for source in &pool.sources {
            table.add_row([
                Cell::new(std::mem::take(&mut name)),
                Cell::new(&source.name),
                Cell::new(source.endpoints),
                Cell::new(source.leaving),
                Cell::new(last_answer(source)),
                cell(source.trouble.as_deref().unwrap_or_default(), Some(Color::Red), look),
            ]);
        }
    }
    table
}

fn last_answer(source: &SourceStatus) -> String {
    match source.since_success_seconds {
        Some(seconds) => format!("{} ago", age(seconds)),
        None if source.restored => "before the start".to_owned(),
        None => String::new(),
    }
}

/// An endpoint's name, with the kind of the source that named it.
fn named(endpoint: &EndpointStatus) -> String {
    match endpoint.source.split_whitespace().next() {
        Some(kind) => format!("{} ({kind})", endpoint.name),
        None => endpoint.name.clone(),
    }
}

fn endpoint_rows<'a>(
    pool: &'a str,
    endpoint: &'a EndpointStatus,
    look: Look,
) -> impl Iterator<Item = Vec<Cell>> + 'a {
    endpoint.models.iter().enumerate().map(move |(at, target)| {
        let named = if at == 0 { named(endpoint) } else { String::new() };
        let pool = if at == 0 { pool } else { "" };
        let mut row = vec![Cell::new(pool), Cell::new(named)];
        row.extend(target_cells(target, look));
        row
    })
}

fn target_cells(target: &TargetStatus, look: Look) -> [Cell; 7] {
    let latency = match target.latency_ms {
        latency if latency > 0.0 => format!("{latency:.1} ms"),
        _ => String::new(),
    };
    [
        Cell::new(&target.model),
        verdict(target, look),
        Cell::new(age(target.since_seconds)),
        breaker(&target.breaker, look),
        Cell::new(under_way(target)),
        Cell::new(latency),
        Cell::new(why(target)),
    ]
}

/// How much is under way, and out of how much where that comes near its limit.
fn under_way(target: &TargetStatus) -> String {
    match target.limit {
        Some(limit) if target.in_flight >= limit / 2 => format!("{} of {limit}", target.in_flight),
        _ => target.in_flight.to_string(),
    }
}

/// Why it has the share that it has, before what its verdict rests on.
fn why(target: &TargetStatus) -> String {
    match &*target.rotation.why {
        "" => target.evidence.clone(),
        why => format!("{why}; {}", target.evidence),
    }
}

fn verdict(target: &TargetStatus, look: Look) -> Cell {
    let colour = match target.verdict {
        _ if target.rotation.phase == "ejected" => Color::Red,
        _ if target.rotation.share < 1.0 => Color::Yellow,
        Verdict::Ready if target.deep => Color::Green,
        Verdict::Stalled | Verdict::Dead | Verdict::Wrong => Color::Red,
        Verdict::Ready
        | Verdict::Unknown
        | Verdict::Busy
        | Verdict::Slow
        | Verdict::Loading
        | Verdict::Draining => Color::Yellow,
    };
    let word = target.verdict.as_str();
    let mut text = word.to_owned();
    if !target.deep {
        text.push_str(", dependency sick");
    }
    match &*target.rotation.phase {
        "serving" => {}
        "ramp" => text.push_str(&format!(", ramp {:.0}%", target.rotation.share * 100.0)),
        phase => text.push_str(&format!(", {phase}")),
    }
    cell(&text, Some(colour), look)
}

fn breaker(breaker: &BreakerStatus, look: Look) -> Cell {
    if let Some(forced) = &breaker.forced {
        let (to, left) = (forced.to.as_str(), age(forced.until_seconds));
        let text = format!("forced {to} for {left}: {}", forced.reason);
        return cell(&text, Some(Color::Magenta), look);
    }
    let colour = match breaker.state {
        BreakerState::Closed => None,
        BreakerState::Open => Some(Color::Red),
        BreakerState::HalfOpen => Some(Color::Yellow),
    };
    let state = breaker.state.as_str();
    let text = match (breaker.state, breaker.until_seconds) {
        (BreakerState::Open, Some(left)) => format!("{state} for {left:.1}s"),
        _ if breaker.failures > 0 => {
            format!("{state}, {} of {} failed", breaker.failures, breaker.calls)
        }
        _ => state.to_owned(),
    };
    cell(&text, colour, look)
}

fn table(names: &[&str], look: Look) -> Table {
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

fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn cell(text: &str, colour: Option<Color>, look: Look) -> Cell {
    match colour.filter(|_| look.colours) {
        Some(colour) => Cell::new(text).fg(colour),
        None => Cell::new(text),
    }
}

/// The two largest units: `2h 5m`, `12s`.
fn age(seconds: f64) -> String {
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
fn grouped(number: u64) -> String {
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

/// A count and its share of the whole.
fn part(count: u64, whole: u64) -> String {
    if count == 0 || whole == 0 {
        return grouped(count);
    }
    format!("{} ({:.1}%)", grouped(count), 100.0 * count as f64 / whole as f64)
}

#[cfg(test)]
mod tests;
