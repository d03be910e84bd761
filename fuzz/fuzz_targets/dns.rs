//! Answers of DNS servers: whatever comes, nothing panics, and what is read fits what was asked.
//!
//! The first byte chooses the kind of records.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::dns::{Kind, Name, Record, read_answer, write_question};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let kind = [Kind::A, Kind::Aaaa, Kind::Srv][usize::from(kind % 3)];
    let Some(name) = Name::parse("models.internal") else { return };
    let Some(&[high, low]) = write_question(7, &name, kind).first_chunk::<2>() else { return };
    let number = u16::from_be_bytes([high, low]);
    // As it is, and behind the head of an honest answer.
    let honest = [&answer(&name, kind)[..], bytes].concat();
    for bytes in [bytes, &honest[..]] {
        let Ok(answer) = read_answer(bytes, number, &name, kind) else { continue };
        assert_eq!(answer.ttl.is_none(), answer.records.is_empty());
        for record in answer.records {
            match record {
                Record::Address(address) => assert_eq!(address.is_ipv4(), kind == Kind::A),
                Record::Server { target, .. } => {
                    assert_eq!(kind, Kind::Srv);
                    assert_eq!(Name::parse(target.as_str()), Some(target));
                }
            }
        }
    }
}

/// The beginning of an answer that announces records.
fn answer(name: &Name, kind: Kind) -> Vec<u8> {
    let mut bytes = write_question(7, name, kind);
    bytes.truncate(bytes.len() - 11);
    bytes[2] |= 0x80;
    bytes[7] = 4;
    bytes[11] = 0;
    bytes
}
