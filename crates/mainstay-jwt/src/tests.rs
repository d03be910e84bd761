//! Tokens: good ones, expired ones, and every way to forge one.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::*;

/// Far in the future.
const LATER: u64 = 4_000_000_000;
/// Long past.
const PAST: u64 = 1_000_000_000;

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let whole = group.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let whole = whole << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(whole >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

/// A signer with its public key as a set.
struct Issuer {
    key: EcdsaKeyPair,
    set: String,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).unwrap();
        let point = key.public_key().as_ref();
        let set = format!(
            r#"{{"keys": [{{"kty": "EC", "crv": "P-256", "kid": "a", "x": "{}", "y": "{}"}}]}}"#,
            base64(&point[1..33]),
            base64(&point[33..])
        );
        Self { key, set }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", base64(signature.as_ref()))
    }
}

fn rules() -> Rules {
    Rules {
        issuer: "https://issuer".to_owned(),
        audience: vec!["mainstay".to_owned()],
        algorithms: vec!["ES256".parse().unwrap()],
    }
}

fn claims(expires: u64) -> String {
    format!(r#"{{"sub": "ann", "iss": "https://issuer", "aud": "mainstay", "exp": {expires}}}"#)
}

const HEADER: &str = r#"{"alg": "ES256", "kid": "a"}"#;

#[test]
fn a_good_token_says_who_asks() {
    let issuer = Issuer::new();
    let verifier = Verifier::new(&issuer.set, rules()).unwrap();
    let token = verifier.verify(&issuer.sign(HEADER, &claims(LATER)));
    assert_eq!(token, Ok(Token { subject: "ann".to_owned(), expires: LATER }));
    assert!(!format!("{verifier:?}").contains("x\":"), "keys are not shown");
}

#[test]
fn what_is_over_or_for_others_is_refused() {
    let issuer = Issuer::new();
    let verifier = Verifier::new(&issuer.set, rules()).unwrap();
    let verify = |claims: &str| verifier.verify(&issuer.sign(HEADER, claims)).unwrap_err();
    assert_eq!(verify(&claims(PAST)), Refused::Time);
    assert_eq!(verify(&claims(LATER).replace("issuer", "other")), Refused::Elsewhere);
    assert_eq!(verify(&claims(LATER).replace("mainstay", "other")), Refused::Elsewhere);
    let early = claims(LATER).replace("\"sub\"", &format!("\"nbf\": {}, \"sub\"", LATER - 1));
    assert_eq!(verify(&early), Refused::Time);
    for missing in ["sub", "iss", "aud", "exp"] {
        let claims = claims(LATER).replace(&format!("\"{missing}\""), "\"x\"");
        assert_eq!(verify(&claims), Refused::Malformed, "without {missing}");
    }
    // Types that are not the claim's must not read as no claim at all.
    let text = claims(LATER).replace(&LATER.to_string(), "\"4000000000\"");
    assert!(verifier.verify(&issuer.sign(HEADER, &text)).is_err());
    let never = claims(LATER).replace("\"sub\"", "\"nbf\": \"never\", \"sub\"");
    assert!(verifier.verify(&issuer.sign(HEADER, &never)).is_err());
}

#[test]
fn a_token_does_not_choose_how_it_is_verified() {
    let issuer = Issuer::new();
    let verifier = Verifier::new(&issuer.set, rules()).unwrap();
    let good = issuer.sign(HEADER, &claims(LATER));
    let (message, _) = good.rsplit_once('.').unwrap();
    assert!(verifier.verify(&format!("{message}.")).is_err());
    let unsigned =
        format!("{}.{}.", base64(br#"{"alg": "none"}"#), base64(claims(LATER).as_bytes()));
    assert_eq!(verifier.verify(&unsigned), Err(Refused::Malformed));
    // The public key as a shared secret.
    let header = base64(br#"{"alg": "HS256", "kid": "a"}"#);
    let message = format!("{header}.{}", base64(claims(LATER).as_bytes()));
    let public = issuer.key.public_key().as_ref();
    for secret in [public, issuer.set.as_bytes()] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        let token = format!("{message}.{}", base64(tag.as_ref()));
        assert_eq!(verifier.verify(&token), Err(Refused::Malformed));
    }
    assert!("HS256".parse::<Algorithm>().is_err() && "none".parse::<Algorithm>().is_err());
    // Another algorithm of a key that is known, which the rules do not name.
    let other = issuer.sign(r#"{"alg": "RS256", "kid": "a"}"#, &claims(LATER));
    assert_eq!(verifier.verify(&other), Err(Refused::Malformed));
}

#[test]
fn strangers_and_changed_tokens_are_refused() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let verifier = Verifier::new(&issuer.set, rules()).unwrap();
    let strange = stranger.sign(HEADER, &claims(LATER));
    assert_eq!(verifier.verify(&strange), Err(Refused::Signature));
    let good = issuer.sign(HEADER, &claims(LATER));
    let mut parts = good.split('.');
    let (header, _, signature) =
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let other = base64(claims(LATER).replace("ann", "bob").as_bytes());
    assert_eq!(verifier.verify(&format!("{header}.{other}.{signature}")), Err(Refused::Signature));
    for text in ["", ".", "..", "a.b.c", "é", &"a".repeat(LONGEST + 1)] {
        assert_eq!(verifier.verify(text), Err(Refused::Malformed), "{text}");
    }
}

#[test]
fn keys_come_from_sets_and_from_pem() {
    let pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().public_key_pem();
    assert!(Verifier::new(&pem, rules()).is_ok());
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap().public_key_pem();
    assert!(Verifier::new(&ed, rules()).is_err(), "no key for ES256");
    let edwards = Rules { algorithms: vec!["EdDSA".parse().unwrap()], ..rules() };
    assert!(Verifier::new(&ed, edwards).is_ok());
    for wrong in ["", "{}", "{\"keys\": []}", "no key"] {
        assert!(Verifier::new(wrong, rules()).is_err(), "{wrong}");
    }
    let secret = r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#;
    assert!(Verifier::new(secret, rules()).is_err(), "shared secrets are no public keys");
}
