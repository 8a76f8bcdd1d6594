//! Our own keys: private halves, states, the published set, signed tokens.

use std::fmt;

use josekit::jwk::KeyPair;
use josekit::jwk::alg::{ec::EcCurve, ec::EcKeyPair, ed::EdCurve, ed::EdKeyPair, rsa::RsaKeyPair};
use josekit::jws::{ES256, EdDSA, JwsHeader, JwsSigner, RS256, serialize_compact};
use serde::Serialize;
use serde_json::{Map, Value, json};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Algorithm, JoseError, JwkError, Jws, JwsError, PublicKey, Typ, Verified, VerifyAlgorithm};
use crate::id::KeyId;
use crate::key::KeyState;

/// A private key in PKCS#8 PEM, on its way to or from its file.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PrivateKeyPem(String);

impl PrivateKeyPem {
    /// Takes the text of a key file.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Makes a new key.
    ///
    /// # Errors
    /// [`JoseError::Library`] when OpenSSL fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, JoseError> {
        let failed = |_| JoseError::Library("make a key");
        let pem = match algorithm {
            Algorithm::Rs256 => RsaKeyPair::generate(2048).map_err(failed)?.to_pem_private_key(),
            Algorithm::Es256 => EcKeyPair::generate(EcCurve::P256).map_err(failed)?.to_pem_private_key(),
            Algorithm::EdDsa => EdKeyPair::generate(EdCurve::Ed25519).map_err(failed)?.to_pem_private_key(),
        };
        String::from_utf8(pem).map(Self).map_err(|_| JoseError::Library("write a key"))
    }

    /// The PEM text. Only key files may hold it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeyPem(..)")
    }
}

/// What a JWT is for: its `typ` (RFC 8725 §3.11), so that one kind is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// An ID token: `JWT`.
    IdToken,
    /// A UserInfo answer: `JWT` (OpenID Connect Core §5.3.2 names none).
    UserInfo,
    /// An access token for a resource: `at+jwt` (RFC 9068 §2.1).
    AccessToken,
    /// A logout token: `logout+jwt` (OpenID Connect Back-Channel Logout §2.4).
    Logout,
}

/// A signed JWT in compact form.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SignedJwt(String);

impl SignedJwt {
    /// The token as it travels.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SignedJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedJwt(..)")
    }
}

/// One signing key with its id and algorithm.
pub struct SigningKey {
    id: KeyId,
    algorithm: Algorithm,
    signer: Box<dyn JwsSigner>,
    plain: JwsHeader,
    access_token: JwsHeader,
    logout: JwsHeader,
    public: Map<String, Value>,
    verifying: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm, self.id)
    }
}

impl SigningKey {
    /// Reads a private key.
    ///
    /// # Errors
    /// [`JoseError::Key`] when the text is no key of this algorithm, [`JoseError::TooShort`] for a weak RSA key.
    pub fn from_pem(id: KeyId, algorithm: Algorithm, pem: &PrivateKeyPem) -> Result<Self, JoseError> {
        let unreadable = |_| JoseError::Key { algorithm };
        let (signer, public): (Box<dyn JwsSigner>, _) = match algorithm {
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pem(&pem.0).map_err(unreadable)?;
                let bits = pair.key_len() * 8;
                if bits < 2048 {
                    return Err(JoseError::TooShort { bits });
                }
                (Box::new(RS256.signer_from_pem(&pem.0).map_err(unreadable)?), pair.to_jwk_public_key())
            }
            Algorithm::Es256 => {
                let pair = EcKeyPair::from_pem(&pem.0, Some(EcCurve::P256)).map_err(unreadable)?;
                (Box::new(ES256.signer_from_pem(&pem.0).map_err(unreadable)?), pair.to_jwk_public_key())
            }
            Algorithm::EdDsa => {
                let pair = EdKeyPair::from_pem(&pem.0).map_err(unreadable)?;
                (Box::new(EdDSA.signer_from_pem(&pem.0).map_err(unreadable)?), pair.to_jwk_public_key())
            }
        };
        let public = public_members(public.as_ref(), &id, algorithm);
        let verifying = PublicKey::from_jwk(&public).map_err(|_| JoseError::Key { algorithm })?;
        let [plain, access_token, logout] = ["JWT", "at+jwt", "logout+jwt"].map(|typ| header(typ, &id));
        Ok(Self { id, algorithm, signer, plain, access_token, logout, public, verifying })
    }

    /// The key id, `kid`.
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The algorithm, `alg`.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half, for what comes back to us.
    ///
    /// # Errors
    /// [`JwkError`], which would be our own fault.
    pub fn public_key(&self) -> Result<PublicKey, JwkError> {
        PublicKey::from_jwk(&self.public)
    }

    /// Signs claims: what is signed is what serde makes of the type.
    ///
    /// # Errors
    /// [`JoseError::Library`] when the claims cannot be written or OpenSSL fails.
    pub fn sign<C: Serialize>(&self, typ: TokenType, claims: &C) -> Result<SignedJwt, JoseError> {
        let header = match typ {
            TokenType::IdToken | TokenType::UserInfo => &self.plain,
            TokenType::AccessToken => &self.access_token,
            TokenType::Logout => &self.logout,
        };
        let mut payload = Vec::with_capacity(768);
        serde_json::to_writer(&mut payload, claims).map_err(|_| JoseError::Library("write claims"))?;
        let token = serialize_compact(&payload, header, &*self.signer);
        token.map(SignedJwt).map_err(|_| JoseError::Library("sign"))
    }
}

fn header(typ: &str, id: &KeyId) -> JwsHeader {
    let mut header = JwsHeader::new();
    header.set_token_type(typ);
    header.set_key_id(id.as_str());
    header
}

/// The public half as a JWK (RFC 7517 §4), built from named members so that a private one cannot slip in.
fn public_members(jwk: &Map<String, Value>, id: &KeyId, algorithm: Algorithm) -> Map<String, Value> {
    let mut public = Map::new();
    for name in ["kty", "crv", "n", "e", "x", "y"] {
        if let Some(value) = jwk.get(name) {
            public.insert(name.to_owned(), value.clone());
        }
    }
    public.insert("use".to_owned(), json!("sig"));
    public.insert("alg".to_owned(), json!(algorithm.as_str()));
    public.insert("kid".to_owned(), json!(id.as_str()));
    public
}

/// All signing keys with their states.
#[derive(Debug, Default)]
pub struct SigningKeys(Vec<(SigningKey, KeyState)>);

impl SigningKeys {
    /// Collects keys; of each algorithm at most one should be active, the last one counts.
    pub fn new(keys: Vec<(SigningKey, KeyState)>) -> Self {
        Self(keys)
    }

    /// The active key of an algorithm.
    ///
    /// # Errors
    /// [`JoseError::NoKey`] when there is none.
    pub fn active(&self, algorithm: Algorithm) -> Result<&SigningKey, JoseError> {
        let fits =
            |(key, state): &&(SigningKey, KeyState)| *state == KeyState::Active && key.algorithm == algorithm;
        self.0.iter().rev().find(fits).map(|(key, _)| key).ok_or(JoseError::NoKey(algorithm))
    }

    /// The algorithms with an active key, in the order of [`Algorithm::ALL`].
    pub fn algorithms(&self) -> Vec<Algorithm> {
        Algorithm::ALL.into_iter().filter(|algorithm| self.active(*algorithm).is_ok()).collect()
    }

    /// Every key and its state.
    pub fn iter(&self) -> impl Iterator<Item = (&SigningKey, KeyState)> {
        self.0.iter().map(|(key, state)| (key, *state))
    }

    /// Verifies a JWT that should be one of ours, with the one key that it names, retired ones included.
    ///
    /// # Errors
    /// [`JwsError`]: [`UnknownKey`](JwsError::UnknownKey) when we have no such key (any more).
    pub fn verify<'a>(&self, jws: &'a Jws, typ: Typ<'_>) -> Result<Verified<'a>, JwsError> {
        let named = |(key, _): &&(SigningKey, KeyState)| {
            jws.kid() == Some(key.id.as_str()) && jws.algorithm() == VerifyAlgorithm::from(key.algorithm)
        };
        let (key, _) = self.0.iter().find(named).ok_or(JwsError::UnknownKey)?;
        jws.verify_with(&key.verifying, &[key.algorithm.into()], typ)
    }

    /// The JWK set (RFC 7517 §5): the public halves of all keys, next and retired ones included.
    pub fn jwks(&self) -> Value {
        let keys: Vec<_> = self.0.iter().map(|(key, _)| Value::Object(key.public.clone())).collect();
        json!({ "keys": keys })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use josekit::jwk::Jwk;
    use josekit::jws::{JwsVerifier, deserialize_compact};

    use super::*;

    pub(crate) fn key(algorithm: Algorithm) -> SigningKey {
        let pem = PrivateKeyPem::generate(algorithm).unwrap();
        SigningKey::from_pem(KeyId::parse("k1").unwrap(), algorithm, &pem).unwrap()
    }

    fn verifier(keys: &SigningKeys, algorithm: Algorithm) -> Box<dyn JwsVerifier> {
        let jwk = Jwk::from_map(keys.0[0].0.public.clone()).unwrap();
        match algorithm {
            Algorithm::Rs256 => Box::new(RS256.verifier_from_jwk(&jwk).unwrap()),
            Algorithm::Es256 => Box::new(ES256.verifier_from_jwk(&jwk).unwrap()),
            Algorithm::EdDsa => Box::new(EdDSA.verifier_from_jwk(&jwk).unwrap()),
        }
    }

    #[test]
    fn every_algorithm_signs_what_its_jwk_verifies() {
        for algorithm in Algorithm::ALL {
            let keys = SigningKeys::new(vec![(key(algorithm), KeyState::Active)]);
            let token =
                keys.active(algorithm).unwrap().sign(TokenType::AccessToken, &json!({"sub": "x"})).unwrap();
            let (payload, header) =
                deserialize_compact(token.expose(), &*verifier(&keys, algorithm)).unwrap();
            assert_eq!(payload, br#"{"sub":"x"}"#);
            let members: Vec<_> =
                ["alg", "typ", "kid"].map(|m| header.claim(m).unwrap().as_str().unwrap().to_owned()).into();
            assert_eq!(members, [algorithm.as_str(), "at+jwt", "k1"]);
        }
    }

    /// RFC 8725 §3.11: what we signed as one thing comes back as that and nothing else.
    #[test]
    fn what_we_signed_is_ours_again() {
        let claims = json!({"sub": "x"});
        for algorithm in Algorithm::ALL {
            let (ours, other) = (key(algorithm), key(algorithm));
            let token = ours.sign(TokenType::AccessToken, &claims).unwrap();
            let foreign = other.sign(TokenType::AccessToken, &claims).unwrap();
            let keys = SigningKeys::new(vec![(ours, KeyState::Retired)]);
            let verify = |token: &SignedJwt, typ| {
                let jws = Jws::parse(token.expose()).unwrap();
                keys.verify(&jws, Typ::Required(&[typ])).map(|verified| verified.payload().to_vec())
            };
            assert_eq!(verify(&token, "at+jwt").unwrap(), br#"{"sub":"x"}"#);
            assert_eq!(verify(&token, "JWT"), Err(JwsError::Typ));
            assert_eq!(verify(&foreign, "at+jwt"), Err(JwsError::Signature));
            let jws = Jws::parse(token.expose()).unwrap();
            let none = SigningKeys::default().verify(&jws, Typ::Required(&["at+jwt"])).err();
            assert_eq!(none, Some(JwsError::UnknownKey));
        }
    }

    #[test]
    fn nothing_private_is_published_or_printed() {
        for algorithm in Algorithm::ALL {
            let pem = PrivateKeyPem::generate(algorithm).unwrap();
            let key = SigningKey::from_pem(KeyId::parse("k").unwrap(), algorithm, &pem).unwrap();
            assert_eq!(format!("{key:?} {pem:?}"), format!("SigningKey({algorithm} k) PrivateKeyPem(..)"));
            let jwks = SigningKeys::new(vec![(key, KeyState::Next)]).jwks();
            for private in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
                assert!(jwks["keys"][0].get(private).is_none(), "{private}");
            }
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let pem = PrivateKeyPem::generate(Algorithm::Es256).unwrap();
        for algorithm in [Algorithm::Rs256, Algorithm::EdDsa] {
            let error = SigningKey::from_pem(KeyId::parse("k").unwrap(), algorithm, &pem).unwrap_err();
            assert!(matches!(error, JoseError::Key { .. }));
        }
        let torn = PrivateKeyPem::new(pem.expose()[..60].to_owned());
        assert!(SigningKey::from_pem(KeyId::parse("k").unwrap(), Algorithm::Es256, &torn).is_err());
    }

    #[test]
    fn only_active_keys_sign() {
        let keys = SigningKeys::new(vec![(key(Algorithm::Es256), KeyState::Next)]);
        assert!(matches!(keys.active(Algorithm::Es256), Err(JoseError::NoKey(Algorithm::Es256))));
        assert!(keys.algorithms().is_empty());
        assert_eq!(keys.jwks()["keys"].as_array().unwrap().len(), 1);
    }
}
