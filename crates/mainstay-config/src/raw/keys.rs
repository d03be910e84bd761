//! Who may ask, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Opt, RawHeader, RawPriority};
use crate::spanned::{Entries, Spanned};
use crate::value::Several;

/// Who may ask. With this section every request to a model must show a key, a token or a client
/// certificate that is known here; without it everybody is served.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write `callers:` or `jwt:` below it")]
#[schemars(rename = "Keys")]
pub(crate) struct RawKeys {
    /// Callers by name. Servers are told the name in `x-mainstay-caller`.
    #[schemars(extend("x-name" = "team-a"))]
    pub(crate) callers: Opt<Entries<RawCaller>>,
    /// Tokens that somebody else signs.
    pub(crate) jwt: Opt<RawJwt>,
}

/// One caller.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a caller; write for example {key: {file: /run/secrets/team-a}}")]
#[schemars(rename = "Caller")]
pub(crate) struct RawCaller {
    /// Its API key, which it sends as `Authorization: Bearer KEY` or `x-api-key: KEY`: `{file:
    /// PATH}` or `{env: NAME}`, or a list of them while one is replaced by the next. At least 16
    /// characters. Read again with each reload.
    #[schemars(extend("examples" = [[{"file": "/run/secrets/team-a"}]], "x-comment" = true))]
    pub(crate) key: Opt<Several<RawHeader>>,
    /// A name on its client certificate: the common name, or an alternative one.
    #[schemars(extend("examples" = ["team-a.internal"], "x-comment" = true))]
    pub(crate) subject: Opt<String>,
    /// The `sub` of its tokens, where the issuer of `jwt` is trusted to give it to nobody else.
    #[schemars(extend("examples" = ["service-a"], "x-comment" = true))]
    pub(crate) token_subject: Opt<String>,
    /// What it may ask; "*" stands for all that a model "*" takes. Default: all models.
    #[schemars(extend("examples" = [["fraud"]], "x-comment" = true))]
    pub(crate) models: Opt<Vec<Spanned<String>>>,
    /// How much its requests matter. Default: as the listener and the model say.
    #[schemars(extend("examples" = ["high"], "x-comment" = true))]
    pub(crate) priority: Opt<RawPriority>,
    /// Requests a second. Default: no bound.
    #[schemars(extend("examples" = [100.0], "x-comment" = true, "exclusiveMinimum" = 0))]
    pub(crate) rate: Opt<f64>,
    /// Requests at once after a pause, where there is a rate. Default: those of one second.
    #[schemars(extend("examples" = [200], "x-comment" = true, "minimum" = 1))]
    pub(crate) burst: Opt<u32>,
    /// Requests under way at once. Default: no bound.
    #[schemars(extend("examples" = [50], "x-comment" = true, "minimum" = 1))]
    pub(crate) concurrency: Opt<u32>,
}

/// Tokens that somebody else signs (RFC 7519). A token whose `sub` is the `token-subject` of a
/// caller counts as that caller; all others share what is said here.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write {issuer: URL, audience: NAME, keys: FILE}")]
#[schemars(rename = "Jwt")]
pub(crate) struct RawJwt {
    /// Who signs them: the claim `iss`.
    #[schemars(extend("examples" = ["https://login.example"]))]
    pub(crate) issuer: Opt<String>,
    /// For whom they must be: the claim `aud`.
    #[schemars(extend("examples" = ["mainstay"]))]
    pub(crate) audience: Opt<String>,
    /// File of the issuer's public keys: a JWKS, or PEM. Read again with each reload.
    #[schemars(extend("examples" = ["/etc/mainstay/jwks.json"]))]
    pub(crate) keys: Opt<String>,
    /// How they may be signed: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.
    #[schemars(extend("default" = ["ES256", "RS256"]))]
    pub(crate) algorithms: Opt<Vec<Spanned<String>>>,
    /// What their bearers may ask. Default: all models.
    #[schemars(extend("examples" = [["fraud"]], "x-comment" = true))]
    pub(crate) models: Opt<Vec<Spanned<String>>>,
    /// How much their requests matter. Default: as the listener and the model say.
    #[schemars(extend("examples" = ["normal"], "x-comment" = true))]
    pub(crate) priority: Opt<RawPriority>,
    /// Requests a second, of all of them together. Default: no bound.
    #[schemars(extend("examples" = [100.0], "x-comment" = true, "exclusiveMinimum" = 0))]
    pub(crate) rate: Opt<f64>,
    /// Requests at once after a pause, where there is a rate. Default: those of one second.
    #[schemars(extend("examples" = [200], "x-comment" = true, "minimum" = 1))]
    pub(crate) burst: Opt<u32>,
    /// Requests under way at once, of all of them together. Default: no bound.
    #[schemars(extend("examples" = [50], "x-comment" = true, "minimum" = 1))]
    pub(crate) concurrency: Opt<u32>,
}
