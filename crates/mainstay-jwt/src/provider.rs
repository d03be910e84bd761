//! The cryptography of tokens, by ring: verification alone, with public keys alone.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes it the one that jsonwebtoken uses; the first time decides.
pub(crate) fn install() {
    let _known = PROVIDER.install_default();
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if algorithm.family() != key.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let by = match algorithm {
        Algorithm::RS256 => By::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => By::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => By::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => By::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => By::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => By::Rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => By::Other(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => By::Other(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => By::Other(&ED25519),
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(Signed { algorithm: *algorithm, by, key: key.clone() }))
}

enum By {
    Rsa(&'static RsaParameters),
    Other(&'static dyn VerificationAlgorithm),
}

struct Signed {
    algorithm: Algorithm,
    by: By,
    key: DecodingKey,
}

impl JwtVerifier for Signed {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Signed {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), signature::Error> {
        let verified = match (&self.by, self.key.kind()) {
            (By::Rsa(by), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(*by, key).verify(message, signature)
            }
            (By::Rsa(by), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(by, message, signature)
            }
            (By::Other(by), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(*by, key).verify(message, signature)
            }
            (By::Other(_), DecodingKeyKind::RsaModulusExponent { .. }) => {
                return Err(signature::Error::new());
            }
        };
        verified.map_err(|_| signature::Error::new())
    }
}
