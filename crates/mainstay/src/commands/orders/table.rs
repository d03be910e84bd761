//! What came of an order, and forecasts, as they are read by people.

use std::fmt::Write;

use comfy_table::{Cell, Color, Table};
use mainstay_admin::{Carried, Met};
use mainstay_control::forecast::{EndpointLoad, Forecast, LEAST, PoolLoad};

use crate::commands::look::{Look, align_right, cell, table};

/// Endpoints that are named one by one; of more, only how many.
const NAMED: usize = 8;

/// What was done, or would be, with what comes of it.
pub(super) fn carried(carried: &Carried, look: Look) -> String {
    let mut page = String::new();
    for met in carried.endpoints.iter().take(NAMED) {
        let _ = writeln!(page, "{}", one(met, carried.done));
    }
    if carried.endpoints.len() > NAMED {
        let _ = writeln!(page, "and {} more endpoints", carried.endpoints.len() - NAMED);
    }
    for why in &carried.refused {
        let word = if carried.done { "done by force though" } else { "refused without --force:" };
        let _ = writeln!(page, "{word} {why}");
    }
    page.push('\n');
    page.push_str(&forecast(&carried.forecast, look));
    page.trim_end().to_owned()
}

fn one(met: &Met, done: bool) -> String {
    let Met { pool, endpoint, from, to, in_flight } = met;
    let word = if done { "is" } else { "would be" };
    let flight = match in_flight {
        0 => String::new(),
        1 => ", 1 request in flight".to_owned(),
        more => format!(", {more} requests in flight"),
    };
    format!("{pool}/{endpoint} {word} {to} (was {from}{flight})")
}

/// A forecast: a table of loads, then what they mean.
pub(super) fn forecast(forecast: &Forecast, look: Look) -> String {
    let mut page = format!("{}, in requests a second:\n", forecast.change);
    if forecast.pools.iter().any(|pool| !pool.endpoints.is_empty()) {
        let _ = write!(page, "\n{}\n", loads(&forecast.pools, look).trim_fmt());
    }
    for line in &forecast.summary {
        let _ = write!(page, "\n- {line}");
    }
    page
}

fn loads(pools: &[PoolLoad], look: Look) -> Table {
    let waits = pools.iter().flat_map(|pool| &pool.endpoints).any(changes_later);
    let mut names = vec!["POOL", "ENDPOINT", "ZONE", "NOW", "THEN"];
    if waits {
        names.insert(4, "AT FIRST");
    }
    names.extend(["CAPACITY", "BECOMES"]);
    let mut table = table(&names, look);
    for column in 3..names.len() - 1 {
        align_right(&mut table, column);
    }
    for pool in pools {
        let mut name = pool.name.as_str();
        for endpoint in &pool.endpoints {
            table.add_row(row(std::mem::take(&mut name), endpoint, waits, look));
        }
    }
    table
}

fn row(pool: &str, endpoint: &EndpointLoad, waits: bool, look: Look) -> Vec<Cell> {
    let full = endpoint.capacity.is_some_and(|capacity| endpoint.then >= capacity * 0.9);
    let then = (full && endpoint.then >= LEAST).then_some(Color::Yellow);
    let mut row = vec![
        Cell::new(pool),
        Cell::new(&endpoint.name),
        Cell::new(endpoint.zone.as_deref().unwrap_or_default()),
        Cell::new(rate(endpoint.now)),
        cell(&rate(endpoint.then), then, look),
        Cell::new(capacity(endpoint)),
        becomes(endpoint, look),
    ];
    if waits {
        row.insert(4, Cell::new(rate(endpoint.meanwhile)));
    }
    row
}

/// What it can serve, and whether that is more than an estimate.
fn capacity(endpoint: &EndpointLoad) -> String {
    match endpoint.capacity.map(rate) {
        Some(measured) if endpoint.measured => measured,
        Some(estimate) => format!("about {estimate}"),
        None => "not known".to_owned(),
    }
}

fn becomes(endpoint: &EndpointLoad, look: Look) -> Cell {
    let colour = match endpoint.becomes.as_str() {
        "gone" => Some(Color::Red),
        "drained" | "away" => Some(Color::Yellow),
        _ => endpoint.ready.as_ref().map(|_| Color::Green),
    };
    let mut text = endpoint.becomes.clone();
    if let Some(ready) = &endpoint.ready {
        let _ = match (ready.how.as_str(), ready.seconds) {
            ("at-once", _) => write!(text, ", at once"),
            (_, Some(seconds)) => write!(text, ", after {seconds:.1} s"),
            (how, None) => write!(text, ", after its {how}"),
        };
    }
    cell(&text, colour, look)
}

fn changes_later(endpoint: &EndpointLoad) -> bool {
    (endpoint.meanwhile - endpoint.then).abs() >= LEAST
}

fn rate(rate: f64) -> String {
    match rate {
        rate if rate < LEAST => "0".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use mainstay_control::forecast::Ready;

    use super::*;

    const PLAIN: Look = Look { colours: false, width: None };

    fn endpoint(
        name: &str,
        (now, meanwhile, then): (f64, f64, f64),
        becomes: &str,
    ) -> EndpointLoad {
        EndpointLoad {
            name: name.to_owned(),
            zone: Some("z1".to_owned()),
            now,
            meanwhile,
            then,
            capacity: Some(200.0),
            measured: true,
            becomes: becomes.to_owned(),
            ready: None,
        }
    }

    fn pool(endpoints: Vec<EndpointLoad>) -> Forecast {
        let pool = PoolLoad { name: "p".to_owned(), endpoints, ..PoolLoad::default() };
        let summary = vec!["no request would go unanswered".to_owned()];
        Forecast {
            change: "drain p/a".to_owned(),
            summary,
            pools: vec![pool],
            ..Forecast::default()
        }
    }

    fn squeezed(page: &str) -> Vec<String> {
        page.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn an_order_says_what_it_did_and_what_comes_of_it() {
        let loads = vec![
            endpoint("a", (100.0, 0.0, 0.0), "drained"),
            endpoint("b", (100.0, 190.0, 190.0), "active"),
        ];
        let met = Met {
            pool: "p".to_owned(),
            endpoint: "a".to_owned(),
            from: "in use".to_owned(),
            to: "drained".to_owned(),
            in_flight: 3,
        };
        let done = Carried {
            done: true,
            endpoints: vec![met],
            forecast: pool(loads),
            refused: Vec::new(),
        };
        let expected = "\
p/a is drained (was in use, 3 requests in flight)

drain p/a, in requests a second:

POOL ENDPOINT ZONE NOW THEN CAPACITY BECOMES
p a z1 100 0 200 drained
b z1 100 190 200 active

- no request would go unanswered";
        assert_eq!(squeezed(&carried(&done, PLAIN)).join("\n"), expected);
        let dry = Carried { done: false, refused: vec!["it is the last".to_owned()], ..done };
        let page = carried(&dry, PLAIN);
        assert!(page.contains("p/a would be drained"), "{page}");
        assert!(page.contains("refused without --force: it is the last"), "{page}");
    }

    #[test]
    fn a_standby_that_has_to_be_loaded_makes_a_column_of_its_own() {
        let load = Ready { how: "load".to_owned(), seconds: Some(8.0), by_hand: false };
        let standby =
            EndpointLoad { ready: Some(load), ..endpoint("b", (0.0, 0.0, 100.0), "active") };
        let page = forecast(&pool(vec![endpoint("a", (100.0, 0.0, 0.0), "gone"), standby]), PLAIN);
        assert!(page.contains("AT FIRST") && page.contains("active, after 8.0 s"), "{page}");
    }
}
