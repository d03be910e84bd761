//! What a service manager is told: sd_notify(3), where it asked for that by `NOTIFY_SOCKET`.
//!
//! Only the main process speaks (`NotifyAccess=main` is enough): when a successor is ready, the one
//! before names it as the main process, and that one speaks from then on. That something cannot be
//! told is no reason to stop.

use std::time::Duration;

use mainstay_policy::Moment;
use sd_notify::NotifyState;

use crate::shared::Shared;

/// Signs of life are sent so much more often than they are asked for.
const OFTEN: u32 = 3;

/// It serves, or goes on serving after a reload; `configuration` is the one that holds.
pub(crate) fn serving(configuration: &str) {
    let status = format!("serving configuration {configuration}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// It reads its configuration again: [`serving`] follows, whatever comes of it. The time is that of
/// the system's monotonic clock, by which systemd tells this reload from an earlier one.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no monotonic clock"),
    }
}

/// Another process serves in its place.
pub(crate) fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// It drains and ends.
pub(crate) fn stopping(cause: &str) {
    let status = format!("draining: {cause}");
    tell(&[NotifyState::Stopping, NotifyState::Status(&status)]);
}

/// Signs of life for as long as it is polled, where they are asked for (`WatchdogSec=`): while the
/// control loop goes round, and a worker does. One that stands still for good is started anew by
/// whoever asks.
pub(crate) async fn watchdog(shared: &Shared) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval((limit / OFTEN).max(Duration::from_millis(1)));
    loop {
        tick.tick().await;
        if has_life(shared, shared.clock.now()) {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn has_life(shared: &Shared, now: Moment) -> bool {
    shared.pulses.iter().any(|pulse| pulse.is_alive(now))
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
