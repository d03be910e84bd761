//! Failover and failback: posts of a pool that operators move.
//!
//! The group decides and says what follows. A failover is kept, and made again after a restart.

use mainstay_admin::{Act, Carried, Instruction, Met, OrderError};
use mainstay_control::forecast::Forecast;
use mainstay_control::group;
use mainstay_control::orders::{Book, Scope, Verb};

use super::Orders;
use crate::groups::{OrderRefused, Rehearsed};

/// What it says to the group of a pool; `None` if it moves no post.
pub(super) fn of(act: &Act) -> Option<group::Order> {
    match act {
        Act::Failover { to } => Some(failover(to.as_deref())),
        Act::Failback => Some(group::Order::Failback { endpoint: None }),
        Act::Drain | Act::Undrain | Act::Maintenance | Act::EndMaintenance | Act::Weight(_) => None,
    }
}

fn failover(to: Option<&str>) -> group::Order {
    group::Order::Failover { from: None, to: to.map(Into::into) }
}

impl Orders {
    /// Moves posts of a pool, or says what would be moved. The caller writes alone.
    pub(super) fn switch(
        &self,
        instruction: &Instruction,
        pool: &str,
        order: &group::Order,
    ) -> Result<Carried, OrderError> {
        let reason = &instruction.reason;
        let pointless = |refused: OrderRefused| OrderError::Pointless(refused.to_string());
        let rehearsed = self.groups.rehearse(pool, order, reason).map_err(pointless)?;
        let forecast = Forecast {
            change: format!("{} {pool}", instruction.act.as_str()),
            summary: rehearsed.iter().map(ToString::to_string).collect(),
            ..Forecast::default()
        };
        let endpoints = rehearsed.into_iter().map(|one| self.moved(pool, one)).collect();
        if !instruction.dry_run {
            let book = self.book.load();
            let mut next = Book::clone(&book);
            self.write_down(instruction, &mut next)?;
            self.keep.save(&next)?;
            self.groups.order(pool, order, reason).map_err(pointless)?;
            self.book.store(next.into());
            self.tell_of(instruction, &book);
        }
        Ok(Carried { done: !instruction.dry_run, endpoints, refused: Vec::new(), forecast })
    }

    fn moved(&self, pool: &str, one: Rehearsed) -> Met {
        let in_flight = self.in_flight(pool, &one.endpoint);
        let Rehearsed { endpoint, from, to, .. } = one;
        Met { pool: pool.to_owned(), endpoint, from, to, in_flight }
    }

    /// Failovers that held before a restart.
    pub(super) fn switch_again(&self) {
        for kept in self.book.load().iter() {
            let (Scope::Pool(pool), Verb::Failover { to }) = (&kept.scope, &kept.verb) else {
                continue;
            };
            if let Err(why) = self.groups.order(pool, &failover(to.as_deref()), &kept.reason) {
                tracing::info!(pool, %why, "a failover from before the restart has nothing to do");
            }
        }
    }
}
