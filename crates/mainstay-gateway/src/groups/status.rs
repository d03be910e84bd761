//! What is shown of a group.

use mainstay_admin::status::{GroupStatus, MemberStatus};
use mainstay_control::group::{self, Active, Now, Sight};

use super::{Groups, Pool};

impl Groups {
    /// The group of a pool; `None` if no model uses the pool.
    pub(crate) fn status(&self, pool: &str) -> Option<GroupStatus> {
        let now = self.now();
        let mut guard = self.lock();
        let pool = guard.iter_mut().find(|known| *known.name == *pool)?;
        let sights = self.sights(pool, now.moment);
        Some(status(pool, &sights, now))
    }
}

fn status(pool: &Pool, sights: &[Sight], now: Now) -> GroupStatus {
    let group = &pool.group;
    let tolerance = group::tolerance(group, sights);
    let (least, most) = match group.rule().active {
        Active::All => (group.wanted(), group.wanted()),
        Active::Between(range) => (range.min.into(), range.max.into()),
    };
    GroupStatus {
        mode: group.rule().mode.as_str().to_owned(),
        failback: group.rule().failback.mode.as_str().to_owned(),
        wanted: group.wanted(),
        wanted_least: least,
        wanted_most: most,
        in_use: group.in_use(),
        failures: tolerance.failures,
        later: tolerance.later,
        load: tolerance.load,
        capacity: tolerance.capacity,
        capacity_measured: tolerance.measured,
        proposed: group.proposed().map(|proposed| {
            let name = |at: usize| &*pool.members[at].name;
            let (kind, from, to) = (proposed.kind.as_str(), name(proposed.from), name(proposed.to));
            format!("{kind} from {from} to {to}; waits for `mainstay {kind} {}`", pool.name)
        }),
        members: (0..sights.len()).map(|at| member(pool, at, sights, now)).collect(),
    }
}

fn member(pool: &Pool, at: usize, sights: &[Sight], now: Now) -> MemberStatus {
    let (decided, member) = (&pool.group.members()[at], &pool.members[at]);
    let pending = pool.group.pending(at, sights, now).map(|wait| wait.to_string());
    MemberStatus {
        endpoint: member.name.to_string(),
        standing: decided.standing().as_str().to_owned(),
        why: decided.why().to_owned(),
        standby: member.standby.as_str().to_owned(),
        returning: decided.is_returning(),
        share: f64::from(decided.share().get()),
        failback_waits: pending,
        preparation: Some(member.stage.clone()).filter(|stage| !stage.is_empty()),
    }
}
