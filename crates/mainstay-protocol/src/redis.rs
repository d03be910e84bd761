//! What the gateway says to Redis servers and Sentinels, and reads of their answers.
//!
//! Requests are arrays of texts; answers are read in version 2 of the protocol (RESP2), which every
//! server speaks to a client that asks for nothing else. Depth and size are bounded: the other side
//! is not trusted to be a Redis server at all.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>,
//! <https://redis.io/docs/latest/commands/role/>

use core::net::SocketAddr;

use mainstay_policy::role::{Claim, Lineage, Role};

/// The largest answer that is read: INFO and ROLE of a primary with a thousand replicas.
pub const LONGEST: usize = 256 * 1024;
/// How deep arrays may stand in each other; ROLE and announcements need two.
const DEEPEST: usize = 4;
/// The most elements of one array.
const MOST: usize = 16 * 1024;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A short text, or one with its length.
    Text(Vec<u8>),
    /// The server refuses.
    Error(String),
    /// A whole number.
    Integer(i64),
    /// Several.
    Array(Vec<Self>),
    /// Nothing.
    Nil,
}

/// It is no answer of a Redis server, or a larger one than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no answer of a Redis server")]
pub struct Error;

impl Reply {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }
}

/// Appends a request.
pub fn write(words: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// The answer that `bytes` begin with, and its length; `None` where more of it is to come.
///
/// # Errors
/// Whatever may come, it is none.
pub fn read(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Error> {
    let read = read_at(bytes, 0, DEEPEST)?;
    if read.is_none() && bytes.len() > LONGEST { Err(Error) } else { Ok(read) }
}

fn read_at(bytes: &[u8], from: usize, deep: usize) -> Result<Option<(Reply, usize)>, Error> {
    let Some((kind, rest)) = bytes.get(from..).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
        // No line of a length or a number is as long as a text may be.
        let most = if matches!(kind, b'+' | b'-') { LONGEST } else { 32 };
        let known = matches!(kind, b'+' | b'-' | b':' | b'$' | b'*');
        return if known && rest.len() <= most { Ok(None) } else { Err(Error) };
    };
    let (line, next) = (&rest[..end], from + end + 3);
    match kind {
        b'+' => Ok(Some((Reply::Text(line.to_vec()), next))),
        b'-' => Ok(Some((Reply::Error(String::from_utf8_lossy(line).into_owned()), next))),
        b':' => Ok(Some((Reply::Integer(number(line)?), next))),
        b'$' => read_bulk(bytes, next, number(line)?),
        b'*' => read_array(bytes, next, number(line)?, deep),
        _ => Err(Error),
    }
}

fn read_bulk(bytes: &[u8], from: usize, length: i64) -> Result<Option<(Reply, usize)>, Error> {
    if length == -1 {
        return Ok(Some((Reply::Nil, from)));
    }
    let length = usize::try_from(length).ok().filter(|it| *it <= LONGEST).ok_or(Error)?;
    let Some(text) = bytes.get(from..from + length + 2) else { return Ok(None) };
    if text[length..] != *b"\r\n" {
        return Err(Error);
    }
    Ok(Some((Reply::Text(text[..length].to_vec()), from + length + 2)))
}

fn read_array(
    bytes: &[u8],
    mut from: usize,
    length: i64,
    deep: usize,
) -> Result<Option<(Reply, usize)>, Error> {
    if length == -1 {
        return Ok(Some((Reply::Nil, from)));
    }
    let length = usize::try_from(length).ok().filter(|it| *it <= MOST).ok_or(Error)?;
    let deep = deep.checked_sub(1).ok_or(Error)?;
    let mut items = Vec::new();
    for _ in 0..length {
        let Some((item, next)) = read_at(bytes, from, deep)? else { return Ok(None) };
        items.push(item);
        from = next;
    }
    Ok(Some((Reply::Array(items), from)))
}

fn number(line: &[u8]) -> Result<i64, Error> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Error)
}

/// What a server claims to be, by its answers to `ROLE` and, where it gave one, to
/// `INFO replication`; `None` where the first says nothing of a role.
#[must_use]
pub fn claim(role: &Reply, info: Option<&Reply>) -> Option<Claim> {
    let offset = |at: usize| match role.items().get(at) {
        Some(Reply::Integer(offset)) => u64::try_from(*offset).unwrap_or_default(),
        _ => 0,
    };
    let (role, offset) = match role.items().first()?.text()? {
        "master" => (Role::Primary, offset(1)),
        "slave" => (Role::Replica, offset(4)),
        _ => return None,
    };
    let lineage = info.and_then(Reply::text).map(lineage).unwrap_or_default();
    Some(Claim { role, epoch: 0, offset, lineage })
}

/// The history that a server writes on, and the one that it began from when it was promoted.
fn lineage(info: &str) -> Lineage {
    let id = |key: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(key))?;
        // 40 hexadecimal digits; the first 16 tell two of them apart. Zeros stand for none.
        let id = u64::from_str_radix(line.trim().get(..16)?, 16).ok()?;
        (id > 0).then_some(id)
    };
    Lineage { own: id("master_replid:"), before: id("master_replid2:") }
}

/// The primary of a set, as one of its Sentinels names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Where it is.
    pub address: SocketAddr,
    /// Of the Sentinel's configuration; grows with each promotion.
    pub epoch: u64,
}

/// What a Sentinel answers to `SENTINEL MASTER name`; `None` where it knows none.
#[must_use]
pub fn named_primary(answer: &Reply) -> Option<Named> {
    let items = answer.items();
    let value = |key: &str| {
        let mut pairs = items.chunks_exact(2);
        pairs.find(|pair| pair[0].text() == Some(key)).and_then(|pair| pair[1].text())
    };
    let address = SocketAddr::new(value("ip")?.parse().ok()?, value("port")?.parse().ok()?);
    Some(Named { address, epoch: value("config-epoch")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Reply {
        let (reply, length) = read(bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        reply
    }

    #[test]
    fn a_primary_and_its_replica_say_what_they_are() {
        let primary = all(b"*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$7\r\n3129242\r\n");
        let info = Reply::Text(
            b"# Replication\r\nrole:master\r\nmaster_replid:8c1e2a0000000000000000000000000000000000\r\nmaster_replid2:0000000000000000000000000000000000000000\r\n".to_vec(),
        );
        let claimed = claim(&primary, Some(&info)).unwrap();
        assert_eq!((claimed.role, claimed.offset), (Role::Primary, 3_129_659));
        assert_eq!(claimed.lineage, Lineage { own: Some(0x8c1e_2a00_0000_0000), before: None });
        let replica = all(
            b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$9\r\nconnected\r\n:3167038\r\n",
        );
        let claimed = claim(&replica, None).unwrap();
        assert_eq!((claimed.role, claimed.offset), (Role::Replica, 3_167_038));
        assert_eq!(claim(&all(b"*1\r\n$8\r\nsentinel\r\n"), None), None);
        assert_eq!(claim(&all(b"-NOAUTH Authentication required.\r\n"), None), None);
    }

    #[test]
    fn sentinels_name_a_primary() {
        let answer = all(b"*6\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$4\r\n6380\r\n$12\r\nconfig-epoch\r\n$1\r\n4\r\n");
        let address = ([127, 0, 0, 1], 6380).into();
        assert_eq!(named_primary(&answer), Some(Named { address, epoch: 4 }));
        assert_eq!(named_primary(&all(b"-ERR No such master with that name\r\n")), None);
    }

    #[test]
    fn what_no_redis_server_says_is_refused() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"$x\r\n",
            b"$-2\r\n",
            b"$999999999\r\n",
            b"*99999999\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
            b"$1\r\nabc",
            b":111111111111111111111111111111111111111111",
        ] {
            assert_eq!(read(bytes), Err(Error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_taken_for_the_whole(words in prop::collection::vec("[ -~]{0,12}", 0..6)) {
            let mut bytes = Vec::new();
            write(&words.iter().map(String::as_str).collect::<Vec<_>>(), &mut bytes);
            for end in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..end]), Ok(None));
            }
            let (reply, length) = read(&bytes).unwrap().unwrap();
            prop_assert_eq!(length, bytes.len());
            let read: Vec<_> = reply.items().iter().filter_map(Reply::text).collect();
            prop_assert_eq!(read, words);
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(Some((_, length))) = read(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
