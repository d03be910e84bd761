//! The choice of one target among those that may be asked.

use super::ring::LoadFactor;

/// The smallest weight that counts; less would make a cost infinite.
const LEAST_WEIGHT: f32 = 1e-3;

/// 2^32 divided by the golden ratio: multiples of it spread over a circle as evenly as any
/// sequence can (Weyl's; Knuth, volume 3, 6.4).
const GOLDEN: u32 = 0x9e37_79b9;

/// One in so many choices by cost asks a target drawn at random. Of a few targets the dearest
/// would otherwise never win a draw: one slow answer would leave it idle, and whatever is wrong
/// with it would go unnoticed by the traffic.
const EXPLORE: u32 = 32;

/// How a pool's targets share its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Two are drawn, the one with the shorter expected wait is asked.
    #[default]
    PeakEwma,
    /// Two are drawn, the one with fewer requests is asked. For answers whose length differs so
    /// much that latency says little, as in text generation.
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Two are drawn, the one that has fewer tokens to read and to write is asked. For language
    /// models, where a request may cost a thousand times what another does.
    Tokens,
    /// The same one for the same key; [`PeakEwma`](Self::PeakEwma) for requests without one.
    RingHash(LoadFactor),
}

/// A target that may be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its position in the pool.
    pub index: u16,
    /// What one more request would cost, from [`Load::cost_under`](super::Load::cost_under).
    pub cost: f64,
    /// Its share relative to the others: the configured weight times the slow start's.
    pub weight: f32,
    /// 0 is asked first; others only if no better tier has a candidate.
    pub tier: u8,
}

/// Why a target was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Why {
    /// No other candidate in the best tier.
    Only = 0,
    /// The shorter expected wait of two drawn.
    CheaperOfTwo = 1,
    /// The fewer requests of two drawn.
    LeastInFlight = 2,
    /// Its turn.
    NextInTurn = 3,
    /// Its breaker needs real requests to prove it.
    Probation = 4,
    /// Nothing better is left.
    LastResort = 5,
    /// Drawn at random, so that no target is forgotten.
    Explored = 6,
    /// Beside a first attempt that takes longer than usual.
    Hedged = 7,
    /// It asked to be left alone for a while, or nobody was left, and the request waited.
    Waited = 8,
    /// On its way back: its share of the requests came to a whole one.
    Returning = 9,
    /// Everybody is tried, since nobody was left.
    Panic = 10,
    /// A spare: nobody in use can be asked.
    StandsIn = 11,
    /// In another zone or region: those nearer cannot carry everything, or cannot be asked.
    SpilledOver = 12,
    /// The home of the request's key.
    Home = 13,
    /// Next to the home of the request's key, which has more than its part.
    HomeIsFull = 14,
    /// Its sequence is there.
    Sequence = 15,
}

impl Why {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 16] = [
        Self::Only,
        Self::CheaperOfTwo,
        Self::LeastInFlight,
        Self::NextInTurn,
        Self::Probation,
        Self::LastResort,
        Self::Explored,
        Self::Hedged,
        Self::Waited,
        Self::Returning,
        Self::Panic,
        Self::StandsIn,
        Self::SpilledOver,
        Self::Home,
        Self::HomeIsFull,
        Self::Sequence,
    ];

    /// The reason with this code (`why as u8`), or `None`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The reason in kebab case, as records show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::CheaperOfTwo => "cheaper-of-two",
            Self::LeastInFlight => "least-in-flight",
            Self::NextInTurn => "next-in-turn",
            Self::Probation => "probation",
            Self::LastResort => "last-resort",
            Self::Explored => "explored",
            Self::Hedged => "hedged",
            Self::Waited => "waited",
            Self::Returning => "returning",
            Self::Panic => "panic",
            Self::StandsIn => "stands-in",
            Self::SpilledOver => "spilled-over",
            Self::Home => "home",
            Self::HomeIsFull => "home-is-full",
            Self::Sequence => "sequence",
        }
    }
}

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The candidate's position in the pool.
    pub index: u16,
    /// Why it was picked.
    pub why: Why,
}

/// The candidates of the best tier.
struct Tier<'a> {
    all: &'a [Candidate],
    tier: u8,
    count: usize,
}

/// Picks one of the best tier; `None` only if there is no candidate.
///
/// `turn` grows with each choice of a worker; only round robin looks at it.
#[must_use]
pub fn pick(
    rule: Rule,
    candidates: &[Candidate],
    turn: u32,
    rng: &mut fastrand::Rng,
) -> Option<Picked> {
    let tier = Tier::best_of(candidates)?;
    if tier.count == 1 {
        return tier.get(0).map(|only| Picked { index: only.index, why: Why::Only });
    }
    let (chosen, why) = match rule {
        Rule::PeakEwma | Rule::RingHash(_) if rng.u32(..EXPLORE) == 0 => {
            (tier.get(rng.usize(..tier.count))?, Why::Explored)
        }
        Rule::PeakEwma | Rule::RingHash(_) => (tier.cheaper_of_two(rng)?, Why::CheaperOfTwo),
        Rule::LeastRequest | Rule::Tokens => (tier.cheaper_of_two(rng)?, Why::LeastInFlight),
        Rule::RoundRobin => (tier.next_in_turn(turn)?, Why::NextInTurn),
    };
    Some(Picked { index: chosen.index, why })
}

impl<'a> Tier<'a> {
    fn best_of(all: &'a [Candidate]) -> Option<Self> {
        let tier = all.iter().map(|candidate| candidate.tier).min()?;
        let count = all.iter().filter(|candidate| candidate.tier == tier).count();
        Some(Self { all, tier, count })
    }

    fn iter(&self) -> impl Iterator<Item = &'a Candidate> {
        let tier = self.tier;
        self.all.iter().filter(move |candidate| candidate.tier == tier)
    }

    fn get(&self, at: usize) -> Option<&'a Candidate> {
        if self.count == self.all.len() { self.all.get(at) } else { self.iter().nth(at) }
    }

    /// Draws two different ones; of equals, the first drawn.
    fn cheaper_of_two(&self, rng: &mut fastrand::Rng) -> Option<&'a Candidate> {
        let first = rng.usize(..self.count);
        let step = rng.usize(1..self.count);
        let one = self.get(first)?;
        let other = self.get((first + step) % self.count)?;
        Some(if price(other) < price(one) { other } else { one })
    }

    /// In order where all weigh the same; otherwise each as often as it weighs, evenly spread.
    fn next_in_turn(&self, turn: u32) -> Option<&'a Candidate> {
        let first = weight(self.get(0)?);
        if self.iter().all(|candidate| weight(candidate).to_bits() == first.to_bits()) {
            return self.get(turn as usize % self.count);
        }
        let total: f32 = self.iter().map(weight).sum();
        let mut point = turn.wrapping_mul(GOLDEN) as f32 / (u32::MAX as f32) * total;
        for candidate in self.iter() {
            point -= weight(candidate);
            if point < 0.0 {
                return Some(candidate);
            }
        }
        self.get(self.count - 1)
    }
}

fn price(candidate: &Candidate) -> f64 {
    candidate.cost / f64::from(weight(candidate))
}

fn weight(candidate: &Candidate) -> f32 {
    // `max` also turns what is not a number into the least.
    candidate.weight.max(LEAST_WEIGHT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: [Rule; 3] = [Rule::PeakEwma, Rule::LeastRequest, Rule::RoundRobin];

    const fn candidate(index: u16, cost: f64, weight: f32, tier: u8) -> Candidate {
        Candidate { index, cost, weight, tier }
    }

    fn rng() -> fastrand::Rng {
        fastrand::Rng::with_seed(21)
    }

    /// How often each index is picked in 10 000 turns.
    fn shares(rule: Rule, candidates: &[Candidate]) -> Vec<u32> {
        let (mut counts, mut rng) = (vec![0; candidates.len()], rng());
        for turn in 0..10_000 {
            let picked = pick(rule, candidates, turn, &mut rng).unwrap();
            counts[usize::from(picked.index)] += 1;
        }
        counts
    }

    #[test]
    fn nobody_and_only_one() {
        for rule in RULES {
            assert_eq!(pick(rule, &[], 0, &mut rng()), None);
            let only = pick(rule, &[candidate(7, 1.0, 1.0, 3)], 5, &mut rng());
            assert_eq!(only, Some(Picked { index: 7, why: Why::Only }));
        }
    }

    #[test]
    fn a_better_tier_goes_before_any_cost() {
        let candidates = [candidate(0, 0.0, 1.0, 1), candidate(1, 9e9, 0.1, 0)];
        for rule in RULES {
            assert_eq!(shares(rule, &candidates), [0, 10_000]);
        }
    }

    #[test]
    fn of_two_the_cheaper_for_its_weight() {
        let candidates = [candidate(0, 2.0, 1.0, 0), candidate(1, 1.0, 0.4, 0)];
        assert_eq!(shares(Rule::LeastRequest, &candidates), [10_000, 0]);
        let why = pick(Rule::LeastRequest, &candidates, 0, &mut rng()).unwrap().why;
        assert_eq!(why, Why::LeastInFlight);
    }

    #[test]
    fn of_many_the_dearest_is_never_picked_and_the_others_by_their_rank() {
        let candidates: Vec<_> = (0..4).map(|n| candidate(n, f64::from(n), 1.0, 0)).collect();
        let counts = shares(Rule::LeastRequest, &candidates);
        // Of the six pairs, 3, 2, 1 and 0 are won.
        for (count, pairs) in counts.iter().zip([3.0, 2.0, 1.0, 0.0]) {
            assert!((f64::from(*count) / 10_000.0 - pairs / 6.0).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn nobody_is_forgotten() {
        let candidates: Vec<_> = (0..4).map(|n| candidate(n, f64::from(n), 1.0, 0)).collect();
        let counts = shares(Rule::PeakEwma, &candidates);
        // A quarter of one in 32.
        assert!((60..=100).contains(&counts[3]), "{counts:?}");
    }

    #[test]
    fn equals_share_alike() {
        let candidates: Vec<_> = (0..5).map(|n| candidate(n, 0.0, 1.0, 0)).collect();
        let counts = shares(Rule::PeakEwma, &candidates);
        assert!(counts.iter().all(|count| (1_850..=2_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn turns_go_round_in_order() {
        let candidates = [candidate(4, 5.0, 1.0, 0), candidate(8, 1.0, 1.0, 0)];
        let picked = |turn| pick(Rule::RoundRobin, &candidates, turn, &mut rng()).unwrap();
        let order: Vec<_> = (0..4).map(|turn| picked(turn).index).collect();
        assert_eq!(order, [4, 8, 4, 8]);
        assert_eq!(picked(u32::MAX).why, Why::NextInTurn);
    }

    #[test]
    fn turns_follow_weights_evenly() {
        let weights = [1.0, 0.5, 0.1];
        let candidates: Vec<_> =
            weights.iter().zip(0..).map(|(w, n)| candidate(n, 0.0, *w, 0)).collect();
        let counts = shares(Rule::RoundRobin, &candidates);
        for (count, weight) in counts.iter().zip(weights) {
            let expected = 10_000.0 * weight / 1.6;
            assert!((*count as f32 - expected).abs() < 20.0, "{counts:?}");
        }
    }

    #[test]
    fn codes_lead_back_to_their_reason() {
        for why in Why::ALL {
            assert_eq!(Why::from_code(why as u8), Some(why));
        }
        assert_eq!(Why::from_code(Why::ALL.len() as u8), None);
    }

    proptest! {
        #[test]
        fn whoever_is_picked_was_listed_in_the_best_tier(
            listed in prop::collection::vec((any::<f64>(), any::<f32>(), 0u8..3), 1..20),
            turn in any::<u32>(),
            seed in any::<u64>(),
        ) {
            let candidates: Vec<_> = listed
                .iter()
                .zip(0..)
                .map(|((cost, weight, tier), index)| candidate(index, *cost, *weight, *tier))
                .collect();
            let best = candidates.iter().map(|candidate| candidate.tier).min();
            for rule in RULES {
                let mut rng = fastrand::Rng::with_seed(seed);
                let picked = pick(rule, &candidates, turn, &mut rng).unwrap();
                prop_assert_eq!(Some(candidates[usize::from(picked.index)].tier), best);
            }
        }
    }
}
