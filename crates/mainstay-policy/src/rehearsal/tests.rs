//! Samples by share and by time, and proofs that come and go.

use super::*;

const S: Settings = Settings {
    share: Ratio::ZERO,
    concurrent: 4,
    fall: 3,
    stale_after: Duration::from_secs(600),
    agreement: None,
};

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn good(agreement: Option<(u32, u32)>) -> Found {
    Found::Good { latency: Duration::from_millis(4), agreement }
}

fn bad() -> Found {
    Found::Failed("status 500".to_owned())
}

/// A proof after these, a second apart, with its changes of state.
fn after(found: impl IntoIterator<Item = Found>, settings: &Settings) -> (Proof, Vec<State>) {
    let mut proof = Proof::new(at(0));
    let mut states = Vec::new();
    for (second, found) in (1..).zip(found) {
        let (next, change) = proof.step(found, at(second), settings);
        proof = next;
        states.extend(change.map(|change| change.to));
    }
    (proof, states)
}

#[test]
fn samples_are_the_share_and_no_more() {
    for percent in [1, 3, 25, 100] {
        let settings = Settings { share: Ratio::percent(percent), ..S };
        let sampler = Sampler::default();
        let taken = (0..10_000).filter(|_| sampler.takes(&settings, at(1))).count();
        let wanted = usize::from(percent) * 100;
        assert!(taken.abs_diff(wanted) <= 1, "{taken} of {wanted}");
    }
}

#[test]
fn a_model_that_is_rarely_asked_is_sampled_by_the_time() {
    let sampler = Sampler::default();
    let taken: Vec<u64> = (0..600).filter(|s| sampler.takes(&S, at(1000 + s))).collect();
    assert_eq!(taken, [0, 150, 300, 450]);
}

#[test]
fn of_each_group_the_one_asked_longest_ago_is_chosen() {
    let stage = |group, asked: Option<u64>, free| Stage { group, asked: asked.map(at), free };
    let stages = [
        stage(0, Some(5), true),
        stage(0, Some(3), true),
        stage(0, None, false),
        stage(1, Some(1), false),
        stage(2, Some(9), true),
        stage(2, None, true),
    ];
    assert_eq!(choose(&stages).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(choose(&[]).count(), 0);
}

#[test]
fn failures_in_a_row_are_an_alert_and_one_answer_ends_it() {
    let (proof, states) = after([good(None), bad(), bad(), good(None), bad(), bad(), bad()], &S);
    assert_eq!(states, [State::Proven, State::Failing]);
    assert!(proof.state.is_alert());
    assert_eq!((proof.tried, proof.answered, proof.row), (7, 2, 3));
    let (proof, change) = proof.step(good(None), at(9), &S);
    assert_eq!(
        change.map(|change| (change.from, change.to)),
        Some((State::Failing, State::Proven))
    );
    assert_eq!(proof.succeeded, Some(at(9)));
}

#[test]
fn what_was_never_proven_and_what_was_long_ago_is_told() {
    let (fresh, change) = Proof::new(at(0)).look(at(599), &S);
    assert_eq!(change, None);
    let (fresh, change) = fresh.look(at(600), &S);
    assert_eq!(change.unwrap().to, State::Stale);
    let (_, again) = fresh.clone().look(at(700), &S);
    assert_eq!(again, None, "told once");
    let (proven, change) = fresh.step(good(None), at(701), &S);
    assert_eq!(change.unwrap().to, State::Proven);
    let (_, change) = proven.look(at(1301), &S);
    assert_eq!(change.unwrap().to.as_str(), "stale");
}

#[test]
fn agreement_is_shown_and_an_alert_only_where_that_is_wanted() {
    let rows = || (0..40).map(|_| good(Some((1, 2))));
    let (proof, states) = after(rows(), &S);
    assert_eq!((proof.agreement(), states), (Some(0.5), vec![State::Proven]));
    let wanted = Settings { agreement: Ratio::new(0.9), ..S };
    let (proof, states) = after(rows(), &wanted);
    assert_eq!(states, [State::Proven, State::Disagreeing]);
    let (mut proof, mut state) = (proof, State::Disagreeing);
    for second in 100..1000 {
        let (next, change) = proof.step(good(Some((2, 2))), at(second), &wanted);
        state = change.map_or(state, |change| change.to);
        proof = next;
    }
    assert_eq!(state, State::Proven, "old rows fade");
}

#[test]
fn who_is_away_is_not_counted_on() {
    let (proof, _) = after([good(None)], &S);
    let proof = proof.away(at(5000));
    let (proof, change) = proof.look(at(5100), &S);
    assert_eq!((change, proof.state, proof.tried), (None, State::Unproven, 1));
}
