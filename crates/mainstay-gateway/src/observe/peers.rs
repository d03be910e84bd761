//! What the other targets of a pool show for the same model.

use std::time::Duration;

use mainstay_policy::Moment;
use mainstay_policy::health::fusion::Peers;

/// What one target shows its peers.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    /// The targets of one group are peers.
    pub(super) group: usize,
    /// When a request last completed there.
    pub(super) completed: Option<Moment>,
    /// Its usual latency.
    pub(super) usual: Option<Duration>,
}

/// The best two of each group, so that everyone finds the best of the others.
pub(super) struct Groups(Vec<Group>);

#[derive(Clone, Copy, Default)]
struct Group {
    completed: [Option<Moment>; 2],
    usual: [Option<Duration>; 2],
}

impl Groups {
    pub(super) fn of(all: impl Iterator<Item = Shown>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for shown in all {
            if groups.len() <= shown.group {
                groups.resize(shown.group + 1, Group::default());
            }
            let group = &mut groups[shown.group];
            insert(&mut group.completed, shown.completed);
            insert(&mut group.usual, shown.usual);
        }
        Self(groups)
    }

    /// What the peers of this one show.
    pub(super) fn others(&self, own: &Shown) -> Peers {
        let group = &self.0[own.group];
        Peers {
            usual: other(group.usual, own.usual),
            completed: other(group.completed, own.completed),
        }
    }
}

fn insert<T: Ord + Copy>(best: &mut [Option<T>; 2], value: Option<T>) {
    if value > best[0] {
        *best = [value, best[0]];
    } else if value > best[1] {
        best[1] = value;
    }
}

/// The best that is not one's own.
fn other<T: Ord + Copy>(best: [Option<T>; 2], own: Option<T>) -> Option<T> {
    if best[0] == own { best[1] } else { best[0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn shown(group: usize, millis: Option<u64>) -> Shown {
        let completed = match millis {
            Some(millis) => Some(Moment::from_millis(millis)),
            None => None,
        };
        Shown { group, completed, usual: None }
    }

    #[test]
    fn everyone_sees_the_others_of_its_group() {
        let all = [shown(0, Some(5)), shown(1, Some(99)), shown(0, Some(7)), shown(0, None)];
        let groups = Groups::of(all.into_iter());
        let seen = |own: &Shown| groups.others(own).completed.map(Moment::as_millis);
        assert_eq!(all.iter().map(seen).collect::<Vec<_>>(), [Some(7), None, Some(5), Some(7)]);
    }

    #[test]
    fn of_two_alike_each_sees_the_other() {
        let all = [shown(0, Some(5)), shown(0, Some(5))];
        let groups = Groups::of(all.into_iter());
        assert_eq!(groups.others(&all[0]).completed, all[1].completed);
    }
}
