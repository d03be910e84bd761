//! `mainstay drain`, `undrain`, `maintenance`, `weight`, `failover` and `failback`.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Endpoint, Order, Whom, endpoint};

/// Arguments of `mainstay drain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mainstay drain fraud-v2/10.0.0.1:8000 --reason 'new kernel' --wait 30s\n  \
    mainstay drain --zone eu-west-1a --dry-run\n  \
    mainstay drain --zone eu-west-1a --for 2h --reason 'work on the power supply'")]
pub(crate) struct Drain {
    #[command(flatten)]
    whom: Whom,
    /// End the order by itself after this time; until it is taken back otherwise.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<String>,
    /// Wait for what is in flight, for so long at most.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    order: Order,
}

/// Arguments of `mainstay undrain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    mainstay undrain fraud-v2/10.0.0.1:8000 --reason 'kernel is new'")]
pub(crate) struct Undrain {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    order: Order,
}

/// Arguments of `mainstay maintenance`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mainstay maintenance fraud-v2/10.0.0.1:8000 --for 30m --reason 'replacing a disk'\n  \
    mainstay maintenance fraud-v2/10.0.0.1:8000 --end --reason 'disk replaced'")]
pub(crate) struct Maintenance {
    /// The endpoint, as the status names it.
    #[arg(value_name = "POOL/ENDPOINT", value_parser = endpoint)]
    endpoint: Endpoint,
    /// End it.
    #[arg(long, conflicts_with = "lasts")]
    end: bool,
    /// End the order by itself after this time; until it is taken back otherwise.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<String>,
    /// Wait for what is in flight, for so long at most.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    order: Order,
}

/// Arguments of `mainstay weight`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mainstay weight fraud-v2/10.0.0.1:8000 0.5 --for 1h --reason 'looks slow today'\n  \
    mainstay weight fraud-v2/10.0.0.1:8000 1 --reason 'it was the switch'")]
pub(crate) struct Weight {
    /// The endpoint, as the status names it.
    #[arg(value_name = "POOL/ENDPOINT", value_parser = endpoint)]
    endpoint: Endpoint,
    /// What its weight is multiplied by, from 0.01 to 100; 1 is as configured.
    factor: f32,
    /// End the order by itself after this time; until it is taken back otherwise.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<String>,
    #[command(flatten)]
    order: Order,
}

/// Arguments of `mainstay failover`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mainstay failover fraud-v2 --dry-run\n  \
    mainstay failover fraud-v2 --to 10.1.0.1:8000 --reason 'rack 3 goes down at noon'")]
pub(crate) struct Failover {
    /// The pool's name.
    pool: String,
    /// The endpoint that comes into use; the one that the pool's rule prefers otherwise.
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<String>,
    #[command(flatten)]
    order: Order,
}

/// Arguments of `mainstay failback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mainstay failback fraud-v2 --reason 'rack 3 is back'")]
pub(crate) struct Failback {
    /// The pool's name, or one endpoint of it.
    #[arg(value_name = "POOL[/ENDPOINT]")]
    whom: String,
    #[command(flatten)]
    order: Order,
}

impl Drain {
    /// Drains, and waits if that is wanted.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut body = json!({"verb": "drain", "for": self.lasts});
        self.whom.add_to(&mut body);
        self.order.run(body, self.wait)
    }
}

impl Undrain {
    /// Ends a drain.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut body = json!({"verb": "undrain"});
        self.whom.add_to(&mut body);
        self.order.run(body, None)
    }
}

impl Maintenance {
    /// Begins or ends maintenance.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let verb = if self.end { "end-maintenance" } else { "maintenance" };
        let body = about(&self.endpoint, json!({"verb": verb, "for": self.lasts}));
        self.order.run(body, self.wait)
    }
}

impl Weight {
    /// Changes a weight.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let body = json!({"verb": "weight", "factor": self.factor, "for": self.lasts});
        self.order.run(about(&self.endpoint, body), None)
    }
}

impl Failover {
    /// Puts a standby into use.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let body = json!({"verb": "failover", "pool": self.pool, "to": self.to});
        self.order.run(body, None)
    }
}

impl Failback {
    /// Gives traffic back.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let body = match self.whom.split_once('/') {
            Some((pool, endpoint)) => {
                json!({"verb": "failback", "pool": pool, "endpoint": endpoint})
            }
            None => json!({"verb": "failback", "pool": self.whom}),
        };
        self.order.run(body, None)
    }
}

fn about(endpoint: &Endpoint, mut body: Value) -> Value {
    body["pool"] = json!(endpoint.pool);
    body["endpoint"] = json!(endpoint.endpoint);
    body
}
