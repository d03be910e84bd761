//! One look at one pool: who is an outlier, and whom the others can spare.

use std::fmt;
use std::time::Duration;

use super::{Counts, Histogram, Settings};

/// From so many latencies on, half of them decide; of fewer, three quarters must agree.
const MANY: u32 = 50;

/// Where a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Takes its full share.
    Serving,
    /// On its way back: takes a part of its share.
    Returning,
    /// Out by ejection, or on probation after it.
    Ejected,
    /// Out for another reason: dead, stalled, loading, draining, or its breaker is open.
    Out,
}

/// One target as an evaluation sees it.
#[derive(Clone, Debug)]
pub struct View {
    /// Where it stands.
    pub place: Place,
    /// Blamed failures in a row.
    pub streak: u32,
    /// The attempts of the last ten seconds.
    pub recent: Counts,
    /// The latest latencies; fewer than the rule's minimum are too few to judge by.
    pub latest: Histogram,
    /// Its usual median, once it is known.
    pub usual: Option<Duration>,
    /// Attempts that end there in a second.
    pub load: f64,
    /// Answers in a second that it is taken to be able to give.
    pub capacity: f64,
    /// Whether it is full or queues without end.
    pub overloaded: bool,
}

/// Why a target is an outlier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// So many blamed failures in a row.
    Consecutive {
        /// Their number.
        failures: u32,
    },
    /// Its success rate is far below the others'.
    SuccessRate {
        /// Its own, from 0.0 to 1.0.
        rate: f64,
        /// Of so many requests.
        requests: u32,
        /// The mean of the others.
        mean: f64,
        /// Below this it was an outlier.
        limit: f64,
    },
    /// It is much slower than its peers and than it was.
    Latency {
        /// Its median.
        median: Duration,
        /// Of so many answers.
        answers: u32,
        /// The median of its peers' medians.
        peers: Duration,
        /// Its usual median.
        usual: Duration,
    },
}

/// Why an outlier is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nobody else takes traffic.
    Last,
    /// As many are ejected as may be.
    Share,
    /// The others could not carry the load.
    Load {
        /// Attempts in a second.
        load: u32,
        /// What the others are taken to bear.
        others: u32,
    },
}

/// What an evaluation wants done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// Take it out.
    Eject {
        /// Its position.
        at: usize,
        /// Why.
        cause: Cause,
    },
    /// It is an outlier, and is kept.
    Keep {
        /// Its position.
        at: usize,
        /// What is wrong with it.
        cause: Cause,
        /// Why it stays.
        kept: Kept,
    },
    /// Bring it back before its time: those who are left do not carry the load.
    Recall {
        /// Its position.
        at: usize,
        /// Targets that are overloaded.
        overloaded: u32,
        /// Of so many that serve.
        serving: u32,
    },
}

/// What to do about one pool's targets, the clearest case first.
#[must_use]
pub fn evaluate(settings: &Settings, views: &[View]) -> Vec<Command> {
    if let Some(recalls) = recalls(views) {
        return recalls;
    }
    let mut outliers: Vec<_> =
        (0..views.len()).filter_map(|at| Some((at, outlier(settings, views, at)?))).collect();
    outliers.sort_by(|(_, one), (_, other)| other.weight().total_cmp(&one.weight()));
    let mut places: Vec<_> = views.iter().map(|view| view.place).collect();
    let mut commands = Vec::with_capacity(outliers.len());
    for (at, cause) in outliers {
        match spare(settings, views, &places, at) {
            Ok(()) => {
                places[at] = Place::Ejected;
                commands.push(Command::Eject { at, cause });
            }
            Err(kept) => commands.push(Command::Keep { at, cause, kept }),
        }
    }
    commands
}

/// Everybody who is ejected, if half of those who are left are overloaded.
fn recalls(views: &[View]) -> Option<Vec<Command>> {
    let serving = views.iter().filter(|view| view.place == Place::Serving);
    let (mut count, mut overloaded) = (0u32, 0u32);
    for view in serving {
        count += 1;
        overloaded += u32::from(view.overloaded);
    }
    if overloaded == 0 || overloaded * 2 < count {
        return None;
    }
    let ejected = views.iter().enumerate().filter(|(_, view)| view.place == Place::Ejected);
    let recalls: Vec<_> =
        ejected.map(|(at, _)| Command::Recall { at, overloaded, serving: count }).collect();
    (!recalls.is_empty()).then_some(recalls)
}

/// Whether the others can do without it.
fn spare(settings: &Settings, views: &[View], places: &[Place], at: usize) -> Result<(), Kept> {
    let others = || (0..views.len()).filter(move |other| *other != at);
    if !others().any(|other| places[other] == Place::Serving) {
        return Err(Kept::Last);
    }
    let ejected = places.iter().filter(|place| **place == Place::Ejected).count();
    let share = f64::from(settings.max_ejected.get());
    let most = ((views.len() as f64 * share + 1e-3) as usize).max(usize::from(share > 0.0));
    if ejected >= most {
        return Err(Kept::Share);
    }
    let load: f64 = views.iter().map(|view| view.load).sum();
    let capacity: f64 = others()
        .filter(|other| places[*other] == Place::Serving)
        .map(|other| views[other].capacity)
        .sum();
    if capacity < load {
        return Err(Kept::Load { load: load.ceil() as u32, others: capacity as u32 });
    }
    Ok(())
}

/// What is wrong with a target that takes traffic, if anything.
fn outlier(settings: &Settings, views: &[View], at: usize) -> Option<Cause> {
    let view = &views[at];
    if !matches!(view.place, Place::Serving | Place::Returning) {
        return None;
    }
    consecutive(settings, view)
        .or_else(|| success_rate(settings, views, at))
        .or_else(|| latency(settings, views, at))
}

fn consecutive(settings: &Settings, view: &View) -> Option<Cause> {
    let limit = settings.consecutive?;
    let failures = view.streak;
    (failures >= limit.max(1)).then_some(Cause::Consecutive { failures })
}

fn success_rate(settings: &Settings, views: &[View], at: usize) -> Option<Cause> {
    let rule = settings.success_rate?;
    let own = rate(&views[at], rule.minimum_requests)?;
    let others: Vec<_> = views
        .iter()
        .enumerate()
        .filter(|(other, view)| *other != at && view.place != Place::Ejected)
        .filter_map(|(_, view)| rate(view, rule.minimum_requests))
        .collect();
    if others.len() + 1 < (rule.minimum_hosts as usize).max(2) {
        return None;
    }
    let count = others.len() as f64;
    let mean = others.iter().sum::<f64>() / count;
    let variance = others.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    let requests = views[at].recent.judged();
    // What chance does to so few requests of a target that is no worse than the others.
    let chance = mean * (1.0 - mean) / f64::from(requests);
    let below = f64::from(rule.deviations) * (variance + chance).sqrt();
    let limit = mean - below.max(rule.margin.get().into());
    (own < limit).then_some(Cause::SuccessRate { rate: own, requests, mean, limit })
}

fn rate(view: &View, minimum: u32) -> Option<f64> {
    let judged = view.recent.judged();
    (judged >= minimum.max(1)).then(|| f64::from(view.recent.answered) / f64::from(judged))
}

fn latency(settings: &Settings, views: &[View], at: usize) -> Option<Cause> {
    let rule = settings.latency?;
    let own = &views[at].latest;
    let answers = own.count();
    if answers < rule.minimum_requests.max(1) {
        return None;
    }
    let usual = views[at].usual?;
    let peers = peers(views, at, rule.minimum_requests)?;
    let limit = times(peers.max(usual), rule.factor).max(rule.floor);
    let deciding = own.quantile(if answers < MANY { 0.25 } else { 0.5 })?;
    let median = own.median()?;
    (deciding > limit).then_some(Cause::Latency { median, answers, peers, usual })
}

/// The median of the medians of all others who take traffic and have answered enough.
pub(super) fn peers(views: &[View], at: usize, minimum: u32) -> Option<Duration> {
    let mut medians: Vec<_> = views
        .iter()
        .enumerate()
        .filter(|(other, view)| *other != at && view.place == Place::Serving)
        .filter(|(_, view)| view.latest.count() >= minimum.max(1))
        .filter_map(|(_, view)| view.latest.median())
        .collect();
    medians.sort_unstable();
    let middle = medians.len() / 2;
    match medians.len() {
        0 => None,
        count if count % 2 == 1 => Some(medians[middle]),
        _ => Some((medians[middle - 1] + medians[middle]) / 2),
    }
}

fn times(duration: Duration, factor: f32) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * f64::from(factor.max(1.0)))
        .unwrap_or(Duration::MAX)
}

impl Cause {
    /// The kind of cause in kebab case, as metrics show it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Consecutive { .. } => "consecutive",
            Self::SuccessRate { .. } => "success-rate",
            Self::Latency { .. } => "latency",
        }
    }

    /// Every kind, in the order of their numbers.
    pub const KINDS: [&'static str; 3] = ["consecutive", "success-rate", "latency"];

    /// The number of its kind.
    #[must_use]
    pub const fn kind(&self) -> usize {
        match self {
            Self::Consecutive { .. } => 0,
            Self::SuccessRate { .. } => 1,
            Self::Latency { .. } => 2,
        }
    }

    /// How clear the case is: rows before rates before times, and the worse before the better.
    fn weight(&self) -> f64 {
        match self {
            Self::Consecutive { failures } => 3e6 + f64::from(*failures),
            Self::SuccessRate { rate, .. } => 2e6 + (1.0 - rate),
            Self::Latency { median, peers, .. } => {
                (median.as_secs_f64() / peers.as_secs_f64().max(1e-6)).min(1e6)
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consecutive { failures } => write!(f, "{failures} failures in a row"),
            Self::SuccessRate { rate, requests, mean, limit } => write!(
                f,
                "success rate {:.1} % of {requests} requests, the others {:.1} %, limit {:.1} %",
                rate * 100.0,
                mean * 100.0,
                limit * 100.0
            ),
            Self::Latency { median, answers, peers, usual } => write!(
                f,
                "median {:.0} ms of {answers} answers, its peers {:.0} ms, usually {:.0} ms",
                millis(*median),
                millis(*peers),
                millis(*usual)
            ),
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("nobody else takes traffic"),
            Self::Share => f.write_str("as many are ejected as may be"),
            Self::Load { load, others } => {
                write!(f, "the others bear {others} requests/s of the {load} that come")
            }
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
