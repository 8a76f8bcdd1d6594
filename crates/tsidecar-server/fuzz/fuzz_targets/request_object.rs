//! Request objects and client assertions: any claims under a good signature; the one is never taken for the other.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tsidecar_oauth::{
    assertion::{ASSERTION_TYPE, AssertionRule, ClientAssertion},
    id::ClientId,
    jose::{ClientKey, PublicKeys, VerifyAlgorithm},
    request_object::RequestObject,
    time::UnixTime,
    uri::Issuer,
};

struct Fixture {
    key: ClientKey,
    keys: PublicKeys,
    client: ClientId,
    issuer: Issuer,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = ClientKey::generate(VerifyAlgorithm::EdDsa).unwrap();
    let keys = PublicKeys::parse(&json!({ "keys": [key.public_jwk()] }).to_string()).unwrap();
    let issuer = Issuer::parse("https://idp.test").unwrap();
    Fixture { key, keys, client: ClientId::parse("app").unwrap(), issuer }
});

fuzz_target!(|data: (bool, Vec<(&str, &str)>)| {
    let (with_sub, changes) = data;
    let Fixture { key, keys, client, issuer } = &*FIXTURE;
    let now = UnixTime::from_secs(1_800_000_000);
    let mut claims = json!({
        "iss": "app", "aud": "https://idp.test", "client_id": "app", "jti": "j", "exp": 1_800_000_060, "scope": "openid"
    });
    if with_sub {
        claims["sub"] = "app".into();
    }
    for (name, value) in changes.into_iter().take(8) {
        claims[name] = serde_json::from_str::<Value>(value).unwrap_or_else(|_| value.into());
    }
    let jwt = key.sign(&json!({ "alg": "EdDSA" }), claims.to_string().as_bytes()).unwrap();
    let params = RequestObject::read(&jwt)
        .and_then(|object| object.open(keys, &VerifyAlgorithm::ALL, client, issuer, now));
    let rule = AssertionRule { algorithms: &VerifyAlgorithm::ALL, issuer, token_endpoint: None };
    let assertion = ClientAssertion::read(Some(ASSERTION_TYPE), &jwt)
        .and_then(|assertion| assertion.verify(keys, rule, now));
    assert!(params.is_err() || assertion.is_err());
    if let Ok(params) = params {
        assert_eq!(params.get("client_id"), Some("app"));
        assert!(!params.names_any(&["sub", "request", "request_uri", "iss", "aud"]));
    }
    // And the text of the change as it is.
    let _ = RequestObject::read(&claims.to_string());
});
