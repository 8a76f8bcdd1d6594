//! Where the parameters of an authorization request stand: in itself, in a signed object, or pushed before.
//!
//! Whatever carries them, nothing else counts: what stands beside `request` or `request_uri` is ignored (RFC 9101 §6.3, RFC 9126
//! §4). The merging of OpenID Connect Core §6.1 is not used: a signature that covers half of a request protects nobody. The
//! duplicates outside that it demands (`response_type`, `scope`) do no harm.

use super::RedirectReason;
use crate::client::Client;
use crate::par::PushedId;
use crate::params::Params;
use crate::request_object::RequestObject;

/// What carries the parameters of a request.
#[derive(Debug)]
pub enum Carrier {
    /// The request itself.
    Plain,
    /// A request object by value (RFC 9101), not verified yet.
    Object(Box<RequestObject>),
    /// A request that the client pushed before (RFC 9126).
    Pushed(PushedId),
}

impl Carrier {
    /// Finds the carrier of a request.
    ///
    /// # Errors
    /// [`RedirectReason`] when there are two, when the object is unsigned or no JWT, or when `request_uri` is not one of ours.
    pub fn of(params: &Params) -> Result<Self, RedirectReason> {
        match (params.get("request"), params.get("request_uri")) {
            (None, None) => Ok(Self::Plain),
            (Some(_), Some(_)) => Err(RedirectReason::TwoCarriers),
            (Some(object), None) => {
                let object = RequestObject::read(object).map_err(RedirectReason::RequestObject)?;
                Ok(Self::Object(Box::new(object)))
            }
            (None, Some(uri)) if PushedId::is_ours(uri) => {
                PushedId::parse(uri).map(Self::Pushed).ok_or(RedirectReason::Pushed)
            }
            (None, Some(_)) => Err(RedirectReason::RequestUri),
        }
    }

    /// Judges whether the client may bring its request this way: some must sign, some must push. What was pushed was judged
    /// for its signature when it was.
    ///
    /// # Errors
    /// [`RedirectReason::PushRequired`], [`RedirectReason::ObjectRequired`].
    pub fn admit(&self, client: &Client) -> Result<(), RedirectReason> {
        match self {
            Self::Pushed(_) => Ok(()),
            Self::Plain | Self::Object(_) if client.requires_push() => Err(RedirectReason::PushRequired),
            Self::Plain | Self::Object(_) => self.admit_pushing(client),
        }
    }

    /// As [`admit`](Self::admit), for a request that is being pushed.
    ///
    /// # Errors
    /// [`RedirectReason::ObjectRequired`], and [`RedirectReason::RequestUri`] for one inside (RFC 9126 §2.1).
    pub fn admit_pushing(&self, client: &Client) -> Result<(), RedirectReason> {
        match self {
            Self::Plain if client.requires_request_object() => Err(RedirectReason::ObjectRequired),
            Self::Plain | Self::Object(_) => Ok(()),
            Self::Pushed(_) => Err(RedirectReason::RequestUri),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::public;
    use crate::client::{ClientKeys, ClientSpec, SignedRequests};
    use crate::error::ErrorCode;
    use crate::fresh::FreshSecret;
    use crate::jose::VerifyAlgorithm;
    use crate::jose::tests::jwks;
    use crate::par::Lane;
    use crate::request_object::RequestObjectError;
    use crate::time::UnixTime;

    fn of(query: &str) -> Result<Carrier, RedirectReason> {
        Carrier::of(&Params::parse(query.as_bytes()).unwrap())
    }

    fn pushed() -> PushedId {
        PushedId::candidates(FreshSecret::from_bytes([7; 32]), Lane::Tailnet).next().unwrap()
    }

    /// Base64url of `{"alg":"ES256"}` and of two empty things.
    const OBJECT: &str = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA";

    #[test]
    fn one_carrier_and_no_other() {
        use RedirectReason as R;
        assert!(matches!(of("client_id=a&state=s"), Ok(Carrier::Plain)));
        assert!(matches!(of("request=&request_uri="), Ok(Carrier::Plain)));
        assert!(matches!(of(&format!("request={OBJECT}")), Ok(Carrier::Object(_))));
        let uri = pushed().request_uri();
        assert!(matches!(of(&format!("request_uri={uri}")), Ok(Carrier::Pushed(id)) if id == pushed()));
        let unsigned = R::RequestObject(RequestObjectError::Unsigned);
        for (query, reason, code) in [
            ("request=eyJhbGciOiJub25lIn0.e30.".to_owned(), unsigned, ErrorCode::InvalidRequestObject),
            (format!("request={OBJECT}&request_uri={uri}"), R::TwoCarriers, ErrorCode::InvalidRequest),
            ("request_uri=https://app.test/object".into(), R::RequestUri, ErrorCode::RequestUriNotSupported),
            ("request_uri=urn:x".into(), R::RequestUri, ErrorCode::RequestUriNotSupported),
            (format!("request_uri={uri}A"), R::Pushed, ErrorCode::InvalidRequestUri),
            (
                "request_uri=urn:ietf:params:oauth:request_uri:".into(),
                R::Pushed,
                ErrorCode::InvalidRequestUri,
            ),
        ] {
            let refused = of(&query).unwrap_err();
            assert_eq!((refused, refused.code()), (reason, code), "{query}");
        }
    }

    #[test]
    fn some_clients_must_sign_and_some_must_push() {
        use RedirectReason as R;
        let client = |spec| Client::new(spec, UnixTime::default()).unwrap();
        let free = client(public());
        let signs = SignedRequests { require_request_object: true, ..SignedRequests::default() };
        let keys = ClientKeys::Inline(jwks(&[("a", VerifyAlgorithm::Es256)]));
        let signs = client(ClientSpec { signed: signs, keys, ..public() });
        let pushes = client(ClientSpec { require_par: true, ..public() });
        let (plain, object) = (Carrier::Plain, of(&format!("request={OBJECT}")).unwrap());
        let uri = Carrier::Pushed(pushed());
        for (carrier, client, at_authorize, at_par) in [
            (&plain, &free, Ok(()), Ok(())),
            (&plain, &signs, Err(R::ObjectRequired), Err(R::ObjectRequired)),
            (&plain, &pushes, Err(R::PushRequired), Ok(())),
            (&object, &free, Ok(()), Ok(())),
            (&object, &signs, Ok(()), Ok(())),
            (&object, &pushes, Err(R::PushRequired), Ok(())),
            (&uri, &free, Ok(()), Err(R::RequestUri)),
            (&uri, &signs, Ok(()), Err(R::RequestUri)),
            (&uri, &pushes, Ok(()), Err(R::RequestUri)),
        ] {
            assert_eq!((carrier.admit(client), carrier.admit_pushing(client)), (at_authorize, at_par));
        }
    }
}
