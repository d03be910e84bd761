//! A TCP listener as its connections see it, and what has been counted of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use mainstay_admin::status::TcpStatus;
use mainstay_config::{self as config, TcpRules};
use mainstay_policy::Moment;
use mainstay_policy::chain::{self, Plan};
use mainstay_policy::role::{Role, WriterWord};

use crate::snapshot::Member;

/// A listener with the pools behind it; part of a snapshot.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) settings: config::TcpListener,
    pub(crate) plan: Plan,
    /// Aligned with the plan's steps.
    pub(crate) pools: Vec<Behind>,
    pub(crate) account: Arc<Account>,
}

impl Listener {
    /// Whether somebody could take a connection now.
    pub(crate) fn is_available(&self, now: Moment) -> bool {
        let each = |pool: &Behind| {
            let may = |it: &&Member| pool.admits(it) && chain::may_be_asked(&it.target, now);
            pool.members.iter().find(may).is_some()
        };
        self.pools.iter().any(each)
    }

    /// What is shown of it.
    pub(crate) fn status(&self, now: Moment) -> TcpStatus {
        let account = &self.account;
        let [from_clients, to_clients] = account.bytes();
        TcpStatus {
            name: self.settings.name.to_string(),
            address: self.settings.address.to_string(),
            pools: self.pools.iter().map(|pool| pool.name.to_string()).collect(),
            available: self.is_available(now),
            open: account.open(),
            accepted: account.accepted(),
            retried: account.retried(),
            bytes_from_clients: from_clients,
            bytes_to_clients: to_clients,
            ends: account.ends().map(|(end, count)| (end.as_str().to_owned(), count)).collect(),
        }
    }
}

/// A pool behind a listener.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) name: Arc<str>,
    pub(crate) rules: TcpRules,
    /// Whether its connections are kept together by their client's address.
    pub(crate) by_client: bool,
    /// The word on its only writer; `None` where any member may be written to.
    pub(crate) writer: Option<Arc<WriterWord>>,
    /// Aligned with the members of the plan's pool.
    pub(crate) members: Vec<Member>,
}

impl Behind {
    /// Whether this member may have connections, as far as roles say.
    pub(super) fn admits(&self, member: &Member) -> bool {
        let is_writer = |word: &Arc<WriterWord>| word.read().target == Some(member.target.id);
        self.writer.as_ref().is_none_or(is_writer)
            && (!self.rules.replicas || member.target.place.role() == Some(Role::Replica))
    }
}

/// What has been counted at a listener, whichever snapshots there were.
#[derive(Debug, Default)]
pub(crate) struct Account {
    open: AtomicU32,
    accepted: AtomicU64,
    /// Attempts after one that failed.
    retried: AtomicU64,
    /// From clients, and to them.
    bytes: [AtomicU64; 2],
    ends: [AtomicU64; End::ALL.len()],
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// Both sides were done.
    Done = 0,
    /// One side reset it.
    Reset = 1,
    /// Nothing moved on it for too long.
    Idle = 2,
    /// No endpoint took it in time.
    NoEndpoint = 3,
    /// There were too many already.
    TooMany = 4,
    /// Its endpoint was lost, or another one took its place.
    Failover = 5,
    /// Its endpoint was drained, or the gateway stopped, and its time was over.
    Drained = 6,
    /// It did not begin as a trusted proxy's must.
    NoHeader = 7,
}

impl End {
    /// Every end, in the order of the codes.
    pub(crate) const ALL: [Self; 8] = [
        Self::Done,
        Self::Reset,
        Self::Idle,
        Self::NoEndpoint,
        Self::TooMany,
        Self::Failover,
        Self::Drained,
        Self::NoHeader,
    ];

    /// The end in kebab case, as metrics and status show it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::NoEndpoint => "no-endpoint",
            Self::TooMany => "too-many",
            Self::Failover => "failover",
            Self::Drained => "drained",
            Self::NoHeader => "no-header",
        }
    }
}

impl Account {
    /// Counts a connection that was accepted, unless there are `most` already.
    pub(crate) fn admit(&self, most: u32) -> bool {
        self.accepted.fetch_add(1, Relaxed);
        let another = |open: u32| (open < most).then_some(open + 1);
        let admitted = self.open.fetch_update(Relaxed, Relaxed, another).is_ok();
        if !admitted {
            self.ended(End::TooMany);
        }
        admitted
    }

    /// One that was admitted is gone.
    pub(crate) fn leave(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// One ended like this.
    pub(crate) fn ended(&self, end: End) {
        self.ends[end as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    /// So many bytes more were passed on, from clients and to them.
    pub(super) fn moved(&self, bytes: [u64; 2]) {
        for (count, more) in self.bytes.iter().zip(bytes) {
            if more > 0 {
                count.fetch_add(more, Relaxed);
            }
        }
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Connections that were accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Attempts after one that failed.
    pub(crate) fn retried(&self) -> u64 {
        self.retried.load(Relaxed)
    }

    /// Bytes from clients, and to them.
    pub(crate) fn bytes(&self) -> [u64; 2] {
        self.bytes.each_ref().map(|bytes| bytes.load(Relaxed))
    }

    /// How many ended in each way.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (End, u64)> + '_ {
        End::ALL.into_iter().map(|end| (end, self.ends[end as usize].load(Relaxed)))
    }
}
