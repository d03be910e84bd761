//! What holds, what replaces what, and what ends by itself.

use super::*;

fn at(endpoint: &str) -> Scope {
    Scope::Endpoint { pool: "p".to_owned(), endpoint: endpoint.to_owned() }
}

fn order(scope: Scope, verb: Verb) -> Order {
    let reason = "a disk".to_owned();
    Order { scope, verb, reason, since: Unix(1_000), until: None, orphaned: None }
}

const A: Place<'_> = Place { pool: "p", endpoint: "a", zone: Some("z1"), region: None };

fn book(orders: impl IntoIterator<Item = Order>) -> Book {
    let mut book = Book::default();
    for order in orders {
        book.place(order).unwrap();
    }
    book
}

#[test]
fn maintenance_goes_before_a_drain_and_both_leave_the_weight() {
    let zone = Scope::Zone("z1".to_owned());
    let book = book([
        order(zone, Verb::Drain),
        order(at("a"), Verb::Weight(0.5)),
        order(at("a"), Verb::Maintenance),
    ]);
    let effect = book.effect(A);
    assert_eq!(effect.out.map(|order| &order.verb), Some(&Verb::Maintenance));
    assert_eq!(effect.weight.map(|order| &order.verb), Some(&Verb::Weight(0.5)));
    let other = book.effect(Place { endpoint: "b", ..A });
    assert_eq!(other.out.map(|order| &order.verb), Some(&Verb::Drain), "by its zone");
    assert_eq!(book.effect(Place { endpoint: "b", zone: None, ..A }), Effect::default());
}

#[test]
fn a_word_on_the_same_thing_replaces_the_one_before() {
    let mut book = book([order(at("a"), Verb::Weight(0.5)), order(at("a"), Verb::Drain)]);
    let before = book.place(order(at("a"), Verb::Weight(0.2))).unwrap().unwrap();
    assert_eq!(before.verb, Verb::Weight(0.5));
    assert_eq!(book.iter().count(), 2);
    assert_eq!(book.lift(&at("a"), |verb| *verb == Verb::Drain).len(), 1);
    assert_eq!(book.lift(&at("b"), |_| true), []);
    assert_eq!(book.iter().count(), 1);
}

#[test]
fn an_order_ends_when_its_time_is_over() {
    let timed = Order { until: Some(Unix(1_060)), ..order(at("a"), Verb::Drain) };
    let mut book = book([timed.clone()]);
    assert_eq!(book.turn(Unix(1_059), |_| true), []);
    assert_eq!(book.turn(Unix(1_060), |_| true), [Turn::Expired(timed)]);
    assert_eq!(book.iter().count(), 0);
}

#[test]
fn an_order_on_nothing_is_kept_for_a_day() {
    let mut book = book([order(at("a"), Verb::Drain)]);
    assert!(matches!(&book.turn(Unix(2_000), |_| false)[..], [Turn::Orphaned(_)]));
    assert_eq!(book.turn(Unix(2_001), |_| false), []);
    assert!(matches!(&book.turn(Unix(2_002), |_| true)[..], [Turn::Found(_)]));
    book.turn(Unix(3_000), |_| false);
    let day = FORGOTTEN.as_secs();
    assert_eq!(book.turn(Unix(3_000 + day - 1), |_| false), []);
    assert!(matches!(&book.turn(Unix(3_000 + day), |_| false)[..], [Turn::Dropped(_)]));
    assert_eq!(book.iter().count(), 0);
}

#[test]
fn a_book_has_a_bound() {
    let mut book = book((0..MOST).map(|at_| order(at(&at_.to_string()), Verb::Drain)));
    assert_eq!(book.place(order(at("more"), Verb::Drain)), Err(Full));
    assert!(book.place(order(at("7"), Verb::Drain)).is_ok(), "in the place of another");
}

#[test]
fn a_book_reads_back_as_it_was_written() {
    let timed = Order { until: Some(Unix(9_000)), ..order(at("a"), Verb::Weight(0.5)) };
    let to = Verb::Failover { to: Some("b".to_owned()) };
    let book = book([timed, order(Scope::Pool("p".to_owned()), to)]);
    let text = serde_json::to_string(&book).unwrap();
    assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book, "{text}");
}
