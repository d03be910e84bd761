//! What a server is to do: rules, each with the requests that it holds for.
//!
//! The first rule that matches a request decides; a request that none matches is answered well.
//! Nothing here reads a clock or draws from ambient chance: a rule knows the time since the script
//! was played and how many requests it was asked about, and shares are drawn from the seed and that
//! number. So the same requests in the same order meet the same faults.
//!
//! ```yaml
//! seed: 7
//! latency: {least: 2ms, most: 9ms}
//! capacity: {workers: 2, queue: 64}
//! rules:
//!   - {behave: 503, path: infer, share: 0.3, retry-after: 2}
//!   - {behave: black-hole, model: fraud, after: 2s, for: 5s}
//! ```

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::wire::Kind;
use crate::{Behaviour, Error};

/// Between two dribbled bytes, where a rule does not say: slow enough that no answer of a hundred
/// bytes comes within seconds, fast enough that no idle limit of seconds sees it.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests that may wait for a worker, where the script does not say.
const QUEUE: usize = 1024;

/// A whole script.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// Where chance comes from. Default: 0.
    pub seed: u64,
    /// How long a good request takes. Default: nothing.
    pub latency: Latency,
    /// How many requests run at a time. Default: all.
    pub capacity: Option<Capacity>,
    /// What goes wrong; the first rule that matches decides. Default: nothing.
    pub rules: Vec<Rule>,
}

/// A fixed number of workers with a queue before them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Capacity {
    /// Requests at a time.
    pub workers: usize,
    /// Requests that may wait; one more gets 503. Default: 1024.
    #[serde(default = "queue")]
    pub queue: usize,
    /// Whether probes wait in the same queue, so that a saturated server misses them. Default: yes.
    #[serde(default = "yes")]
    pub probes: bool,
}

/// How long the model runs.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Latency {
    /// Always so long.
    Fixed(#[serde(deserialize_with = "time")] Duration),
    /// Anything between two, each as likely.
    Uniform {
        /// The shortest.
        #[serde(deserialize_with = "time")]
        least: Duration,
        /// The longest.
        #[serde(deserialize_with = "time")]
        most: Duration,
    },
    /// Log-normal, as latencies mostly are.
    LogNormal {
        /// Half are shorter.
        #[serde(deserialize_with = "time")]
        median: Duration,
        /// Standard deviation of the logarithm; 0.5 makes a mild tail, 1.5 a heavy one.
        sigma: f64,
    },
}

/// Which paths a rule is about.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Paths {
    /// All of them.
    #[default]
    Any,
    /// Liveness and readiness, of the server and of models.
    Probe,
    /// All but probes.
    Infer,
}

/// One way to misbehave, and when.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// What is done.
    pub behave: Behaviour,
    /// Only on these paths. Default: any.
    #[serde(default)]
    pub path: Paths,
    /// Only for this model; the server's own readiness has none. Default: any.
    #[serde(default)]
    pub model: Option<String>,
    /// The share of those requests, by the seed. Default: 1.
    #[serde(default = "one")]
    pub share: f64,
    /// From this one of those requests on, counted from 0. Default: 0.
    #[serde(default)]
    pub from: u64,
    /// Before this one of those requests. Default: no end.
    #[serde(default)]
    pub until: Option<u64>,
    /// From this time after the script was played. Default: at once.
    #[serde(default, deserialize_with = "time")]
    pub after: Duration,
    /// For so long. Default: until another script is played.
    #[serde(default, rename = "for", deserialize_with = "some_time")]
    pub lasts: Option<Duration>,
    /// The times repeat with this period, for a server that flaps. Default: they do not.
    #[serde(default, deserialize_with = "some_time")]
    pub every: Option<Duration>,
    /// How long the model runs, instead of the script's.
    #[serde(default)]
    pub latency: Option<Latency>,
    /// Between two dribbled bytes. Default: 100 ms.
    #[serde(default = "pause", deserialize_with = "time")]
    pub pause: Duration,
    /// Events with words before a stream goes wrong. Default: 0.
    #[serde(default)]
    pub events: u64,
    /// The code of an error of the OpenAI API. Default: none.
    #[serde(default)]
    pub code: Option<String>,
    /// Seconds for a Retry-After header beside a status. Default: no header.
    #[serde(default)]
    pub retry_after: Option<u64>,
    /// Whether the model has run. Default: as [`Behaviour::executes`] says.
    #[serde(default)]
    pub executed: Option<bool>,
}

impl Default for Latency {
    fn default() -> Self {
        Self::Fixed(Duration::ZERO)
    }
}

impl Latency {
    /// One draw.
    #[must_use]
    pub fn draw(&self, rng: &mut fastrand::Rng) -> Duration {
        match *self {
            Self::Fixed(time) => time,
            Self::Uniform { least, most } => least + most.saturating_sub(least).mul_f64(rng.f64()),
            Self::LogNormal { median, sigma } => {
                // Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
                let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
                // Ten times e: no draw may outlast every test.
                median.mul_f64((sigma * normal).clamp(-10.0, 10.0).exp())
            }
        }
    }
}

impl Rule {
    /// A rule without conditions.
    #[must_use]
    pub fn always(behave: Behaviour) -> Self {
        Self {
            behave,
            path: Paths::Any,
            model: None,
            share: 1.0,
            from: 0,
            until: None,
            after: Duration::ZERO,
            lasts: None,
            every: None,
            latency: None,
            pause: PAUSE,
            events: 0,
            code: None,
            retry_after: None,
            executed: None,
        }
    }

    /// Whether the rule is about such requests at this time, whatever their number.
    pub(crate) fn concerns(&self, kind: Kind, model: Option<&str>, since: Duration) -> bool {
        let path = match self.path {
            Paths::Any => true,
            Paths::Probe => kind == Kind::Probe,
            Paths::Infer => kind != Kind::Probe,
        };
        let model = self.model.as_deref().is_none_or(|wanted| model == Some(wanted));
        path && model && self.phase(since).0
    }

    /// Whether this one of the requests that it concerns is meant.
    pub(crate) fn means(&self, number: u64, rng: &mut fastrand::Rng) -> bool {
        let in_range = number >= self.from && self.until.is_none_or(|until| number < until);
        in_range && (self.share >= 1.0 || rng.f64() < self.share)
    }

    /// Whether the rule holds now, and how long until that changes, if it does.
    pub(crate) fn phase(&self, since: Duration) -> (bool, Option<Duration>) {
        let into = match self.every {
            Some(every) if !every.is_zero() => {
                Duration::from_nanos((since.as_nanos() % every.as_nanos()) as u64)
            }
            _ => since,
        };
        let again = self.every.map(|every| every.saturating_sub(into) + self.after);
        if into < self.after {
            return (false, Some(self.after - into));
        }
        match self.lasts {
            Some(lasts) if into < self.after + lasts => (true, Some(self.after + lasts - into)),
            Some(_) => (false, again),
            None => (true, None),
        }
    }
}

impl FromStr for Script {
    type Err = Error;

    /// From YAML, which contains JSON.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| Error::Script(error.to_string()))
    }
}

fn queue() -> usize {
    QUEUE
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn pause() -> Duration {
    PAUSE
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        format!("rules: [{{{text}}}]").parse::<Script>().unwrap().rules.remove(0)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_script_may_be_empty_json_or_yaml() {
        assert!("".parse::<Script>().unwrap().rules.is_empty());
        assert!("{}".parse::<Script>().unwrap().rules.is_empty());
        let json = r#"{"latency": "5ms", "rules": [{"behave": 529, "for": "2s"}]}"#;
        let script: Script = json.parse().unwrap();
        assert_eq!(script.rules[0].behave, Behaviour::Status(529));
        assert_eq!(script.rules[0].lasts, Some(ms(2000)));
    }

    #[test]
    fn mistakes_are_named() {
        let error = "rules: [{behave: sleepy}]".parse::<Script>().unwrap_err().to_string();
        assert!(error.contains("sleepy") && error.contains("black-hole"), "{error}");
        assert!("rules: [{behave: ok, wen: 3s}]".parse::<Script>().is_err());
    }

    #[test]
    fn paths_and_models_are_told_apart() {
        let rule = rule("behave: 500, path: infer, model: b");
        assert!(rule.concerns(Kind::Infer, Some("b"), ms(0)));
        assert!(!rule.concerns(Kind::Infer, Some("a"), ms(0)));
        assert!(!rule.concerns(Kind::Probe, Some("b"), ms(0)));
    }

    #[test]
    fn times_begin_end_and_repeat() {
        let rule = rule("behave: reset, after: 1s, for: 2s, every: 5s");
        assert_eq!(rule.phase(ms(0)), (false, Some(ms(1000))));
        assert_eq!(rule.phase(ms(1500)), (true, Some(ms(1500))));
        assert_eq!(rule.phase(ms(3500)), (false, Some(ms(2500))));
        assert_eq!(rule.phase(ms(6500)), (true, Some(ms(1500))));
    }

    #[test]
    fn numbers_and_shares_choose_requests() {
        let mut rng = fastrand::Rng::with_seed(1);
        let some = rule("behave: reset, from: 2, until: 4");
        let met: Vec<_> = (0..6).filter(|n| some.means(*n, &mut rng)).collect();
        assert_eq!(met, [2, 3]);
        let third = rule("behave: reset, share: 0.3");
        let met = (0..1000).filter(|n| third.means(*n, &mut rng)).count();
        assert!((250..350).contains(&met), "{met}");
    }

    #[test]
    fn a_lognormal_latency_has_its_median() {
        let script: Script = "latency: {median: 10ms, sigma: 0.5}".parse().unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut drawn: Vec<_> = (0..1001).map(|_| script.latency.draw(&mut rng)).collect();
        drawn.sort();
        assert!((ms(9)..ms(11)).contains(&drawn[500]), "{:?}", drawn[500]);
    }
}
