//! Pages of other sites, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Opt;
use crate::spanned::Spanned;
use crate::value::Length;

/// Which pages of other sites may ask from a browser (CORS). Their preflight requests are
/// answered by the gateway.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {origins: [https://app.example]}")]
#[schemars(rename = "Cors")]
pub(crate) struct RawCors {
    /// Where the pages come from: scheme, host and port if it is not the usual one; or "*" for
    /// anywhere.
    #[schemars(extend("examples" = [["https://app.example"]]))]
    pub(crate) origins: Opt<Vec<Spanned<String>>>,
    /// Methods that they may use.
    #[schemars(extend("default" = ["GET", "POST"]))]
    pub(crate) methods: Opt<Vec<Spanned<String>>>,
    /// Headers that they may send, beside those that every page may.
    #[schemars(extend("default" = ["content-type", "authorization", "x-api-key"]))]
    pub(crate) headers: Opt<Vec<Spanned<String>>>,
    /// Headers of answers that they may read, beside those that every page may.
    #[schemars(extend("default" = ["x-mainstay-request-id", "retry-after"]))]
    pub(crate) expose: Opt<Vec<Spanned<String>>>,
    /// Whether browsers send cookies and client certificates along. Not with origins "*".
    #[schemars(extend("default" = false))]
    pub(crate) credentials: Opt<bool>,
    /// How long a browser may remember the answer to a preflight request.
    #[schemars(extend("default" = "10m"))]
    pub(crate) max_age: Opt<Length>,
}
