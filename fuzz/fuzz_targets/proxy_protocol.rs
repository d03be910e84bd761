//! Headers of the PROXY protocol: nothing panics, a header ends within what was given, what is
//! decided on a part of it holds for the whole, and what is read can be written and read again.
//!
//! The first byte says how much of the rest is there at first.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::proxy_protocol::{LONGEST, read, write};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Some((&part, bytes)) = data.split_first() else { return };
    let whole = read(bytes);
    let part = read(&bytes[..usize::from(part).min(bytes.len())]);
    if part != Ok(None) {
        assert_eq!(part, whole);
    }
    match whole {
        Ok(Some((header, length))) => {
            assert!(length <= bytes.len() && length <= LONGEST);
            let Some((client, server)) = header.addresses else { return };
            let again = write(client, server);
            let (again, _) = read(&again).expect("what was written").expect("all of it");
            let (from, to) = again.addresses.expect("addresses");
            assert_eq!(from.ip().to_canonical(), client.ip().to_canonical());
            assert_eq!((from.port(), to.port()), (client.port(), server.port()));
        }
        Ok(None) => assert!(bytes.len() < LONGEST),
        Err(_) => {}
    }
}
