//! TLS beside the way of requests: files that change, certificates that run out, and endpoints
//! whose handshakes fail.
//!
//! Once a second, on the control runtime: an event for each failed handshake would drown all
//! others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use mainstay_admin::CertificateStatus;
use mainstay_telemetry::{Event, EventKind};
use mainstay_tls::watch::{Part, Watch};
use mainstay_tls::{Client, Failure, Server};

use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// How often files and handshakes are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// How long before its end a certificate is told to run out: the last third of one that is made
/// for 90 days, when whoever renews it has had its chance.
const AHEAD: Duration = Duration::from_secs(21 * 24 * 60 * 60);

/// TLS with one endpoint.
#[derive(Debug)]
pub(crate) struct Outward {
    pub(crate) client: Arc<Client>,
    /// Whether the last handshake failed for what was shown or could not be agreed to.
    refused: AtomicBool,
    /// What the last handshakes showed; `None` before the first one.
    shown: Mutex<Option<Result<(), Failure>>>,
}

impl Outward {
    pub(crate) const fn new(client: Arc<Client>) -> Self {
        Self { client, refused: AtomicBool::new(false), shown: Mutex::new(None) }
    }

    /// What the last handshakes showed, where one has failed so far.
    fn shown(&self) -> Option<Result<(), Failure>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a handshake went. That a connection ended on the way says nothing of TLS.
    pub(crate) fn note(&self, failure: Option<&Failure>) {
        if matches!(failure, Some(Failure::Ended(_))) {
            return;
        }
        let was = self.refused.swap(failure.is_some(), Ordering::Relaxed);
        if was || failure.is_some() {
            let shown = failure.map_or(Ok(()), |failure| Err(failure.clone()));
            *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        }
    }
}

/// Everybody whose files are watched, by a name.
fn parts(snapshot: &Snapshot) -> Vec<(String, Part)> {
    let config = &snapshot.config;
    let listen = snapshot.tls.iter().map(|server| ("listen".to_owned(), Arc::clone(server)));
    let admin = config.admin.tls.iter().map(|it| ("admin".to_owned(), Server::shared(it)));
    let servers = listen.chain(admin).map(|(name, server)| (name, Part::Server(server)));
    let pools = config.pools.iter().filter_map(|pool| {
        let settings = pool.tls.as_deref()?;
        Some((format!("pool {}", pool.name), Part::Client(Client::shared(settings))))
    });
    servers.chain(pools).collect()
}

/// The certificates that the gateway shows.
pub(crate) fn status(snapshot: &Snapshot) -> Vec<CertificateStatus> {
    let shown = |(name, part): (String, Part)| {
        let certificate = part.shown()?;
        Some(CertificateStatus {
            name,
            subject: certificate.subject,
            expires_unix_seconds: certificate.not_after,
        })
    };
    parts(snapshot).into_iter().filter_map(shown).collect()
}

/// Watches for as long as it is polled.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut look = Look { shared, files: Watch::default(), told: HashMap::new() };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // Files are read, perhaps from a slow disk.
        match tokio::task::spawn_blocking(move || look.around()).await {
            Ok(back) => look = back,
            Err(error) => {
                tracing::error!(%error, "watching certificates panicked");
                return;
            }
        }
    }
}

struct Look {
    shared: Arc<Shared>,
    files: Watch,
    /// The state that was told last, by subject.
    told: HashMap<String, String>,
}

impl Look {
    fn around(mut self) -> Self {
        let snapshot = self.shared.snapshot();
        let parts = parts(&snapshot);
        for (name, part) in &parts {
            match self.files.look(name, part) {
                None => {}
                Some(Ok(())) => {
                    self.tell(format!("{name} files"), "in use", "the files have changed");
                    // The next ones are told again.
                    self.told.remove(&format!("{name} files"));
                }
                Some(Err(error)) => {
                    let cause = match std::error::Error::source(&error) {
                        Some(source) => format!("{error}: {source}"),
                        None => error.to_string(),
                    };
                    self.tell(format!("{name} files"), "refused, what was stays", &cause);
                }
            }
            self.expiry(name, part);
        }
        for upstream in &snapshot.upstreams {
            let shown = upstream.tls.as_ref().and_then(Outward::shown);
            match shown {
                None => {}
                Some(Ok(())) => self.tell(upstream.label.to_string(), "trusted", "a handshake"),
                Some(Err(failure)) => {
                    self.tell(upstream.label.to_string(), "refused", &failure.to_string());
                }
            }
        }
        self.files.keep(|name| parts.iter().any(|(known, _)| known == name));
        self
    }

    fn expiry(&mut self, name: &str, part: &Part) {
        let Some(certificate) = part.shown() else { return };
        let wall = self.shared.clock.wall(self.shared.clock.now());
        let now = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(certificate.not_after).checked_sub(now);
        let (state, cause) = match left {
            None => ("expired", "every client that verifies it refuses it".to_owned()),
            Some(left) if left <= AHEAD => {
                ("expires soon", format!("in {} days", left.as_secs() / 86_400))
            }
            Some(_) => ("valid", "it has been replaced".to_owned()),
        };
        self.tell(format!("certificate {name} ({})", certificate.subject), state, &cause);
    }

    /// Tells of a state that was not told before; a good one only where a bad one was.
    fn tell(&mut self, subject: String, state: &str, cause: &str) {
        let before = self.told.get(&subject);
        let is_news = match before {
            Some(before) => before != state,
            None => !matches!(state, "valid" | "trusted"),
        };
        let from = before.cloned().unwrap_or_else(|| "in use".to_owned());
        self.told.insert(subject.clone(), state.to_owned());
        if is_news {
            let (to, cause) = (state.to_owned(), cause.to_owned());
            let event = Event { kind: EventKind::Tls, subject, from, to, cause };
            self.shared.telemetry.event(event);
        }
    }
}
