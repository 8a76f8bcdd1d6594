//! What a client has: a key pair that signs assertions, proofs and request objects.
//!
//! For tests, fuzz targets and the demo, which play the client. The provider itself has no use for it, so the linker leaves
//! it out of the daemon.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use josekit::jwk::alg::{ec::EcCurve, ec::EcKeyPair, ed::EdCurve, ed::EdKeyPair, rsa::RsaKeyPair};
use josekit::jwk::{Jwk, KeyPair};
use josekit::jws::{ES256, EdDSA, JwsSigner, PS256, RS256};
use serde_json::{Map, Value};

use super::{JoseError, VerifyAlgorithm};

/// The key pair of a client.
pub struct ClientKey {
    algorithm: VerifyAlgorithm,
    public: Value,
    signer: Box<dyn JwsSigner>,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({})", self.algorithm)
    }
}

impl ClientKey {
    /// Makes a key pair.
    ///
    /// # Errors
    /// [`JoseError::Library`] when OpenSSL fails.
    pub fn generate(algorithm: VerifyAlgorithm) -> Result<Self, JoseError> {
        let failed = |_| JoseError::Library("make a key");
        let jwk = match algorithm {
            VerifyAlgorithm::Rs256 | VerifyAlgorithm::Ps256 => {
                RsaKeyPair::generate(2048).map_err(failed)?.to_jwk_key_pair()
            }
            VerifyAlgorithm::Es256 => EcKeyPair::generate(EcCurve::P256).map_err(failed)?.to_jwk_key_pair(),
            VerifyAlgorithm::EdDsa => {
                EdKeyPair::generate(EdCurve::Ed25519).map_err(failed)?.to_jwk_key_pair()
            }
        };
        Self::from_private(algorithm, &jwk)
    }

    /// Takes a private JWK, such as the examples of the RFCs.
    ///
    /// # Errors
    /// [`JoseError::Library`] when it is no private key of this algorithm.
    pub fn from_jwk(algorithm: VerifyAlgorithm, members: &Map<String, Value>) -> Result<Self, JoseError> {
        let jwk = Jwk::from_map(members.clone()).map_err(|_| JoseError::Library("read a key"))?;
        Self::from_private(algorithm, &jwk)
    }

    fn from_private(algorithm: VerifyAlgorithm, jwk: &Jwk) -> Result<Self, JoseError> {
        let failed = |_| JoseError::Library("read a key");
        let signer: Box<dyn JwsSigner> = match algorithm {
            VerifyAlgorithm::Rs256 => Box::new(RS256.signer_from_jwk(jwk).map_err(failed)?),
            VerifyAlgorithm::Ps256 => Box::new(PS256.signer_from_jwk(jwk).map_err(failed)?),
            VerifyAlgorithm::Es256 => Box::new(ES256.signer_from_jwk(jwk).map_err(failed)?),
            VerifyAlgorithm::EdDsa => Box::new(EdDSA.signer_from_jwk(jwk).map_err(failed)?),
        };
        let members: &Map<String, Value> = jwk.as_ref();
        let public = ["kty", "crv", "n", "e", "x", "y"];
        let public = public.iter().filter_map(|name| Some(((*name).to_owned(), members.get(*name)?.clone())));
        Ok(Self { algorithm, public: Value::Object(public.collect()), signer })
    }

    /// The algorithm of the key.
    pub const fn algorithm(&self) -> VerifyAlgorithm {
        self.algorithm
    }

    /// The public half as a JWK without `kid`, `use` and `alg`.
    pub const fn public_jwk(&self) -> &Value {
        &self.public
    }

    /// Signs any payload under any header, sensible or not.
    ///
    /// # Errors
    /// [`JoseError::Library`] when OpenSSL fails.
    pub fn sign(&self, header: &Value, payload: &[u8]) -> Result<String, JoseError> {
        let header = Base64UrlUnpadded::encode_string(header.to_string().as_bytes());
        let input = format!("{header}.{}", Base64UrlUnpadded::encode_string(payload));
        let signature = self.signer.sign(input.as_bytes()).map_err(|_| JoseError::Library("sign"))?;
        Ok(format!("{input}.{}", Base64UrlUnpadded::encode_string(&signature)))
    }
}
