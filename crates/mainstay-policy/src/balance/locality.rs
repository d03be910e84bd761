//! Near servers first: which share of a pool's requests goes how far.
//!
//! A pool may have servers in the gateway's own zone, in other zones of its region, and in other
//! regions. The nearest take everything as long as they can carry it; what they cannot spills over
//! to the next distance, in proportion to what is missing. How much a distance can carry follows
//! Envoy's priority levels: healthy weight over all weight, times an *overprovisioning factor*
//! (1.4: with 72 % of its servers left a zone still takes everything, with half of them 70 %).
//!
//! Two rules keep the shares calm:
//! - what a distance can no longer carry leaves it at once, in one step, whichever way;
//! - what comes back to a nearer distance waits until nothing was forced for a while, and then
//!   comes back slowly. A zone whose health swings loses its share once and keeps it lost.
//!
//! A control loop [steps](Locality::step) this ten times a second and publishes one word; a request
//! [draws](Locality::draw) from it once. Shares are a plan: a request that finds nobody at the
//! distance it drew asks the next one at once, so a loss needs no control loop either.
//!
//! Envoy: arch_overview/upstream/load_balancing/priority and .../locality_weight.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Moment;

/// How many distances there are.
pub const DISTANCES: usize = 3;

/// How far a server is from the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Distance {
    /// In the gateway's own zone, or nobody said otherwise.
    #[default]
    Zone = 0,
    /// In another zone of the same region.
    Region = 1,
    /// In another region.
    Elsewhere = 2,
}

/// Where a gateway or a server stands. What is not said of a server counts as the gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site<'a> {
    /// The region, such as `eu-west`.
    pub region: Option<&'a str>,
    /// The zone within the region, such as `eu-west-1a`.
    pub zone: Option<&'a str>,
}

/// How requests are kept near.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How much more than its part each server of a distance can carry; at least 1. Default 1.4,
    /// Envoy's.
    pub overprovisioning: f32,
    /// How long nothing may have been forced before a share comes back nearer. Default 5 s: longer
    /// than a server takes to be found dead twice.
    pub hold: Duration,
    /// The time in which a whole share comes back. Default 10 s, as a slow start takes.
    pub back: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let (hold, back) = (Duration::from_secs(5), Duration::from_secs(10));
        Self { overprovisioning: 1.4, hold, back }
    }
}

/// What the servers of one distance amount to, in weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Supply {
    /// Of those that can be asked, each with the share that it takes on its way back.
    pub usable: f32,
    /// Of all that are meant to be in use.
    pub all: f32,
}

/// A change of the shares, to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The shares before, by distance.
    pub from: [f32; DISTANCES],
    /// The shares from now on; they add up to 1.
    pub to: [f32; DISTANCES],
    /// Why, in one line.
    pub cause: String,
}

/// What the shares are, and why, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// By distance; they add up to 1.
    pub shares: [f32; DISTANCES],
    /// What each distance was found to have.
    pub supplies: [Supply; DISTANCES],
    /// Why the shares are what they are, in one line.
    pub why: String,
}

/// The shares of one pool for one model, written by the control loop, read by every request.
#[derive(Debug)]
pub struct Locality {
    /// What goes to the nearest distance, and to the nearest two, in 1/65,535: the low half, then
    /// the high half.
    word: AtomicU32,
    steering: Mutex<Steering>,
}

/// The state of the shares.
#[derive(Clone, Debug)]
struct Steering {
    shares: [f32; DISTANCES],
    supplies: [Supply; DISTANCES],
    /// What the shares are on their way to.
    wanted: [f32; DISTANCES],
    /// When a distance last lost something of what it can carry.
    forced: Option<Moment>,
    looked: Option<Moment>,
    /// Whether a return has been told of that is still under way.
    returning: bool,
    why: String,
}

/// Everything to the nearest.
const NEAREST: [f32; DISTANCES] = [1.0, 0.0, 0.0];
/// The word that says so.
const ALL_NEAR: u32 = u32::MAX;
/// Less than this is rounding.
const LEAST: f32 = 1e-4;

impl Distance {
    /// Every distance, the nearest first.
    pub const ALL: [Self; DISTANCES] = [Self::Zone, Self::Region, Self::Elsewhere];

    /// How far `server` is from `gateway`.
    #[must_use]
    pub fn between(gateway: Site<'_>, server: Site<'_>) -> Self {
        let differs = |own: Option<&str>, other: Option<&str>| {
            own.zip(other).is_some_and(|(own, other)| own != other)
        };
        match () {
            () if differs(gateway.region, server.region) => Self::Elsewhere,
            () if differs(gateway.zone, server.zone) => Self::Region,
            () => Self::Zone,
        }
    }

    /// The distance in kebab case, as status and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zone => "own-zone",
            Self::Region => "own-region",
            Self::Elsewhere => "other-regions",
        }
    }
}

impl Default for Locality {
    fn default() -> Self {
        Self { word: AtomicU32::new(ALL_NEAR), steering: Mutex::new(Steering::new()) }
    }
}

impl Locality {
    /// The distance at which a request looks first.
    #[inline]
    pub fn draw(&self, rng: &mut fastrand::Rng) -> Distance {
        match self.word.load(Ordering::Relaxed) {
            ALL_NEAR => Distance::Zone,
            word => at(word, rng.u16(..u16::MAX)),
        }
    }

    /// The same for a request whose key is to lead to the same distance as long as shares allow.
    #[must_use]
    pub fn draw_for(&self, key: u64) -> Distance {
        // The highest bits, which no other choice looks at first; the last value has no place.
        at(self.word.load(Ordering::Relaxed), ((key >> 48) as u16).min(u16::MAX - 1))
    }

    /// Looks at what there is now, and moves the shares; gives what is to be told of it.
    pub fn step(
        &self,
        supplies: [Supply; DISTANCES],
        settings: &Settings,
        now: Moment,
    ) -> Option<Change> {
        let mut steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        let change = steering.step(supplies, settings, now);
        self.word.store(steering.word(), Ordering::Relaxed);
        change
    }

    /// The shares now, and why.
    #[must_use]
    pub fn view(&self) -> View {
        let steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        let Steering { shares, supplies, why, .. } = &*steering;
        View { shares: *shares, supplies: *supplies, why: why.clone() }
    }
}

impl Steering {
    const fn new() -> Self {
        Self {
            shares: NEAREST,
            supplies: [Supply { usable: 0.0, all: 0.0 }; DISTANCES],
            wanted: NEAREST,
            forced: None,
            looked: None,
            returning: false,
            why: String::new(),
        }
    }

    fn step(
        &mut self,
        supplies: [Supply; DISTANCES],
        settings: &Settings,
        now: Moment,
    ) -> Option<Change> {
        let first = self.looked.is_none();
        let since = self.looked.replace(now).map_or(Duration::ZERO, |last| now.since(last));
        let from = self.shares;
        let caps = caps(&supplies, settings.overprovisioning);
        let wanted = nearest_first(&caps);
        self.supplies = supplies;
        let (before, after) = (thresholds(&self.wanted), thresholds(&wanted));
        self.wanted = wanted;
        if !first && (after.0 < before.0 - LEAST || after.1 < before.1 - LEAST) {
            self.forced = Some(now);
        }
        if first {
            // Nothing was served yet: there is nothing to come back slowly to.
            self.shares = wanted;
        } else if exceeds(&self.shares, &caps) {
            self.shares = clamped(&self.shares, &caps);
            self.forced = Some(now);
        } else if self.is_calm(settings, now) {
            self.approach(&wanted, since.div_duration_f32(settings.back));
        }
        self.explain(settings, now);
        self.change(from)
    }

    fn is_calm(&self, settings: &Settings, now: Moment) -> bool {
        self.forced.is_none_or(|forced| now.since(forced) >= settings.hold)
    }

    /// Moves what goes to the nearest, and to the nearest two, by at most `most` towards what is
    /// wanted. Both only grow here, since what is wanted is as near as can be carried.
    fn approach(&mut self, wanted: &[f32; DISTANCES], most: f32) {
        let (one, two) = thresholds(&self.shares);
        let (one_wanted, two_wanted) = thresholds(wanted);
        let one = one_wanted.min(one + most).max(one);
        let two = two_wanted.min(two + most).max(two).max(one);
        self.shares = [one, two - one, 1.0 - two];
    }

    fn word(&self) -> u32 {
        let (one, two) = thresholds(&self.shares);
        let whole = |share: f32| (share.clamp(0.0, 1.0) * f32::from(u16::MAX)).round() as u32;
        whole(two) << 16 | whole(one)
    }

    fn explain(&mut self, settings: &Settings, now: Moment) {
        let supply = |(distance, supply): (Distance, &Supply)| {
            format!("{} {:.1} of {:.1} usable", distance.as_str(), supply.usable, supply.all)
        };
        let there = Distance::ALL.into_iter().zip(&self.supplies);
        let there: Vec<_> = there.filter(|(_, it)| it.all > 0.0).map(supply).collect();
        let mut why = format!("{}, × {}", there.join(", "), settings.overprovisioning);
        if differ(&self.shares, &self.wanted) {
            let left = self
                .forced
                .map_or(Duration::ZERO, |forced| (forced + settings.hold).remaining(now));
            let then = Shares(&self.wanted);
            if left.is_zero() {
                why.push_str(&format!("; on the way back to {then}"));
            } else {
                why.push_str(&format!("; back to {then} when calm for {:.0?}", settings.hold));
            }
        }
        self.why = why;
    }

    /// What is worth telling: a forced move, the begin and the end of a return.
    fn change(&mut self, from: [f32; DISTANCES]) -> Option<Change> {
        if !differ(&from, &self.shares) {
            return None;
        }
        let returning = thresholds(&self.shares).0 > thresholds(&from).0;
        let arrived = !differ(&self.shares, &self.wanted);
        let told = returning && self.returning && !arrived;
        self.returning = returning && !arrived;
        let change = || Change { from, to: self.shares, cause: self.why.clone() };
        (!told).then(change)
    }
}

/// Shares as people read them: `own-zone 70 %, other-regions 30 %`.
#[derive(Clone, Copy, Debug)]
pub struct Shares<'a>(pub &'a [f32; DISTANCES]);

impl fmt::Display for Shares<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (distance, share) in Distance::ALL.into_iter().zip(self.0) {
            if *share > LEAST {
                write!(f, "{separator}{} {:.0} %", distance.as_str(), share * 100.0)?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

const fn at(word: u32, drawn: u16) -> Distance {
    match drawn {
        drawn if drawn < word as u16 => Distance::Zone,
        drawn if drawn < (word >> 16) as u16 => Distance::Region,
        _ => Distance::Elsewhere,
    }
}

fn thresholds([near, next, _]: &[f32; DISTANCES]) -> (f32, f32) {
    (*near, near + next)
}

/// The largest share that each distance may have. Where all together cannot carry everything,
/// each gets its part of the whole; where nobody can be asked, everything looks near first.
fn caps(supplies: &[Supply; DISTANCES], factor: f32) -> [f32; DISTANCES] {
    let can = supplies.map(|supply| match supply.all {
        all if all > 0.0 => (supply.usable / all * factor).clamp(0.0, 1.0),
        _ => 0.0,
    });
    let sum: f32 = can.iter().sum();
    if sum >= 1.0 {
        return can;
    }
    if sum > 0.0 {
        return can.map(|can| can / sum);
    }
    let nearest = supplies.iter().position(|supply| supply.all > 0.0).unwrap_or_default();
    std::array::from_fn(|at| if at == nearest { 1.0 } else { 0.0 })
}

/// Everything as near as it can be carried.
fn nearest_first(caps: &[f32; DISTANCES]) -> [f32; DISTANCES] {
    clamped(&[0.0; DISTANCES], caps)
}

/// The shares within what can be carried; what is over goes to the nearest that has room.
fn clamped(shares: &[f32; DISTANCES], caps: &[f32; DISTANCES]) -> [f32; DISTANCES] {
    let mut kept: [f32; DISTANCES] = std::array::from_fn(|at| shares[at].min(caps[at]));
    let mut over = 1.0 - kept.iter().sum::<f32>();
    for (share, cap) in kept.iter_mut().zip(caps) {
        let more = over.min(cap - *share).max(0.0);
        *share += more;
        over -= more;
    }
    kept
}

fn exceeds(shares: &[f32; DISTANCES], caps: &[f32; DISTANCES]) -> bool {
    shares.iter().zip(caps).any(|(share, cap)| *share > cap + LEAST)
}

fn differ(one: &[f32; DISTANCES], other: &[f32; DISTANCES]) -> bool {
    one.iter().zip(other).any(|(one, other)| (one - other).abs() > LEAST)
}

#[cfg(test)]
mod tests;
