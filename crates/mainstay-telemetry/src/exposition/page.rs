//! A page of samples, ready to be encoded.
//!
//! Samples are kept by their labels: two things of one name (the same pool twice in a chain) add
//! up to one series, since a page with a series twice is refused as a whole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::registry::Unit;

use super::family::Family;

/// All samples of a scrape.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<Samples>);

/// The samples of one metric.
#[derive(Debug)]
pub(super) struct Samples {
    family: &'static Family,
    by_labels: BTreeMap<Vec<String>, Value>,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Gauge(f64),
    Histogram(Histogram),
    Info,
}

/// A histogram as it is shown: upper bounds in seconds, counts not cumulated.
#[derive(Debug)]
pub(super) struct Histogram {
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) sum: Duration,
}

struct Labels<'a> {
    names: &'a [&'a str],
    values: &'a [String],
}

impl Page {
    /// Room for the samples of a metric.
    pub(super) fn samples(&mut self, family: &'static Family) -> &mut Samples {
        self.0.push(Samples { family, by_labels: BTreeMap::new() });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

impl Samples {
    pub(super) fn count(&mut self, labels: &[&str], count: u64) {
        self.add(labels, Value::Count(count));
    }

    pub(super) fn gauge(&mut self, labels: &[&str], value: f64) {
        self.add(labels, Value::Gauge(value));
    }

    pub(super) fn flag(&mut self, labels: &[&str], set: bool) {
        self.gauge(labels, if set { 1.0 } else { 0.0 });
    }

    pub(super) fn info(&mut self, labels: &[&str]) {
        self.add(labels, Value::Info);
    }

    pub(super) fn histogram(&mut self, labels: &[&str], histogram: Histogram) {
        self.add(labels, Value::Histogram(histogram));
    }

    fn add(&mut self, labels: &[&str], value: Value) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.stem);
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        match self.by_labels.entry(labels) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(mut entry) => entry.get_mut().merge(value),
        }
    }

    fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Family { stem, kind, seconds, labels, help } = self.family;
        let unit = seconds.then_some(Unit::Seconds);
        let mut metric = page.encode_descriptor(stem, help, unit.as_ref(), *kind)?;
        for (values, value) in &self.by_labels {
            let labels = Labels { names: labels, values };
            match value {
                Value::Info => metric.encode_info(&labels)?,
                _ if values.is_empty() => value.encode(&mut metric)?,
                _ => value.encode(&mut metric.encode_family(&labels)?)?,
            }
        }
        Ok(())
    }
}

impl Histogram {
    fn add(&mut self, other: &Self) {
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.sum += other.sum;
    }
}

impl Value {
    /// Counts add up; of two states the later one stands.
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Count(total), Self::Count(count)) => *total += count,
            (Self::Histogram(total), Self::Histogram(other)) => total.add(&other),
            (value, other) => *value = other,
        }
    }

    fn encode(&self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => metric.encode_counter::<NoLabelSet, _, u64>(count, None),
            Self::Gauge(value) => metric.encode_gauge(value),
            Self::Histogram(Histogram { buckets, sum }) => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                metric.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, buckets, None)
            }
            Self::Info => Ok(()),
        }
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.names.iter().zip(self.values) {
            (*name, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

impl Collector for Page {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|samples| samples.encode(&mut page))
    }
}
