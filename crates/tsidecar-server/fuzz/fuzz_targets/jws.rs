//! JWTs and JWK sets of strangers: never a panic, and nothing verifies but what was signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tsidecar_oauth::jose::{ClientKey, Jws, PublicKeys, Typ, VerifyAlgorithm};

struct Fixture {
    keys: PublicKeys,
    good: String,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = ClientKey::generate(VerifyAlgorithm::EdDsa).unwrap();
    let set = json!({ "keys": [key.public_jwk()] }).to_string();
    let good = key.sign(&json!({ "alg": "EdDSA", "typ": "JWT" }), br#"{"sub":"app","exp":1}"#).unwrap();
    Fixture { keys: PublicKeys::parse(&set).unwrap(), good }
});

fuzz_target!(|data: (bool, u16, &str)| {
    let (own, place, text) = data;
    let fixture = &*FIXTURE;
    // The text itself, or the good token with a part replaced.
    let shown = if own {
        text.to_owned()
    } else {
        let at = usize::from(place) % (fixture.good.len() + 1);
        format!("{}{text}{}", &fixture.good[..at], fixture.good.get(at + text.len()..).unwrap_or_default())
    };
    if let Ok(jws) = Jws::parse(&shown) {
        let _ = (jws.peek("sub"), jws.kid(), jws.embedded_key());
        let verified = jws.verify(&fixture.keys, &VerifyAlgorithm::ALL, Typ::Optional(&["JWT"]));
        assert!(verified.is_err() || shown == fixture.good);
    }
    // A set that is good has keys that fit something, and a stranger's signature fits none of them.
    if let Ok(keys) = PublicKeys::parse(text) {
        assert!(keys.iter().count() > 0);
        for key in keys.iter() {
            assert!(VerifyAlgorithm::ALL.iter().any(|algorithm| key.fits(*algorithm)));
        }
    }
});
