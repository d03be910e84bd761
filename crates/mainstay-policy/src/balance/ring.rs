//! The same server for the same key: rendezvous hashing with bounded loads.
//!
//! Each server has a *seat*, the hash of its endpoint's name; each request a *key*. Key and seat
//! together give a score that looks random and is the same on every gateway; the best score is the
//! key's *home* (highest random weight, Thaler and Ravishankar 1998; with weights, Schindelhauer
//! and Schomaker 2005). When a server goes, exactly its keys move, evenly to all others, and they
//! move back when it returns; no ring of points has to be rebuilt, and a pool is small enough to
//! look at every seat.
//!
//! A popular key must not bury its home: whoever has more than the *load factor* times its part of
//! all requests in flight is passed over for the next best score (consistent hashing with bounded
//! loads, Mirrokni, Thorup and Zadimoghaddam 2016).

/// Below so many requests in flight nobody has too many: the part of a handful says nothing, and
/// two requests at once would already drive a key from its home.
const FEWEST: u32 = 4;

/// Told apart from what the choice of a home looks at.
const RETURN: u64 = 0x5bd1_e995_9d2c_5680;

/// What a request is to be kept together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

/// A server's place among the seats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seat(u64);

/// How much more than its part a server may have in flight, in percent. Default 125.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoadFactor(u16);

impl LoadFactor {
    /// From a factor above 1, such as 1.25; held between 1.01 and 100.
    #[must_use]
    pub fn new(factor: f32) -> Self {
        Self((factor * 100.0).clamp(101.0, 10_000.0) as u16)
    }

    /// The requests in flight at which a server of `weight` out of `weights` has enough, one more
    /// than `in_flight` in all being shared out.
    #[must_use]
    pub fn bound(self, in_flight: u32, weight: f32, weights: f32) -> u32 {
        let part = (f64::from(in_flight) + 1.0) * f64::from(weight) / f64::from(weights);
        let most = (part * f64::from(self.0) / 100.0).ceil();
        (most as u32).max(FEWEST)
    }
}

impl Default for LoadFactor {
    fn default() -> Self {
        Self(125)
    }
}

impl Key {
    /// The key with these bytes. The same on every gateway and in every version.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(hash(bytes))
    }

    /// A number that is as good as random, and always the same for the key.
    #[must_use]
    pub const fn draw(self) -> u64 {
        mix(self.0)
    }

    /// How far the key is from the seat of a server of this weight; the least is its home.
    #[must_use]
    pub fn distance(self, seat: Seat, weight: f32) -> f64 {
        // Exponentially distributed with the weight as its rate: the least of several is each
        // one's with a probability of its part of the weights.
        -unit(mix(self.0 ^ seat.0)).ln() / f64::from(weight.max(f32::MIN_POSITIVE))
    }

    /// Whether the key is among the `share` of its keys that a server on its way back takes; who
    /// takes it at one share takes it at every greater one.
    #[must_use]
    pub fn is_within(self, seat: Seat, share: f32) -> bool {
        unit(mix(self.0 ^ seat.0 ^ RETURN)) < f64::from(share)
    }
}

impl Seat {
    /// The seat of the endpoint with this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(mix(hash(name.as_bytes())))
    }
}

/// FNV-1a over the bytes; what it lacks in mixing [`mix`] adds.
fn hash(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every other.
const fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Between 0 and 1, without either.
fn unit(bits: u64) -> f64 {
    const SCALE: f64 = 1.0 / 9_007_199_254_740_992.0; // 2^-53
    ((bits >> 11) as f64 + 0.5) * SCALE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn home(key: Key, seats: &[(Seat, f32)]) -> usize {
        let distance = |at: &usize| key.distance(seats[*at].0, seats[*at].1);
        (0..seats.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
    }

    fn seats(count: usize) -> Vec<(Seat, f32)> {
        (0..count).map(|at| (Seat::of(&format!("10.0.0.{at}:8000")), 1.0)).collect()
    }

    fn keys() -> impl Iterator<Item = Key> {
        (0..20_000u32).map(|n| Key::of(format!("user-{n}").as_bytes()))
    }

    #[test]
    fn keys_are_spread_as_the_weights_say() {
        let mut seats = seats(5);
        seats[2].1 = 2.0;
        let mut counts = [0; 5];
        keys().for_each(|key| counts[home(key, &seats)] += 1);
        let part = 20_000 / 6;
        for (at, count) in counts.into_iter().enumerate() {
            let expected = if at == 2 { 2 * part } else { part };
            assert!((expected * 9 / 10..expected * 11 / 10).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn hashes_never_change() {
        // Gateways of two versions share one pool during an upgrade.
        assert_eq!(Key::of(b"user-1").draw(), 0xf16d_8d44_0fbb_25d5);
        assert_eq!(Seat::of("a").0, 0x5f29_c2aa_dd9b_8527);
    }

    #[test]
    fn a_growing_share_only_adds_keys() {
        let seat = Seat::of("a");
        let within =
            |share| keys().filter(move |key| key.is_within(seat, share)).collect::<Vec<_>>();
        let (tenth, half) = (within(0.1), within(0.5));
        assert!((1_800..2_200).contains(&tenth.len()), "{}", tenth.len());
        assert!(tenth.iter().all(|key| half.contains(key)));
        assert_eq!(within(1.0).len(), 20_000);
    }

    #[test]
    fn nobody_has_more_than_the_factor_of_its_part() {
        let factor = LoadFactor::new(1.25);
        assert_eq!(factor.bound(0, 1.0, 3.0), FEWEST);
        assert_eq!(factor.bound(299, 1.0, 3.0), 125);
        assert_eq!(factor.bound(299, 2.0, 4.0), 188);
    }

    proptest! {
        #[test]
        fn a_loss_moves_only_the_keys_of_the_lost(
            count in 2usize..20, lost in 0usize..20, seed in any::<u64>()
        ) {
            let all = seats(count);
            let lost = lost % count;
            let rest: Vec<_> =
                all.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, s)| *s).collect();
            for n in 0..200u64 {
                let key = Key::of(&(seed ^ n).to_le_bytes());
                let before = home(key, &all);
                if before != lost {
                    prop_assert_eq!(all[before].0, rest[home(key, &rest)].0);
                }
            }
        }
    }
}
