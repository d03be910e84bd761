//! Who of each pool is in use, what it could lose, and what waits.

use std::fmt::Write;

use mainstay_admin::status::{GroupStatus, MemberStatus, PoolStatus};

/// The lines of a pool; nothing where no model uses it.
pub(super) fn notes(pool: &PoolStatus) -> String {
    let Some(group) = &pool.group else { return String::new() };
    let mut notes = format!("\n\n{}: {}", pool.name, summary(group));
    if let Some(proposed) = &group.proposed {
        // Writing to a string does not fail.
        let _ = write!(notes, "\n  proposed: {proposed}");
    }
    for member in group.members.iter().filter(|member| is_notable(member)) {
        let _ = write!(notes, "\n  {}", line(member));
    }
    notes
}

fn summary(group: &GroupStatus) -> String {
    let failures = match group.failures {
        0 => "no other may fail now".to_owned(),
        1 => "one may fail now".to_owned(),
        more => format!("{more} may fail now"),
    };
    let later = match group.later {
        0 => String::new(),
        1 => ", one more standby takes time to be ready".to_owned(),
        more => format!(", {more} more standbys take time to be ready"),
    };
    let load = group.capacity.map_or_else(String::new, |capacity| {
        let how = if group.capacity_measured { "measured" } else { "estimated" };
        format!(" ({:.0} requests/s of about {capacity:.0}, {how})", group.load)
    });
    format!("{} of {} in use{load}; {failures}{later}", group.in_use, group.wanted)
}

/// Whoever is in use as ever needs no line.
fn is_notable(member: &MemberStatus) -> bool {
    let usual = member.why.is_empty() || member.why == "it comes first";
    member.standing != "active" || member.returning || !usual
}

fn line(member: &MemberStatus) -> String {
    let standing = if member.returning {
        format!("returning, {:.0} %", member.share * 100.0)
    } else {
        member.standing.clone()
    };
    let mut parts = vec![member.why.clone()];
    parts.extend(member.preparation.clone());
    parts.extend(member.failback_waits.as_ref().map(|wait| format!("its way back: {wait}")));
    parts.retain(|part| !part.is_empty());
    format!("{} {standing}: {}", member.endpoint, parts.join("; "))
}
