//! A DNS server whose zone changes while it runs: real datagrams, real connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// What the zone says.
    #[default]
    Fine,
    /// SERVFAIL.
    Failing,
    /// Not at all.
    Silent,
    /// Over UDP only that it does not fit.
    Truncating,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Data {
    Address(IpAddr),
    Server { priority: u16, weight: u16, port: u16, target: String },
}

#[derive(Debug, Default)]
struct Zone {
    records: HashMap<String, Vec<Data>>,
    ttl: u32,
    mood: Mood,
}

#[derive(Clone, Debug)]
pub(crate) struct DnsServer {
    zone: Arc<Mutex<Zone>>,
    questions: Arc<AtomicU32>,
    pub(crate) address: SocketAddr,
}

impl DnsServer {
    /// Listens on a free port, over UDP and TCP.
    pub(crate) async fn start() -> Self {
        loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = tcp.local_addr().unwrap();
            // The same port may be taken for the other protocol.
            let Ok(udp) = UdpSocket::bind(address).await else { continue };
            let server = Self { zone: Arc::default(), questions: Arc::default(), address };
            tokio::spawn(server.clone().serve_udp(udp));
            tokio::spawn(server.clone().serve_tcp(tcp));
            return server;
        }
    }

    /// The records of a name; none at all takes it away.
    pub(crate) fn set(&self, name: &str, records: Vec<Data>) {
        let mut zone = self.zone.lock().unwrap();
        match records.is_empty() {
            true => zone.records.remove(name),
            false => zone.records.insert(name.to_owned(), records),
        };
    }

    pub(crate) fn set_addresses(&self, name: &str, addresses: &[&str]) {
        self.set(name, addresses.iter().map(|a| Data::Address(a.parse().unwrap())).collect());
    }

    pub(crate) fn set_ttl(&self, seconds: u32) {
        self.zone.lock().unwrap().ttl = seconds;
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.zone.lock().unwrap().mood = mood;
    }

    /// Questions that came.
    pub(crate) fn questions(&self) -> u32 {
        self.questions.load(Ordering::SeqCst)
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut buffer = [0; 1500];
        loop {
            let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
            if let Some(answer) = self.answer(&buffer[..length], true) {
                drop(socket.send_to(&answer, peer).await);
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            if let Some(answer) = self.answer(&question, false) {
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    }

    fn answer(&self, question: &[u8], udp: bool) -> Option<Vec<u8>> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let zone = self.zone.lock().unwrap();
        if zone.mood == Mood::Silent {
            return None;
        }
        let (name, end) = name(question, 12);
        let kind = question[end + 1];
        let mut answer = question[..end + 4].to_vec();
        answer[6..12].fill(0);
        answer[2] = 0x81;
        answer[3] = 0x80;
        let records = zone.records.get(&name);
        match (zone.mood, records) {
            (Mood::Failing, _) => answer[3] |= 2,
            (Mood::Truncating, _) if udp => answer[2] |= 2,
            (_, None) => answer[3] |= 3,
            (_, Some(records)) => {
                let of_kind = records.iter().filter_map(|record| data(record, kind));
                for data in of_kind {
                    answer[7] += 1;
                    answer.extend([0xc0, 12, 0, kind, 0, 1]);
                    answer.extend(zone.ttl.to_be_bytes());
                    answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                    answer.extend(data);
                }
            }
        }
        Some(answer)
    }
}

fn data(record: &Data, kind: u8) -> Option<Vec<u8>> {
    match (record, kind) {
        (Data::Address(IpAddr::V4(address)), 1) => Some(address.octets().to_vec()),
        (Data::Address(IpAddr::V6(address)), 28) => Some(address.octets().to_vec()),
        (Data::Server { priority, weight, port, target }, 33) => {
            let mut bytes =
                [priority.to_be_bytes(), weight.to_be_bytes(), port.to_be_bytes()].concat();
            for label in target.split('.') {
                bytes.push(label.len().try_into().unwrap());
                bytes.extend(label.bytes());
            }
            bytes.push(0);
            Some(bytes)
        }
        _ => None,
    }
}

/// The name at a place without pointers, and the place behind it.
fn name(bytes: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    while bytes[at] != 0 {
        let length = usize::from(bytes[at]);
        labels.push(String::from_utf8_lossy(&bytes[at + 1..=at + length]).into_owned());
        at += length + 1;
    }
    (labels.join("."), at + 1)
}
