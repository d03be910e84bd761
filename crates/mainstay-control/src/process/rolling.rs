//! Whose turn it is when servers of a pool are started anew from another `process` section.
//!
//! Whoever does not serve costs nothing and goes at once. Whoever serves goes only while all others
//! serve, so that there is never more than one away; a server that does not come up again keeps the
//! others as they are, and so a bad section takes one server and not the pool. This is a rolling
//! restart (Kubernetes: `maxUnavailable: 1`). Replicas have a port for one more, so their
//! successors are ready before they go (`maxSurge: 1`, `maxUnavailable: 0`).

/// What a supervised server of a pool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Requests come to it.
    Serves,
    /// It is there and gets no requests.
    Idle,
    /// It is on its way, or what it does is not known yet.
    Unsure,
}

/// A supervised server of a pool that is meant to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Whether what runs was made from another section than the one that holds.
    pub outdated: bool,
    /// What it is doing.
    pub doing: Doing,
}

/// Who is to be started anew now.
#[must_use]
pub fn next(servers: &[Server]) -> Option<usize> {
    let idle = servers.iter().position(|it| it.outdated && it.doing == Doing::Idle);
    idle.or_else(|| {
        let all_serve = servers.iter().all(|it| it.doing == Doing::Serves);
        servers.iter().position(|it| it.outdated).filter(|_| all_serve)
    })
}

/// A replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Whether it was made from another template than the one that holds.
    pub outdated: bool,
    /// Whether it runs and is ready.
    pub ready: bool,
}

/// What brings the replicas of a pool to what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// How many are to be started.
    pub add: usize,
    /// Who is to be let go.
    pub remove: Vec<usize>,
}

/// What is to be done with replicas, the oldest first, of which so many are wanted. While one is
/// replaced there is one more.
#[must_use]
pub fn fit(replicas: &[Replica], wanted: usize) -> Fit {
    let at = |outdated: bool| {
        let all = replicas.iter().enumerate();
        all.filter(move |(_, it)| it.outdated == outdated).map(|(at, _)| at)
    };
    let is_replacing = at(true).next().is_some();
    let room = wanted + usize::from(is_replacing);
    let successor_is_ready = replicas.iter().all(|it| it.outdated || it.ready);
    let replaced = is_replacing && successor_is_ready && replicas.len() >= room;
    let many = replicas.len().saturating_sub(room) + usize::from(replaced);
    let newest_first = at(false).collect::<Vec<_>>().into_iter().rev();
    Fit {
        add: room.saturating_sub(replicas.len()),
        remove: at(true).chain(newest_first).take(many).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn server(outdated: bool, doing: Doing) -> Server {
        Server { outdated, doing }
    }

    #[test]
    fn the_last_one_that_serves_is_not_the_first_to_go() {
        let all = [server(true, Doing::Serves), server(true, Doing::Idle)];
        assert_eq!(next(&all), Some(1));
        let all = [server(true, Doing::Serves), server(false, Doing::Unsure)];
        assert_eq!(next(&all), None, "the other one has to be back first");
        let all = [server(true, Doing::Serves), server(false, Doing::Serves)];
        assert_eq!(next(&all), Some(0));
        assert_eq!(next(&[server(true, Doing::Serves)]), Some(0), "there is no other one");
        assert_eq!(next(&[server(true, Doing::Unsure); 2]), None, "nothing is known yet");
        assert_eq!(next(&[server(false, Doing::Serves)]), None);
    }

    #[test]
    fn a_successor_is_ready_before_a_replica_goes() {
        let replica = |outdated, ready| Replica { outdated, ready };
        let old = replica(true, true);
        assert_eq!(fit(&[old], 1), Fit { add: 1, remove: vec![] });
        assert_eq!(fit(&[old, replica(false, false)], 1), Fit::default());
        assert_eq!(fit(&[old, replica(false, true)], 1), Fit { add: 0, remove: vec![0] });
        assert_eq!(fit(&[replica(false, true)], 1), Fit::default());
        let current = replica(false, true);
        assert_eq!(fit(&[current, current, current], 1), Fit { add: 0, remove: vec![2, 1] });
        assert_eq!(fit(&[old, old, old], 1), Fit { add: 0, remove: vec![0, 1] });
    }

    proptest! {
        #[test]
        fn replicas_are_replaced_one_by_one_and_never_too_few(
            outdated in vec(any::<bool>(), 1..6),
        ) {
            let wanted = outdated.len();
            let mut all: Vec<_> =
                outdated.iter().map(|outdated| Replica { outdated: *outdated, ready: true }).collect();
            for _ in 0..4 * wanted {
                let Fit { add, remove } = fit(&all, wanted);
                let mut at = 0;
                all.retain(|_| { at += 1; !remove.contains(&(at - 1)) });
                prop_assert!(all.iter().filter(|it| it.ready).count() >= wanted);
                all.iter_mut().for_each(|it| it.ready = true);
                all.extend((0..add).map(|_| Replica { outdated: false, ready: false }));
                prop_assert!(all.len() <= wanted + 1);
            }
            prop_assert!(all.len() == wanted && all.iter().all(|it| !it.outdated));
        }
    }
}
