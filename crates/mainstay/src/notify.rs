//! What a service manager is told: sd_notify(3), one datagram to the socket that it names.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the service manager, if there is one that wants to know. That it cannot be told is no
/// reason to stop.
pub(crate) fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let path = path.to_string_lossy();
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&*path),
    };
    let socket = UnixDatagram::unbound();
    let told = address.and_then(|to| socket?.send_to_addr(state.as_bytes(), &to));
    if let Err(error) = told {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
