//! The PROXY protocol: how a proxy tells whose connection it passes on.
//!
//! Version 2 (binary) is read and written, version 1 (a line of text) is read. Both stand before
//! everything that the client says. Only the two addresses are taken; what else a header of version
//! 2 carries is skipped.
//!
//! A reader may have only the beginning of a header, and must know at the first byte that differs
//! that it is none: whoever waits for the rest of what is no header waits for ever. No ready-made
//! parser bounds what it waits for, and none of their types is needed here.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use core::net::{IpAddr, SocketAddr};

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, and the length of the rest.
const FIXED: usize = 16;
/// What version 1 begins with.
const PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included (section 2.1).
const LINE: usize = 107;

/// The longest header that is read: many times what proxies send, and small enough to be kept
/// for every connection.
pub const LONGEST: usize = 4096;

/// Whose connection it is: the client and the address that it connected to; `None` where the
/// header does not say, as for checks of the proxy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client, and where it connected to; both of one family.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It begins as no header does.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    None,
    /// It begins as one, and does not keep to the protocol.
    #[error("the header of the PROXY protocol is broken")]
    Broken,
    /// More than [`LONGEST`].
    #[error("the header of the PROXY protocol is longer than {LONGEST} bytes")]
    TooLong,
}

/// The header that `bytes` begin with, and its length; `None` where more of it is to come.
///
/// # Errors
/// Whatever may come, it is no header.
pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => read_line(bytes),
        Some(_) => read_binary(bytes),
    }
}

/// A header of version 2 for a connection of `client`, which connected to `server`. Addresses of
/// two families are both written as IPv6.
#[must_use]
pub fn write(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED + 36);
    bytes.extend_from_slice(&SIGNATURE);
    match (client.ip().to_canonical(), server.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend_from_slice(&[0x21, 0x11, 0, 12]);
            bytes.extend_from_slice(&from.octets());
            bytes.extend_from_slice(&to.octets());
        }
        (from, to) => {
            bytes.extend_from_slice(&[0x21, 0x21, 0, 36]);
            bytes.extend_from_slice(&mapped(from));
            bytes.extend_from_slice(&mapped(to));
        }
    }
    bytes.extend_from_slice(&client.port().to_be_bytes());
    bytes.extend_from_slice(&server.port().to_be_bytes());
    bytes
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn read_binary(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes[..begun] != SIGNATURE[..begun] {
        return Err(Error::None);
    }
    let Some((&[command, kind, high, low], _)) =
        bytes.get(SIGNATURE.len()..).and_then(|rest| rest.split_first_chunk())
    else {
        return Ok(None);
    };
    if command >> 4 != 2 || command & 0xf > 1 {
        return Err(Error::Broken);
    }
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(Error::TooLong);
    }
    let Some(body) = bytes.get(FIXED..length) else { return Ok(None) };
    // LOCAL: the proxy's own connection, whatever addresses stand there.
    let addresses = if command & 0xf == 0 { None } else { addresses(kind, body)? };
    Ok(Some((Header { addresses }, length)))
}

/// The addresses of a header; none of those that are neither TCP over IPv4 nor over IPv6.
fn addresses(kind: u8, body: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, Error> {
    fn of<const N: usize>(body: &[u8]) -> Option<(SocketAddr, SocketAddr)>
    where
        IpAddr: From<[u8; N]>,
    {
        let (from, rest) = body.split_first_chunk::<N>()?;
        let (to, rest) = rest.split_first_chunk::<N>()?;
        let (&[a, b, c, d], _) = rest.split_first_chunk()?;
        let client = (IpAddr::from(*from), u16::from_be_bytes([a, b])).into();
        Some((client, (IpAddr::from(*to), u16::from_be_bytes([c, d])).into()))
    }
    match kind {
        0x11 => of::<4>(body).ok_or(Error::Broken).map(Some),
        0x21 => of::<16>(body).ok_or(Error::Broken).map(Some),
        // UNSPEC, datagrams and local sockets: accepted, and nothing learnt.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(None),
        _ => Err(Error::Broken),
    }
}

fn read_line(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let begun = bytes.len().min(PREFIX.len());
    if bytes[..begun] != PREFIX[..begun] {
        return Err(Error::None);
    }
    let searched = &bytes[..bytes.len().min(LINE)];
    let Some(end) = searched.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() >= LINE { Err(Error::Broken) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| Error::Broken)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    let addresses = match family {
        "UNKNOWN" => None,
        "TCP4" | "TCP6" => Some(text_addresses(family == "TCP4", words).ok_or(Error::Broken)?),
        _ => return Err(Error::Broken),
    };
    Ok(Some((Header { addresses }, end + 2)))
}

fn text_addresses<'t>(
    is_v4: bool,
    mut words: impl Iterator<Item = &'t str>,
) -> Option<(SocketAddr, SocketAddr)> {
    let mut address =
        || words.next()?.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == is_v4);
    let (from, to) = (address()?, address()?);
    let mut port = || words.next()?.parse::<u16>().ok();
    let (from_port, to_port) = (port()?, port()?);
    words.next().is_none().then_some(((from, from_port).into(), (to, to_port).into()))
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Result<Option<(Header, usize)>, Error> {
        read(text.as_bytes())
    }

    #[test]
    fn lines_of_version_1() {
        let (header, length) =
            line("PROXY TCP4 10.0.0.9 10.0.0.1 40000 6379\r\nPING").unwrap().unwrap();
        let wanted = ("10.0.0.9:40000".parse().unwrap(), "10.0.0.1:6379".parse().unwrap());
        assert_eq!((header.addresses, length), (Some(wanted), 41));
        let six = line("PROXY TCP6 ::1 fd00::2 1 2\r\n").unwrap().unwrap().0;
        assert_eq!(six.addresses.unwrap().1, "[fd00::2]:2".parse().unwrap());
        let unknown = line("PROXY UNKNOWN ffff::1 whatever\r\n").unwrap().unwrap().0;
        assert_eq!(unknown.addresses, None);
        for broken in [
            "PROXY \r\n",
            "PROXY TCP4 10.0.0.9 10.0.0.1 40000\r\n",
            "PROXY TCP4 10.0.0.9 10.0.0.1 40000 6379 1\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 10.0.0.9 10.0.0.1 70000 6379\r\n",
            "PROXY UDP4 10.0.0.9 10.0.0.1 1 2\r\n",
        ] {
            assert_eq!(line(broken), Err(Error::Broken), "{broken}");
        }
        assert_eq!(line(&format!("PROXY UNKNOWN {}", "x".repeat(200))), Err(Error::Broken));
    }

    #[test]
    fn what_is_no_header_is_known_at_the_first_byte_that_differs() {
        for bytes in [&b"PING"[..], b"PROX_", b"GET /", b"\r\n\r\n\r", b"\0", b"*1\r\n"] {
            assert_eq!(read(bytes), Err(Error::None), "{bytes:?}");
        }
        let mut wrong_version = write(SocketAddr::from(([1; 4], 1)), SocketAddr::from(([2; 4], 2)));
        wrong_version[12] = 0x31;
        assert_eq!(read(&wrong_version), Err(Error::Broken));
        wrong_version[12] = 0x22;
        assert_eq!(read(&wrong_version), Err(Error::Broken));
    }

    #[test]
    fn a_proxys_own_connection_and_other_families_say_nothing_of_a_client() {
        let mut header = write(SocketAddr::from(([1; 4], 1)), SocketAddr::from(([2; 4], 2)));
        header[12] = 0x20;
        assert_eq!(read(&header).unwrap().unwrap().0.addresses, None);
        header[12] = 0x21;
        header[13] = 0x12;
        assert_eq!(read(&header).unwrap().unwrap().0.addresses, None);
        header[13] = 0x21;
        assert_eq!(read(&header), Err(Error::Broken), "too short for IPv6");
        header[14] = 0xff;
        assert_eq!(read(&header), Err(Error::TooLong));
    }

    #[test]
    fn addresses_of_two_families_are_written_as_one() {
        let bytes = write(
            SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 5)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 6)),
        );
        let (client, server) = read(&bytes).unwrap().unwrap().0.addresses.unwrap();
        assert_eq!(client.ip().to_canonical(), IpAddr::from([10, 0, 0, 1]));
        assert_eq!(server, SocketAddr::from((Ipv6Addr::LOCALHOST, 6)));
    }

    fn any_address(v4: bool) -> BoxedStrategy<SocketAddr> {
        if v4 {
            (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from).boxed()
        } else {
            let unmapped = |ip: &[u8; 16]| IpAddr::from(*ip).to_canonical().is_ipv6();
            (any::<[u8; 16]>().prop_filter("not mapped", unmapped), any::<u16>())
                .prop_map(SocketAddr::from)
                .boxed()
        }
    }

    fn any_pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        any::<bool>().prop_flat_map(|v4| (any_address(v4), any_address(v4)))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pair in any_pair(), rest in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = write(pair.0, pair.1);
            let length = bytes.len();
            for end in 0..length {
                prop_assert_eq!(read(&bytes[..end]), Ok(None), "{} bytes of it", end);
            }
            bytes.extend(rest);
            prop_assert_eq!(read(&bytes), Ok(Some((Header { addresses: Some(pair) }, length))));
        }

        #[test]
        fn what_is_decided_stays_so_whatever_follows(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            begin in 0usize..3,
            more in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let begin: &[u8] = [&[][..], &SIGNATURE, PREFIX][begin];
            let bytes = [begin, &bytes].concat();
            let first = read(&bytes);
            if first != Ok(None) {
                prop_assert_eq!(read(&[&bytes[..], &more].concat()), first);
            }
        }
    }
}
