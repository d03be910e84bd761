//! The status as tables: what clients get first, what it comes from below.

use std::fmt::Write;

use comfy_table::{Cell, Color, Table};
use mainstay_admin::status::{
    BreakerState, BreakerStatus, EndpointStatus, LocalityStatus, ModelStatus, PoolStatus,
    RehearsalStatus, SourceStatus, StepStatus, TargetStatus,
};
use mainstay_admin::{OrderStatus, Status};
use mainstay_policy::Verdict;

use crate::commands::look::{Look, age, align_right, cell, grouped, table};

mod groups;
mod processes;
mod tcp;

/// The whole status.
pub(super) fn render(status: &Status, look: Look) -> String {
    let mut page = title(status, look);
    if !status.models.is_empty() || status.tcp.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(page, "\n\n{}", models(&status.models, look).trim_fmt());
    }
    page.push_str(&tcp::section(status, look));
    for model in &status.models {
        page.push_str(&notes(model));
    }
    if status.pools.iter().any(|pool| !pool.endpoints.is_empty()) {
        let _ = write!(page, "\n\n{}", pools(status, look).trim_fmt());
        for pool in &status.pools {
            page.push_str(&nearness(pool));
            page.push_str(&tcp::writer(pool));
        }
    }
    if status.pools.iter().any(|pool| !pool.sources.is_empty()) {
        let _ = write!(page, "\n\n{}", sources(status, look).trim_fmt());
    }
    if !status.orders.is_empty() {
        let _ = write!(page, "\n\n{}", orders(&status.orders, look).trim_fmt());
    }
    page.push_str(&processes::section(status, look));
    for pool in &status.pools {
        page.push_str(&groups::notes(pool));
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

/// How near the requests of a pool stay, where its endpoints are not all equally so.
fn nearness(pool: &PoolStatus) -> String {
    let line = |locality: &LocalityStatus| {
        let shares = locality.shares.iter().map(|share| {
            let sites = share.sites.join(", ");
            let sites = if sites.is_empty() { sites } else { format!(" ({sites})") };
            format!("{}{sites} {:.0} %", share.distance, share.share * 100.0)
        });
        let shares = shares.collect::<Vec<_>>().join(", ");
        format!("\n{}/{}: {shares}: {}", pool.name, locality.model, locality.why)
    };
    pool.locality.iter().map(line).collect()
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
    if let Some(sequences) = &model.sequences {
        let (known, lost) = (grouped(sequences.known as u64), grouped(sequences.lost));
        notes.push(format!("{known} sequences, {lost} lost with their server"));
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
    let why = match rehearsed(step) {
        Some(rehearsed) => format!("{}; {rehearsed}", step.why),
        None => step.why.clone(),
    };
    [Cell::new(format!("{}. {name}", at + 1)), cell(word, Some(colour), look), Cell::new(why)]
}

/// What rehearsals have shown of a step: of several endpoints, the one that is worst off.
fn rehearsed(step: &StepStatus) -> Option<String> {
    let never = f64::INFINITY;
    let worst = step.rehearsals.iter().max_by(|one, other| {
        let rank = |it: &RehearsalStatus| (it.alert, it.age_seconds.unwrap_or(never));
        let (one, other) = (rank(one), rank(other));
        one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
    })?;
    let whose = worst.endpoint.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
    let Some(seconds) = worst.age_seconds.filter(|_| !worst.alert) else {
        let why = if worst.why.is_empty() { String::new() } else { format!(": {}", worst.why) };
        let word = if worst.alert { "REHEARSAL" } else { "rehearsal" };
        return Some(format!("{word} {whose}{}{why}", worst.state));
    };
    let agrees = worst.agreement.map(|share| format!(", {:.0}% agree", share * 100.0));
    Some(format!(
        "rehearsed {whose}{} ago, {} answered{}",
        age(seconds),
        part(worst.answered, worst.tried),
        agrees.unwrap_or_default()
    ))
}

/// Columns that only some gateways need.
#[derive(Clone, Copy)]
struct Extra {
    /// Some endpoint says where it is.
    zones: bool,
    /// Some endpoint is not simply in use.
    standings: bool,
}

impl Extra {
    fn of(status: &Status) -> Self {
        let endpoints = || status.pools.iter().flat_map(|pool| &pool.endpoints);
        Self {
            zones: endpoints().any(|endpoint| place(endpoint).is_some()),
            standings: endpoints().any(|endpoint| standing(endpoint).0 != ACTIVE),
        }
    }

    fn cells(self, endpoint: &EndpointStatus, first: bool, look: Look) -> Vec<Cell> {
        let mut cells = Vec::new();
        if self.zones {
            let place = place(endpoint).filter(|_| first);
            cells.push(Cell::new(place.unwrap_or_default()));
        }
        if self.standings {
            let (word, colour) = if first { standing(endpoint) } else { (String::new(), None) };
            cells.push(cell(&word, colour, look));
        }
        cells
    }
}

fn pools(status: &Status, look: Look) -> Table {
    let extra = Extra::of(status);
    let mut names = vec!["POOL", "ENDPOINT"];
    names.extend(extra.zones.then_some("ZONE"));
    names.extend(extra.standings.then_some("USE"));
    let before = names.len();
    names.extend(["MODEL", "VERDICT", "FOR", "BREAKER", "IN FLIGHT", "LATENCY", "WHY"]);
    let mut table = table(&names, look);
    for column in [2, 4, 5] {
        align_right(&mut table, before + column);
    }
    for pool in &status.pools {
        let mut name = pool.name.as_str();
        for endpoint in &pool.endpoints {
            for row in endpoint_rows(std::mem::take(&mut name), endpoint, extra, look) {
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
    extra: Extra,
    look: Look,
) -> impl Iterator<Item = Vec<Cell>> + 'a {
    endpoint.models.iter().enumerate().map(move |(at, target)| {
        let named = if at == 0 { named(endpoint) } else { String::new() };
        let pool = if at == 0 { pool } else { "" };
        let mut row = vec![Cell::new(pool), Cell::new(named)];
        row.extend(extra.cells(endpoint, at == 0, look));
        row.extend(target_cells(target, look));
        row
    })
}

/// What most endpoints are for.
const ACTIVE: &str = "active";

/// Its zone, or its region where no zone is said.
fn place(endpoint: &EndpointStatus) -> Option<&str> {
    endpoint.zone.as_deref().or(endpoint.region.as_deref())
}

/// What it is for, with its share where that is not whole.
fn standing(endpoint: &EndpointStatus) -> (String, Option<Color>) {
    let (word, colour) = match endpoint.standing.as_str() {
        "" | ACTIVE => (ACTIVE, None),
        "spare" => ("spare", Some(Color::Cyan)),
        "away" if endpoint.order.as_ref().is_some_and(|order| order.order == "maintenance") => {
            ("maintenance", Some(Color::Magenta))
        }
        "drained" => ("drained", Some(Color::Magenta)),
        other => (other, Some(Color::Yellow)),
    };
    match endpoint.factor {
        factor if factor > 0.0 && (factor - 1.0).abs() > 0.001 => {
            (format!("{word} x{factor:.2}"), colour.or(Some(Color::Yellow)))
        }
        _ => (word.to_owned(), colour),
    }
}

/// What operators said, with their reasons.
fn orders(orders: &[OrderStatus], look: Look) -> Table {
    let mut table = table(&["ORDER", "ON", "FOR", "STILL", "REASON"], look);
    for order in orders {
        let still = match order.until_seconds {
            _ if order.orphaned => "not configured now".to_owned(),
            Some(left) => age(left),
            None => "until taken back".to_owned(),
        };
        table.add_row(vec![
            cell(&order.order, Some(Color::Magenta), look),
            Cell::new(&order.scope),
            Cell::new(age(order.since_seconds)),
            Cell::new(still),
            Cell::new(&order.reason),
        ]);
    }
    table
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

/// A count and its share of the whole.
fn part(count: u64, whole: u64) -> String {
    if count == 0 || whole == 0 {
        return grouped(count);
    }
    format!("{} ({:.1}%)", grouped(count), 100.0 * count as f64 / whole as f64)
}

#[cfg(test)]
mod tests;
