//! What the tests stand on: processes of the real program, broken peers, a client and a load.
//!
//! Nothing here is shared with the program: the client speaks HTTP/1.1 by hand, so that a test
//! sees the bytes that a stranger would see. Waiting is always for a condition, with a limit.

pub(crate) mod digits;
/// The one that discovery's own tests ask, too.
#[path = "../../../mainstay-discovery/tests/sources/dns_server.rs"]
#[allow(dead_code, reason = "those ask more of it")]
pub(crate) mod dns_server;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod model_server;
pub(crate) mod onnx;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod recorder;
pub(crate) mod supervised;
pub(crate) mod tls;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

/// The longest that anything may take before a test gives up; far above what is needed, since
/// test machines are busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// What a busy machine may add to the time that a client measures.
pub(crate) const SLACK: Duration = Duration::from_millis(250);

/// A file of the demo: models and held-out rows.
pub(crate) fn demo(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("demo").join(name)
}

/// Waits until `look` finds something; fails after [`LIMIT`], saying what never came.
pub(crate) async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_within(LIMIT, what, look).await
}

/// Waits until `look` finds something, for `limit` at most.
pub(crate) async fn eventually_within<T, F>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "never within {limit:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
