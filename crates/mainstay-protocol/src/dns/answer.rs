//! Reading an answer.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::question::INTERNET;
use super::{Error, Kind, Name};

/// An alias.
const CNAME: u16 = 5;
/// Of aliases that are followed; a longer row is a circle or a mistake.
const MAX_ALIASES: usize = 16;
/// Of records that are read: the most that a message of 64 KiB can hold of the smallest kind is
/// some thousands, and a pool holds fewer.
const MAX_RECORDS: usize = 4096;
/// A longer one is taken for this (RFC 8767, section 4: a week at most).
const MAX_TTL: u32 = 7 * 86_400;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub code: Code,
    /// Not all fitted in: to be asked again over TCP.
    pub truncated: bool,
    /// Records of the kind that was asked for; empty where there are none.
    pub records: Vec<Record>,
    /// How long they hold, the aliases before them included; `None` where there are none.
    pub ttl: Option<Duration>,
}

/// How it went (RFC 1035, section 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// What there is, is in the answer; it may be nothing.
    Fine,
    /// NXDOMAIN: there is no such name.
    NoSuchName,
    /// The server could not or would not say; 2 is SERVFAIL, 5 is REFUSED.
    Failed(u8),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Of A and AAAA.
    Address(IpAddr),
    /// Of SRV (RFC 2782).
    Server {
        /// The lower, the earlier.
        priority: u16,
        /// Its share among those of its priority.
        weight: u16,
        /// Where it listens.
        port: u16,
        /// Its name.
        target: Name,
    },
}

/// Reads the answer to the question with this number, name and kind.
///
/// # Errors
/// The bytes are malformed, or answer another question.
pub fn read_answer(bytes: &[u8], number: u16, name: &Name, kind: Kind) -> Result<Answer, Error> {
    let mut reader = Reader { bytes, at: 0 };
    let (id, flags) = (reader.word()?, reader.word()?);
    let (questions, answers) = (reader.word()?, reader.word()?);
    reader.at += 4;
    let response = flags & 0x8000 != 0;
    let code = match (flags & 0x000f).to_le_bytes()[0] {
        0 => Code::Fine,
        3 => Code::NoSuchName,
        other => Code::Failed(other),
    };
    if id != number || !response {
        return Err(Error::Unasked);
    }
    // Some servers fail without repeating the question.
    let bare = questions == 0 && matches!(code, Code::Failed(_));
    if !bare && (questions != 1 || !reader.repeats(name, kind)?) {
        return Err(Error::Unasked);
    }
    let truncated = flags & 0x0200 != 0;
    if truncated || code != Code::Fine {
        return Ok(Answer { code, truncated, records: Vec::new(), ttl: None });
    }
    let (records, ttl) = follow(name, kind, &reader.records(answers)?);
    Ok(Answer { code, truncated, records, ttl })
}

/// A record with its owner, or an alias.
struct Owned {
    owner: Option<Name>,
    ttl: u32,
    what: What,
}

enum What {
    Alias(Name),
    Of(Kind, Record),
}

/// The records of a kind that a name has, or whatever it is an alias of; and how long they hold.
fn follow(name: &Name, kind: Kind, all: &[Owned]) -> (Vec<Record>, Option<Duration>) {
    let (mut name, mut ttl) = (name, MAX_TTL);
    for _ in 0..=MAX_ALIASES {
        let of_name = || all.iter().filter(|owned| owned.owner.as_ref() == Some(name));
        let found = of_name().filter_map(|owned| match &owned.what {
            What::Of(of, record) if *of == kind => Some((owned.ttl, record.clone())),
            What::Of(..) | What::Alias(_) => None,
        });
        let (ttls, records): (Vec<u32>, Vec<Record>) = found.unzip();
        if let Some(least) = ttls.into_iter().min() {
            return (records, Some(Duration::from_secs(ttl.min(least).into())));
        }
        let alias = of_name().find_map(|owned| match &owned.what {
            What::Alias(to) => Some((owned.ttl, to)),
            What::Of(..) => None,
        });
        let Some((until, to)) = alias else { break };
        (name, ttl) = (to, ttl.min(until));
    }
    (Vec::new(), None)
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let taken = self.bytes.get(self.at..self.at + N).and_then(|bytes| bytes.try_into().ok());
        self.at += N;
        taken.ok_or(Error::Malformed)
    }

    fn word(&mut self) -> Result<u16, Error> {
        self.take().map(u16::from_be_bytes)
    }

    fn name(&mut self) -> Result<Option<Name>, Error> {
        let (name, behind) = Name::read(self.bytes, self.at)?;
        self.at = behind;
        Ok(name)
    }

    /// Whether the question that is repeated here is this one.
    fn repeats(&mut self, name: &Name, kind: Kind) -> Result<bool, Error> {
        let same = self.name()?.as_ref() == Some(name);
        let asked = (self.word()?, self.word()?);
        Ok(same && asked == (kind.number(), INTERNET))
    }

    fn records(&mut self, count: u16) -> Result<Vec<Owned>, Error> {
        let mut found = Vec::new();
        for _ in 0..usize::from(count).min(MAX_RECORDS) {
            found.extend(self.record()?);
        }
        Ok(found)
    }

    /// One record; `None` for one of another kind than is known here.
    fn record(&mut self) -> Result<Option<Owned>, Error> {
        let owner = self.name()?;
        let (kind, class) = (self.word()?, self.word()?);
        let ttl = u32::from_be_bytes(self.take()?);
        // A set sign bit is no time at all (RFC 2181, section 8).
        let ttl = if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl.min(MAX_TTL) };
        let end = usize::from(self.word()?) + self.at;
        if end > self.bytes.len() {
            return Err(Error::Malformed);
        }
        let what = if class == INTERNET { self.what(kind)? } else { None };
        self.at = end;
        Ok(what.map(|what| Owned { owner, ttl, what }))
    }

    fn what(&mut self, kind: u16) -> Result<Option<What>, Error> {
        let what = match kind {
            1 => What::Of(Kind::A, Record::Address(Ipv4Addr::from(self.take()?).into())),
            28 => What::Of(Kind::Aaaa, Record::Address(Ipv6Addr::from(self.take::<16>()?).into())),
            33 => {
                let (priority, weight, port) = (self.word()?, self.word()?, self.word()?);
                // The root says that the service is decidedly not there (RFC 2782).
                let Some(target) = self.name()? else { return Ok(None) };
                What::Of(Kind::Srv, Record::Server { priority, weight, port, target })
            }
            CNAME => match self.name()? {
                Some(to) => What::Alias(to),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(what))
    }
}
