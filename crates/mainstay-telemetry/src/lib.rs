//! Clock, metrics, decision records, events and logs.
//!
//! The data path hands over one [`Record`] for each request ([`Worker::finish`]); everything
//! that a scrape, a status page or an operator reads is summed up from there when it is asked
//! for. Workers write to memory of their own with plain atomic stores, so that accounting costs
//! a request neither a lock nor an allocation, and one worker never waits for another.

pub mod clock;
mod counters;
mod error;
pub mod event;
pub mod exposition;
mod histogram;
pub mod log;
mod names;
pub mod record;
mod ring;
mod tally;
mod telemetry;

pub use clock::Clock;
pub use error::Error;
pub use event::{Event, EventKind, StampedEvent};
pub use exposition::{
    CallerGauges, Gauges, GroupGauges, LastGoodGauges, LocalityGauge, ModelGauges, ProcessGauges,
    RehearsalGauges, SourceGauges, TargetGauges, TcpGauges,
};
pub use names::{Catalog, Names, Shape, Shown, TargetName};
pub use record::{Record, RequestId};
pub use telemetry::{ModelTotals, Settings, Telemetry, Worker};
