//! A key that proves itself (RFC 9449), with proofs as good or as bad as a test wants them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tsidecar_oauth::jose::{ClientKey, PublicKey, VerifyAlgorithm};

use super::wire::Request;

const ISSUER: &str = "https://idp.tail.test";

/// Seconds since 1970, by the clock of this machine: that of a daemon at 0.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The key of one client.
pub(crate) struct Prover(pub(crate) ClientKey);

impl Prover {
    pub(crate) fn new() -> Self {
        Self::with(VerifyAlgorithm::Es256)
    }

    pub(crate) fn with(algorithm: VerifyAlgorithm) -> Self {
        Self(ClientKey::generate(algorithm).unwrap())
    }

    /// `dpop_jkt`.
    pub(crate) fn jkt(&self) -> String {
        PublicKey::from_jwk(self.0.public_jwk().as_object().unwrap()).unwrap().thumbprint().to_string()
    }

    /// The good header of a proof.
    pub(crate) fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": self.0.algorithm().as_str(), "jwk": self.0.public_jwk() })
    }

    /// A proof for a request, with changes to its claims; null takes one away.
    pub(crate) fn proof(&self, method: &str, path: &str, changes: &Value) -> String {
        self.proof_with(method, path, &json!({}), changes)
    }

    /// As [`Self::proof`], with changes to the header, too.
    pub(crate) fn proof_with(&self, method: &str, path: &str, header: &Value, claims: &Value) -> String {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let jti = format!("proof-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let base = json!({ "jti": jti, "htm": method, "htu": format!("{ISSUER}{path}"), "iat": now() });
        let claims = changed(base, claims).to_string();
        self.0.sign(&changed(self.header(), header), claims.as_bytes()).unwrap()
    }

    /// Adds a good proof to a request at `/token`, with changes to its claims.
    pub(crate) fn prove(&self, request: Request, changes: &Value) -> Request {
        request.header("DPoP", &self.proof("POST", "/token", changes))
    }

    /// A request for UserInfo with a bound token, with changes to the claims of the proof.
    pub(crate) fn userinfo(&self, token: &str, changes: &Value) -> Request {
        let mut all = json!({ "ath": ath(token) });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        shown(token).header("DPoP", &self.proof("GET", "/userinfo", &all))
    }
}

/// A request for UserInfo with a token as `DPoP`, without a proof.
pub(crate) fn shown(token: &str) -> Request {
    Request::get("/userinfo").header("Authorization", &format!("DPoP {token}"))
}

/// The hash of an access token.
pub(crate) fn ath(token: &str) -> String {
    Base64UrlUnpadded::encode_string(&Sha256::digest(token))
}

/// Replaces, adds and takes away members.
pub(crate) fn changed(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object
}
