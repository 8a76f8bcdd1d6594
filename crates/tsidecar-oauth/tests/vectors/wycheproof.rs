//! Wycheproof: every case of the sets that our primitives can meet, valid and invalid, through the keys that we verify with.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tsidecar_oauth::jose::{PublicKey, VerifyAlgorithm};
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// A number as JWK writes it: without leading zeros, or in exactly so many bytes.
fn number(bytes: &[u8], length: Option<usize>) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let short = &bytes[zeros..];
    base64(&[&vec![0; length.map_or(0, |length| length - short.len())], short].concat())
}

fn key(jwk: &Value) -> PublicKey {
    PublicKey::from_jwk(jwk.as_object().unwrap()).unwrap()
}

/// What a set came to: how many cases it had, and how many of them were valid.
#[derive(Default)]
struct Tally {
    cases: usize,
    valid: usize,
}

impl Tally {
    fn judge(&mut self, case: (usize, &str), expected: TestResult, verified: bool) {
        match expected {
            TestResult::Valid => assert!(verified, "valid, but refused: {case:?}"),
            TestResult::Invalid => assert!(!verified, "invalid, but accepted: {case:?}"),
            // Lawful, but nobody needs it.
            TestResult::Acceptable => (),
        }
        self.cases += 1;
        self.valid += usize::from(verified);
    }

    /// Both kinds were met: a set that is read wrongly would otherwise pass.
    fn check(&self, at_least: usize) {
        assert!(self.cases >= at_least && self.valid > 0 && self.valid < self.cases);
    }
}

#[test]
fn rsa_pkcs1_with_sha_256() {
    use rsa_pkcs1_verify::{TestName, TestSet};
    for name in
        [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256, TestName::Rsa8192Sha256]
    {
        let mut tally = Tally::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let (n, e) = (number(&group.key.n, None), number(&group.key.e, None));
            let key = key(&json!({ "kty": "RSA", "n": n, "e": e }));
            for test in &group.tests {
                let verified = key.verifies(VerifyAlgorithm::Rs256, &test.msg, &test.sig);
                tally.judge((test.tc_id, &test.comment), test.result, verified);
                let other = key.verifies(VerifyAlgorithm::Ps256, &test.msg, &test.sig);
                assert!(!(verified && other), "a signature of both algorithms: {}", test.tc_id);
            }
        }
        tally.check(200);
    }
}

#[test]
fn rsa_pss_with_sha_256_and_a_salt_of_32() {
    use rsa_pss_verify::{TestName, TestSet};
    let sets = [
        TestName::RsaPss2048Sha256Mgf1SaltLen32,
        TestName::RsaPss3072Sha256Mgf1SaltLen32,
        TestName::RsaPss4096Sha256Mgf1SaltLen32,
    ];
    for name in sets {
        let mut tally = Tally::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let (n, e) = (number(&group.key.n, None), number(&group.key.e, None));
            let key = key(&json!({ "kty": "RSA", "n": n, "e": e }));
            for test in &group.tests {
                let verified = key.verifies(VerifyAlgorithm::Ps256, &test.msg, &test.sig);
                tally.judge((test.tc_id, &test.comment), test.result, verified);
                let other = key.verifies(VerifyAlgorithm::Rs256, &test.msg, &test.sig);
                assert!(!(verified && other), "a signature of both algorithms: {}", test.tc_id);
            }
        }
        tally.check(50);
    }
}

/// Another salt, another hash, another mask: PS256 is one set of parameters (RFC 7518 §3.5).
#[test]
fn rsa_pss_with_other_parameters_is_not_ps256() {
    use rsa_pss_verify::{TestName, TestSet};
    let mut seen = 0;
    for name in [
        TestName::RsaPss2048Sha256Mgf1SaltLen0,
        TestName::RsaPss2048Sha384Mgf1SaltLen48,
        TestName::RsaPss2048Sha512_256Mgf1SaltLen32,
        TestName::RsaPss2048Sha256Mgf1Sha1_20,
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let (n, e) = (number(&group.key.n, None), number(&group.key.e, None));
            let key = key(&json!({ "kty": "RSA", "n": n, "e": e }));
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                seen += 1;
                let verified = key.verifies(VerifyAlgorithm::Ps256, &test.msg, &test.sig);
                assert!(!verified, "{name:?} {}", test.tc_id);
            }
        }
    }
    assert!(seen > 100);
}

#[test]
fn ecdsa_on_p_256_with_sha_256() {
    let mut tally = Tally::default();
    for group in ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap().test_groups {
        let (x, y) = (number(&group.key.affine_x, Some(32)), number(&group.key.affine_y, Some(32)));
        let key = key(&json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }));
        for test in &group.tests {
            let verified = key.verifies(VerifyAlgorithm::Es256, &test.msg, &test.sig);
            tally.judge((test.tc_id, &test.comment), test.result, verified);
        }
    }
    tally.check(200);
}

/// JWS has the two numbers side by side; DER is another form of the same signature.
#[test]
fn ecdsa_signatures_in_der_are_not_es256() {
    for group in ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap().test_groups {
        let (x, y) = (number(&group.key.affine_x, Some(32)), number(&group.key.affine_y, Some(32)));
        let key = key(&json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }));
        for test in &group.tests {
            assert!(!key.verifies(VerifyAlgorithm::Es256, &test.msg, &test.sig), "{}", test.tc_id);
        }
    }
}

#[test]
fn ed25519() {
    let mut tally = Tally::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = key(&json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(&group.key.pk) }));
        for test in &group.tests {
            let verified = key.verifies(VerifyAlgorithm::EdDsa, &test.msg, &test.sig);
            tally.judge((test.tc_id, &test.comment), test.result, verified);
        }
    }
    tally.check(100);
}

/// The MAC of refresh tokens; a token carries it whole, so a truncated tag is none.
#[test]
fn hmac_sha_256() {
    let mut tally = Tally::default();
    for group in mac::TestSet::load(mac::TestName::HmacSha256).unwrap().test_groups {
        for test in &group.tests {
            let mac = Hmac::<Sha256>::new_from_slice(&test.key).unwrap().chain_update(&*test.msg);
            let verified = if group.tag_size == 256 {
                mac.verify_slice(&test.tag).is_ok()
            } else {
                assert!(mac.clone().verify_slice(&test.tag).is_err());
                mac.verify_truncated_left(&test.tag).is_ok()
            };
            tally.judge((test.tc_id, &test.comment), test.result, verified);
        }
    }
    tally.check(150);
}
