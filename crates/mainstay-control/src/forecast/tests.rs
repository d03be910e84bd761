//! Forecasts that can be reckoned by hand, and properties over views of any shape.

use proptest::prelude::*;

use super::*;

fn endpoint(name: &str, load: f64, capacity: f64) -> Endpoint {
    Endpoint {
        name: name.to_owned(),
        zone: None,
        region: None,
        standing: Standing::Active,
        readiness: Readiness::Ready,
        distance: 0,
        weight: 1.0,
        load,
        capacity: Some(capacity),
        measured: true,
    }
}

fn in_zone(zone: &str, endpoint: Endpoint) -> Endpoint {
    Endpoint { zone: Some(zone.to_owned()), ..endpoint }
}

fn spare(readiness: Readiness, endpoint: Endpoint) -> Endpoint {
    let standing = if readiness == Readiness::Ready { Standing::Spare } else { Standing::Away };
    Endpoint { standing, readiness, ..endpoint }
}

/// One pool with one model: the pool, then a default.
fn view(wanted: usize, endpoints: Vec<Endpoint>) -> View {
    let load = endpoints.iter().map(|endpoint| endpoint.load).sum();
    let pool = Pool {
        name: "p".to_owned(),
        wanted,
        manual: false,
        detection: Duration::from_millis(1200),
        endpoints,
    };
    let steps = vec![Step { source: Source::Pool(0), load }];
    View { pools: vec![pool], models: vec![Model { name: "m".to_owned(), steps }] }
}

fn with_default(mut view: View) -> View {
    view.models[0].steps.push(Step { source: Source::Local("default".to_owned()), load: 0.0 });
    view
}

fn drain(at: usize) -> Change {
    let effects = vec![(0, at, Effect::Stands(Standing::Drained))];
    Change { words: "drain".to_owned(), sudden: false, effects }
}

fn loads(forecast: &Forecast) -> Vec<(f64, f64)> {
    forecast.pools[0].endpoints.iter().map(|e| (e.meanwhile, e.then)).collect()
}

#[test]
fn the_load_of_who_leaves_goes_to_those_who_stay() {
    let three = view(3, ["a", "b", "c"].map(|name| endpoint(name, 100.0, 200.0)).into());
    let forecast = forecast(&three, &drain(0));
    assert_eq!(loads(&forecast), [(0.0, 0.0), (150.0, 150.0), (150.0, 150.0)]);
    assert_eq!(forecast.pools[0].endpoints[0].becomes, "drained");
    assert_eq!((forecast.missing, forecast.empties()), (0.0, None));
    let words =
        ["p: 2 endpoints would serve, the fullest at 75 %", "no request would go unanswered"];
    assert_eq!(forecast.summary, words);
}

#[test]
fn what_is_too_much_for_the_others_is_missing() {
    let two = view(2, vec![endpoint("a", 150.0, 200.0), endpoint("b", 150.0, 200.0)]);
    let shed = forecast(&two, &drain(0));
    assert_eq!((shed.missing, shed.missing_then), (100.0, 100.0));
    assert!(
        shed.summary.contains(&"m: 100 requests/s would be shed, lowest priority first".into())
    );
    let answered = forecast(&with_default(two), &drain(0));
    assert_eq!(answered.missing, 0.0);
    let line = "m: 100 requests/s more would be answered by default";
    assert!(answered.summary.contains(&line.to_owned()), "{:?}", answered.summary);
}

#[test]
fn the_last_one_leaves_nobody() {
    let one =
        view(1, vec![endpoint("a", 10.0, 200.0), spare(Readiness::Out, endpoint("b", 0.0, 1.0))]);
    assert_eq!(forecast(&one, &drain(0)).empties().map(|pool| pool.name.as_str()), Some("p"));
    assert_eq!(forecast(&one, &drain(1)).empties(), None);
}

#[test]
fn a_hot_standby_serves_at_once_and_a_warm_one_after_its_load() {
    let load = Readiness::Load(Some(Duration::from_secs(8)));
    for (readiness, meanwhile, how) in [(Readiness::Ready, 100.0, "at-once"), (load, 0.0, "load")] {
        let standby = spare(readiness, endpoint("b", 0.0, 200.0));
        let pair = with_default(view(1, vec![endpoint("a", 100.0, 200.0), standby]));
        let forecast = forecast(&pair, &drain(0));
        assert_eq!(loads(&forecast), [(0.0, 0.0), (meanwhile, 100.0)]);
        let ready = forecast.pools[0].endpoints[1].ready.as_ref().expect("it comes into use");
        assert_eq!(ready.how, how);
        let by_default = forecast.models.first().map_or(0.0, |model| model.steps[1].meanwhile);
        assert_eq!(by_default, 100.0 - meanwhile);
    }
}

#[test]
fn by_hand_a_warm_standby_stays_where_it_is() {
    let standby = spare(Readiness::Load(None), endpoint("b", 0.0, 200.0));
    let mut pair = with_default(view(1, vec![endpoint("a", 100.0, 200.0), standby]));
    pair.pools[0].manual = true;
    assert_eq!(loads(&forecast(&pair, &drain(0))), [(0.0, 0.0), (0.0, 0.0)]);
}

#[test]
fn of_several_standbys_the_readier_one_is_taken() {
    let cold = spare(Readiness::Start(None), endpoint("b", 0.0, 200.0));
    let hot = spare(Readiness::Ready, endpoint("c", 0.0, 200.0));
    let pool = view(1, vec![endpoint("a", 100.0, 200.0), cold, hot]);
    assert_eq!(loads(&forecast(&pool, &drain(0))), [(0.0, 0.0), (0.0, 0.0), (100.0, 100.0)]);
}

#[test]
fn a_zone_that_dies_says_so_in_every_pool() {
    let endpoints = vec![
        in_zone("z1", endpoint("a", 100.0, 150.0)),
        in_zone("z1", endpoint("b", 100.0, 150.0)),
        in_zone("z2", endpoint("c", 100.0, 150.0)),
    ];
    let view = view(3, endpoints);
    let change = Change::loss(&view, "zone z1 dies".to_owned(), |_, endpoint| {
        endpoint.zone.as_deref() == Some("z1")
    });
    let forecast = forecast(&view, &change);
    assert_eq!(loads(&forecast), [(0.0, 0.0), (0.0, 0.0), (150.0, 150.0)]);
    assert_eq!(forecast.missing, 150.0);
    assert_eq!(forecast.pools[0].endpoints[0].becomes, "gone");
    assert!(forecast.summary.iter().any(|line| line.contains("within about 1.2 s")));
}

#[test]
fn half_a_weight_is_half_a_share() {
    let two = view(2, vec![endpoint("a", 100.0, 500.0), endpoint("b", 100.0, 500.0)]);
    let effects = vec![(0, 0, Effect::Weighs(0.5))];
    let forecast = forecast(&two, &Change { effects, ..Change::default() });
    let share = forecast.pools[0].endpoints[0].then;
    assert!((share - 200.0 / 3.0).abs() < 1e-9, "{share}");
}

#[test]
fn the_near_ones_are_filled_first() {
    let far = Endpoint { distance: 1, ..endpoint("c", 0.0, 500.0) };
    let pool = view(3, vec![endpoint("a", 100.0, 150.0), endpoint("b", 100.0, 150.0), far]);
    assert_eq!(loads(&forecast(&pool, &drain(0)))[1..], [(150.0, 150.0), (50.0, 50.0)]);
}

#[test]
fn what_nobody_measured_takes_what_comes() {
    let unknown = Endpoint { capacity: None, ..endpoint("b", 10.0, 0.0) };
    let pool = view(2, vec![endpoint("a", 1000.0, 2000.0), unknown]);
    assert_eq!(loads(&forecast(&pool, &drain(0)))[1], (1010.0, 1010.0));
}

#[test]
fn a_second_pool_answers_until_it_is_full_too() {
    let mut view = view(1, vec![endpoint("a", 100.0, 150.0)]);
    view.pools.push(Pool {
        name: "q".to_owned(),
        wanted: 1,
        endpoints: vec![endpoint("x", 20.0, 80.0)],
        ..Pool::default()
    });
    view.models[0].steps.push(Step { source: Source::Pool(1), load: 0.0 });
    let other = vec![Step { source: Source::Pool(1), load: 20.0 }];
    view.models.push(Model { name: "n".to_owned(), steps: other });
    let forecast = forecast(&view, &drain(0));
    assert_eq!(forecast.models[0].steps[1].then, 60.0);
    assert_eq!(forecast.models[0].missing, 40.0);
    assert_eq!(forecast.pools[1].endpoints[0].then, 80.0);
}

#[test]
fn a_change_for_nobody_changes_nothing() {
    let pool = view(1, vec![endpoint("a", 100.0, 150.0)]);
    let change = Change::loss(&pool, "zone z9 dies".to_owned(), |_, e| e.zone.is_some());
    assert_eq!(forecast(&pool, &change).summary, ["nothing would change"]);
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let standing = prop::sample::select(Standing::ALL.to_vec());
    let readiness = prop::sample::select(vec![
        Readiness::Ready,
        Readiness::Ready,
        Readiness::Load(None),
        Readiness::Start(Some(Duration::from_secs(3))),
        Readiness::Out,
    ]);
    let capacity = prop::option::of(1.0..500.0f64);
    let numbers = (0u8..3, 0.01..10.0f64, 0.0..300.0f64, capacity);
    (standing, readiness, numbers).prop_map(|(standing, readiness, numbers)| {
        let (distance, weight, load, capacity) = numbers;
        let serves = standing == Standing::Active && readiness == Readiness::Ready;
        let load = if serves { load } else { 0.0 };
        let base = endpoint("e", load, 0.0);
        Endpoint { standing, readiness, distance, weight, capacity, ..base }
    })
}

/// Views in which the models are answered what the pools serve.
fn any_view() -> impl Strategy<Value = View> {
    let pool = (prop::collection::vec(any_endpoint(), 1..6), 0usize..4, any::<bool>());
    (prop::collection::vec(pool, 1..4), any::<bool>()).prop_map(|(pools, local)| {
        let pools: Vec<_> = pools
            .into_iter()
            .map(|(endpoints, wanted, manual)| Pool {
                name: "p".to_owned(),
                wanted,
                manual,
                endpoints,
                ..Pool::default()
            })
            .collect();
        let models = (0..pools.len()).map(|at| model(&pools, at, local)).collect();
        View { pools, models }
    })
}

/// One model for each pool, with all others as its fallbacks.
fn model(pools: &[Pool], first: usize, local: bool) -> Model {
    let order = (first..pools.len()).chain(0..first);
    let load = |at: usize| pools[at].endpoints.iter().map(|e| e.load).sum::<f64>();
    let mut steps: Vec<_> = order
        .map(|at| Step { source: Source::Pool(at), load: if at == first { load(at) } else { 0.0 } })
        .collect();
    if local {
        steps.push(Step { source: Source::Local("default".to_owned()), load: 0.0 });
    }
    Model { name: "m".to_owned(), steps }
}

fn any_change() -> impl Strategy<Value = Change> {
    let effect = prop_oneof![
        Just(Effect::Gone),
        prop::sample::select(Standing::ALL.to_vec()).prop_map(Effect::Stands),
        (0.1..5.0f64).prop_map(Effect::Weighs),
    ];
    let effects = prop::collection::vec((0usize..4, 0usize..6, effect), 0..8);
    (effects, any::<bool>()).prop_map(|(effects, sudden)| Change {
        words: String::new(),
        sudden,
        effects,
    })
}

proptest! {
    #[test]
    fn load_is_conserved(view in any_view(), change in any_change()) {
        let changed = change.apply(&view);
        let whole: f64 = view.models.iter().flat_map(|m| &m.steps).map(|step| step.load).sum();
        for after in [promotion::at_once(&changed), promotion::in_the_end(&changed)] {
            let flow = flow::flow(&after);
            let answered: f64 = flow.steps.iter().flatten().sum();
            let missing: f64 = flow.missing.iter().sum();
            prop_assert!((answered + missing - whole).abs() < 1e-6 * whole.max(1.0));
            let by_servers: f64 = flow.endpoints.iter().flatten().sum();
            let by_pools: f64 = view.models.iter().zip(&flow.steps).flat_map(|(model, loads)| {
                model.steps.iter().zip(loads).filter(|(s, _)| matches!(s.source, Source::Pool(_)))
            }).map(|(_, load)| load).sum();
            prop_assert!((by_servers - by_pools).abs() < 1e-6 * whole.max(1.0));
        }
    }

    #[test]
    fn nobody_is_given_more_than_it_can_serve(view in any_view(), change in any_change()) {
        let changed = change.apply(&view);
        for after in [promotion::at_once(&changed), promotion::in_the_end(&changed)] {
            for (pool, loads) in after.pools.iter().zip(flow::flow(&after).endpoints) {
                for (endpoint, load) in pool.endpoints.iter().zip(loads) {
                    prop_assert!(load >= 0.0 && load <= endpoint.room() * (1.0 + 1e-9) + 1e-9);
                    prop_assert!(endpoint.is_serving() || load == 0.0);
                }
            }
        }
    }

    #[test]
    fn no_more_are_promoted_than_are_wanted(view in any_view(), change in any_change()) {
        let changed = change.apply(&view);
        let then = promotion::in_the_end(&changed);
        for (before, after) in changed.pools.iter().zip(&then.pools) {
            let active = |pool: &Pool| pool.endpoints.iter().filter(|e| e.is_serving()).count();
            let waiting = before.endpoints.iter().filter(|e| {
                e.standing == Standing::Active && e.readiness.is_standby()
            });
            let most = active(before).max(before.wanted) + waiting.count();
            prop_assert!(active(after) <= most);
        }
        let forecast = forecast(&view, &change);
        prop_assert!(forecast.missing >= 0.0 && !forecast.summary.is_empty());
    }
}
