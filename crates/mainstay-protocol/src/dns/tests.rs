//! Answers as servers give them, and as nobody should.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// An answer to the question for `models.internal`, with these records behind it.
fn answer(kind: Kind, flags: u16, records: &[&[u8]]) -> Vec<u8> {
    let mut bytes = write_question(7, &name("models.internal"), kind);
    bytes.truncate(bytes.len() - 11);
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    bytes[7] = u8::try_from(records.len()).unwrap();
    bytes[11] = 0;
    bytes.extend(records.iter().flat_map(|record| record.iter().copied()));
    bytes
}

/// A record of the name that was asked for, by a pointer to it.
fn record(kind: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
    owned(&[0xc0, 12], kind, ttl, data)
}

fn owned(owner: &[u8], kind: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend([0, kind, 0, 1]);
    bytes.extend(ttl.to_be_bytes());
    bytes.extend([0, u8::try_from(data.len()).unwrap()]);
    bytes.extend(data);
    bytes
}

fn read(bytes: &[u8], kind: Kind) -> Result<Answer, Error> {
    read_answer(bytes, 7, &name("models.internal"), kind)
}

#[test]
fn a_question_says_what_it_asks() {
    let bytes = write_question(0x1234, &name("A.b"), Kind::Srv);
    assert_eq!(bytes[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bytes[12..21], [1, b'a', 1, b'b', 0, 0, 33, 0, 1]);
    assert_eq!(bytes[21..], [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn names_are_what_hosts_are_called() {
    assert_eq!(name("Models.Internal.").as_str(), "models.internal");
    assert_eq!(name("_oip._tcp.x").dots(), 2);
    for wrong in ["", ".", "a..b", "a b", "a\n", "é.x", &"a".repeat(64), &"a.".repeat(130)] {
        assert_eq!(Name::parse(wrong), None, "{wrong:?}");
    }
    assert!(Name::parse(&format!("{}a", "a.".repeat(126))).is_some(), "253 characters");
}

#[test]
fn addresses_come_with_the_shortest_ttl() {
    let bytes =
        answer(Kind::A, 0x8180, &[&record(1, 30, &[10, 0, 0, 1]), &record(1, 20, &[10, 0, 0, 2])]);
    let found = read(&bytes, Kind::A).unwrap();
    let addresses = [[10, 0, 0, 1], [10, 0, 0, 2]];
    assert_eq!(found.records, addresses.map(|octets| Record::Address(octets.into())));
    assert_eq!(found.ttl, Some(std::time::Duration::from_secs(20)));
}

#[test]
fn an_alias_is_followed_and_its_ttl_counts() {
    let alias = record(5, 10, &[1, b'x', 0]);
    let aaaa = owned(&[1, b'X', 0], 28, 60, &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    let found = read(&answer(Kind::Aaaa, 0x8180, &[&aaaa, &alias]), Kind::Aaaa).unwrap();
    assert_eq!(found.records, [Record::Address("fd00::9".parse().unwrap())]);
    assert_eq!(found.ttl, Some(std::time::Duration::from_secs(10)));
}

#[test]
fn aliases_in_a_circle_end() {
    let circle = record(5, 10, &[0xc0, 12]);
    let found = read(&answer(Kind::A, 0x8180, &[&circle]), Kind::A).unwrap();
    assert_eq!((found.records, found.ttl), (Vec::new(), None));
}

#[test]
fn servers_come_with_port_priority_and_weight() {
    let srv = record(33, 5, &[0, 10, 0, 60, 31, 64, 1, b'a', 0xc0, 12]);
    let absent = record(33, 5, &[0, 0, 0, 0, 0, 0, 0]);
    let found = read(&answer(Kind::Srv, 0x8180, &[&srv, &absent]), Kind::Srv).unwrap();
    let target = name("a.models.internal");
    assert_eq!(found.records, [Record::Server { priority: 10, weight: 60, port: 8000, target }]);
}

#[test]
fn failures_are_told_apart() {
    let code = |flags| read(&answer(Kind::A, flags, &[]), Kind::A).unwrap().code;
    assert_eq!(code(0x8180), Code::Fine);
    assert_eq!(code(0x8183), Code::NoSuchName);
    assert_eq!(code(0x8182), Code::Failed(2));
    assert!(read(&answer(Kind::A, 0x8380, &[]), Kind::A).unwrap().truncated);
    let refused = [0, 7, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(read(&refused, Kind::A).unwrap().code, Code::Failed(5));
}

#[test]
fn an_answer_to_another_question_is_none() {
    let bytes = answer(Kind::A, 0x8180, &[]);
    assert_eq!(read(&bytes, Kind::Aaaa), Err(Error::Unasked));
    assert_eq!(read_answer(&bytes, 8, &name("models.internal"), Kind::A), Err(Error::Unasked));
    assert_eq!(read_answer(&bytes, 7, &name("models.external"), Kind::A), Err(Error::Unasked));
    assert_eq!(read(&answer(Kind::A, 0x0180, &[]), Kind::A), Err(Error::Unasked), "a question");
}

#[test]
fn pointers_that_lead_on_are_refused() {
    let ahead = owned(&[0xc0, 0x20], 1, 1, &[1, 2, 3, 4]);
    assert_eq!(read(&answer(Kind::A, 0x8180, &[&ahead]), Kind::A), Err(Error::Malformed));
}

proptest! {
    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), honest: bool) {
        if honest {
            let mut whole = answer(Kind::Srv, 0x8180, &[]);
            whole[7] = 9;
            whole.append(&mut bytes);
            bytes = whole;
        }
        for kind in [Kind::A, Kind::Aaaa, Kind::Srv] {
            let _read = read(&bytes, kind);
        }
    }

    #[test]
    fn what_is_cut_off_is_malformed(cut in 12usize..61) {
        let srv = record(33, 5, &[0, 10, 0, 60, 31, 64, 1, b'a', 0xc0, 12]);
        let whole = answer(Kind::Srv, 0x8180, &[&srv]);
        prop_assume!(cut < whole.len());
        prop_assert_eq!(read(&whole[..cut], Kind::Srv), Err(Error::Malformed));
    }
}
