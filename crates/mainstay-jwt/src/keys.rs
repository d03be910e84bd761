//! Public keys of issuers, out of a JWKS or out of PEM.

use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use mainstay_protocol::certificate::{PublicKey, public_key};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use crate::BadKeys;

/// Which algorithms a key serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// One public key.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) key: DecodingKey,
    kind: Kind,
    /// Its name in the set.
    id: Option<String>,
    /// The one algorithm that it is for, where the set says so.
    only: Option<KeyAlgorithm>,
}

impl Key {
    /// Whether signatures of this kind can be verified with it.
    pub(crate) fn serves(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let fits = match self.kind {
            Kind::Rsa => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Kind::P256 => algorithm == ES256,
            Kind::P384 => algorithm == ES384,
            Kind::Ed25519 => algorithm == EdDSA,
        };
        let named = |only: KeyAlgorithm| only.to_string() == format!("{algorithm:?}");
        fits && self.only.is_none_or(named)
    }

    /// Whether a token that names `id` may be signed by it.
    pub(crate) fn may_be(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        let named = match (id, &self.id) {
            (Some(wanted), Some(own)) => wanted == own,
            _ => true,
        };
        named && self.serves(algorithm)
    }

    /// What may be shown of it.
    pub(crate) fn name(&self) -> &str {
        self.id.as_deref().unwrap_or("unnamed")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let same = match (self.key.kind(), other.key.kind()) {
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(two)) => one == two,
            (
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent { n: n2, e: e2 },
            ) => n == n2 && e == e2,
            _ => false,
        };
        same && self.kind == other.kind && self.id == other.id && self.only == other.only
    }
}

/// The keys of a text.
pub(crate) fn read(text: &str) -> Result<Vec<Key>, BadKeys> {
    if text.trim_start().starts_with('{') { set(text) } else { pem(text) }
}

fn set(text: &str) -> Result<Vec<Key>, BadKeys> {
    let set: JwkSet = serde_json::from_str(text)
        .map_err(|error| BadKeys(format!("it is no set of JSON Web Keys: {error}")))?;
    let keys = set.keys.iter().filter(
        |jwk| !matches!(&jwk.common.public_key_use, Some(used) if *used != PublicKeyUse::Signature),
    );
    keys.filter_map(|jwk| Some((jwk, kind(&jwk.algorithm)?)))
        .map(|(jwk, kind)| {
            let key = DecodingKey::from_jwk(jwk)
                .map_err(|error| BadKeys(format!("a key of the set is broken: {error}")))?;
            let (id, only) = (jwk.common.key_id.clone(), jwk.common.key_algorithm);
            Ok(Key { key, kind, id, only })
        })
        .collect()
}

/// What a key of a set is; `None` for shared secrets and curves that are not known.
fn kind(parameters: &AlgorithmParameters) -> Option<Kind> {
    use jsonwebtoken::jwk::EllipticCurve;
    match parameters {
        AlgorithmParameters::RSA(_) => Some(Kind::Rsa),
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => Some(Kind::P256),
            EllipticCurve::P384 => Some(Kind::P384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Some(Kind::Ed25519),
        _ => None,
    }
}

fn pem(text: &str) -> Result<Vec<Key>, BadKeys> {
    let mut keys = Vec::new();
    for der in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
        let der = der.map_err(|error| BadKeys(format!("it is no PEM: {error}")))?;
        let (key, kind) = match public_key(&der) {
            Some(PublicKey::Rsa(key)) => (DecodingKey::from_rsa_der(key), Kind::Rsa),
            Some(PublicKey::P256(key)) => (DecodingKey::from_ec_der(key), Kind::P256),
            Some(PublicKey::P384(key)) => (DecodingKey::from_ec_der(key), Kind::P384),
            Some(PublicKey::Ed25519(key)) => (DecodingKey::from_ed_der(key), Kind::Ed25519),
            None => return Err(BadKeys("a key in it is of a kind that is not known".to_owned())),
        };
        keys.push(Key { key, kind, id: None, only: None });
    }
    if keys.is_empty() { Err(BadKeys("there is no public key in it".to_owned())) } else { Ok(keys) }
}
