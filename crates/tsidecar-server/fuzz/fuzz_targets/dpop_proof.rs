//! DPoP proofs: any claims and header members under a good signature, and any text; a proof that passes is of the key that signed
//! it and for this request.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tsidecar_oauth::{
    dpop::{DpopProof, Expected, NonceRule, ServerNonces},
    jose::{ClientKey, VerifyAlgorithm},
    time::UnixTime,
};

const NOW: u64 = 1_800_000_000;

static KEY: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::generate(VerifyAlgorithm::EdDsa).unwrap());

fuzz_target!(|data: (&str, &str, Option<&str>)| {
    let (name, value, text) = data;
    let value: Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    let mut claims = json!({ "jti": "j", "htm": "POST", "htu": "https://idp.test/token", "iat": NOW });
    claims[name] = value;
    let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": KEY.public_jwk() });
    let proof = match text {
        Some(text) => text.to_owned(),
        None => KEY.sign(&header, claims.to_string().as_bytes()).unwrap(),
    };
    let now = UnixTime::from_secs(NOW);
    let nonces = ServerNonces::new(|_| [7; 32], now);
    let expected = Expected {
        method: "POST",
        url: "https://idp.test/token",
        access_token: None,
        algorithms: &VerifyAlgorithm::ALL,
        nonce: NonceRule::Optional,
        nonces: &nonces,
        now,
    };
    if DpopProof::check(&proof, &expected).is_ok() {
        assert!(text.is_none() && claims["htm"] == "POST");
        let htu = claims["htu"].as_str().unwrap().to_ascii_lowercase();
        assert!(htu.trim_start().starts_with("https:") && htu.contains("token"), "{htu}");
    }
});
