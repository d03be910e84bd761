//! TLS as it is written: with servers, and on our own listeners.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Opt;

/// TLS with the servers of a pool whose URLs begin with https, and with those that are discovered.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {ca: /etc/mainstay/ca.pem}")]
#[schemars(rename = "Tls")]
pub(crate) struct RawTls {
    /// PEM file of the authorities that may vouch for the servers. Default: those of the system.
    #[schemars(extend("examples" = ["/etc/mainstay/servers-ca.pem"]))]
    pub(crate) ca: Opt<String>,
    /// The name that their certificates must have. Default: the host of each URL.
    #[schemars(extend("examples" = ["models.internal"], "x-comment" = true))]
    pub(crate) server_name: Opt<String>,
    /// PEM file of the certificate that is shown to them, with its chain (mTLS). Default: none is
    /// shown.
    #[schemars(extend("examples" = ["/etc/mainstay/gateway.pem"], "x-comment" = true))]
    pub(crate) certificate: Opt<String>,
    /// PEM file of its private key.
    #[schemars(extend("examples" = ["/etc/mainstay/gateway-key.pem"], "x-comment" = true))]
    pub(crate) key: Opt<String>,
    /// Refused: certificates are always verified. A server with a certificate of its own is
    /// trusted by naming who issued it as `ca`.
    #[schemars(extend("default" = false))]
    pub(crate) insecure_skip_verify: Opt<bool>,
}

/// TLS on a listener.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write {certificate: FILE, key: FILE}")]
#[schemars(rename = "ListenTls")]
pub(crate) struct RawListenTls {
    /// PEM file of the certificate, with its chain. Read again when it changes.
    #[schemars(extend("examples" = ["/etc/mainstay/tls.pem"]))]
    pub(crate) certificate: Opt<String>,
    /// PEM file of its private key.
    #[schemars(extend("examples" = ["/etc/mainstay/tls-key.pem"]))]
    pub(crate) key: Opt<String>,
    /// PEM file of the authorities that vouch for clients (mTLS). Default: clients are asked for
    /// no certificate.
    #[schemars(extend("examples" = ["/etc/mainstay/clients-ca.pem"], "x-comment" = true))]
    pub(crate) client_ca: Opt<String>,
    /// With `client-ca`, whether each client must show a certificate (required), or may
    /// (optional).
    #[schemars(extend("default" = "required"))]
    pub(crate) client_certificate: Opt<RawClientCertificate>,
}

/// Whether a client shows a certificate.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ClientCertificate", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawClientCertificate {
    /// It must.
    Required,
    /// It may; a wrong one is refused all the same.
    Optional,
}
