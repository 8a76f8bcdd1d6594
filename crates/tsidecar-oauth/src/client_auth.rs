//! Client authentication (RFC 6749 §2.3): what was presented, and what it proves.
//!
//! Layer 2. An [`AuthenticatedClient`] cannot be made without verifying.

use std::sync::Arc;

use base64ct::{Base64, Base64Unpadded, Encoding};
use zeroize::Zeroizing;

use crate::client::{AuthMethod, Client};
use crate::error::ErrorCode;
use crate::id::ClientId;
use crate::params::{Params, decode_value};
use crate::secret::ClientSecret;

/// Why a client did not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientAuthError {
    /// No client id in header or body.
    #[error("the client did not say who it is: no client_id and no HTTP Basic credentials")]
    Missing,
    /// The Authorization header is not well-formed HTTP Basic.
    #[error("the Authorization header is not well-formed HTTP Basic")]
    Malformed,
    /// Two ways of authentication in one request (RFC 6749 §2.3), or two different client ids.
    #[error("more than one way of client authentication, or two different client ids")]
    Ambiguous,
    /// A way of authentication that we do not serve.
    #[error("client assertions are not supported")]
    Assertion,
    /// No such client, or it is switched off.
    #[error("unknown client")]
    Unknown,
    /// The secret is wrong.
    #[error("client authentication failed")]
    WrongSecret,
    /// The client may not authenticate this way.
    #[error("this client does not authenticate this way")]
    Method,
}

impl ClientAuthError {
    /// The code sent to the client (RFC 6749 §5.2).
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Ambiguous => ErrorCode::InvalidRequest,
            Self::Missing
            | Self::Malformed
            | Self::Assertion
            | Self::Unknown
            | Self::WrongSecret
            | Self::Method => ErrorCode::InvalidClient,
        }
    }
}

/// What a request says of its client, unverified.
#[derive(Debug)]
pub struct PresentedCredentials {
    id: ClientId,
    method: AuthMethod,
    /// The secret, and how it reads when percent-decoded if that differs: many clients do not encode what they put into
    /// HTTP Basic, others do (RFC 6749 §2.3.1).
    secrets: Vec<ClientSecret>,
}

impl PresentedCredentials {
    /// Reads the credentials of a request: HTTP Basic, or `client_id` and `client_secret` of the body. Basic together
    /// with an equal `client_id` in the body is fine.
    ///
    /// # Errors
    /// [`ClientAuthError`] when there are none, or more than one kind, or they are malformed.
    pub fn read(authorization: Option<&str>, body: &Params) -> Result<Self, ClientAuthError> {
        if body.get("client_assertion").is_some() {
            return Err(ClientAuthError::Assertion);
        }
        let body_id = body.get("client_id");
        let body_secret = body.get("client_secret");
        if let Some(header) = authorization {
            let basic = Self::read_basic(header)?;
            let same_id = body_id.is_none_or(|id| id == basic.id.as_str());
            return if same_id && body_secret.is_none() {
                Ok(basic)
            } else {
                Err(ClientAuthError::Ambiguous)
            };
        }
        let id = ClientId::parse(body_id.ok_or(ClientAuthError::Missing)?)
            .map_err(|_| ClientAuthError::Unknown)?;
        Ok(match body_secret {
            Some(secret) => Self {
                id,
                method: AuthMethod::ClientSecretPost,
                secrets: vec![ClientSecret::new(secret.to_owned())],
            },
            None => Self { id, method: AuthMethod::None, secrets: Vec::new() },
        })
    }

    /// Reads an HTTP Basic header (RFC 7617), its base64 strictly.
    fn read_basic(header: &str) -> Result<Self, ClientAuthError> {
        let (scheme, encoded) = header.split_once(' ').ok_or(ClientAuthError::Malformed)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(ClientAuthError::Malformed);
        }
        let encoded = encoded.trim_matches(' ');
        let bytes = Base64::decode_vec(encoded).or_else(|_| Base64Unpadded::decode_vec(encoded));
        let bytes = Zeroizing::new(bytes.map_err(|_| ClientAuthError::Malformed)?);
        let text = std::str::from_utf8(&bytes).map_err(|_| ClientAuthError::Malformed)?;
        let (id, secret) = text.split_once(':').ok_or(ClientAuthError::Malformed)?;
        let decoded_id = decode_value(id).unwrap_or(id.into());
        let id = ClientId::parse(&decoded_id).map_err(|_| ClientAuthError::Unknown)?;
        let mut secrets = vec![ClientSecret::new(secret.to_owned())];
        if let Some(decoded) = decode_value(secret).filter(|decoded| decoded != secret) {
            secrets.push(ClientSecret::new(decoded.into_owned()));
        }
        Ok(Self { id, method: AuthMethod::ClientSecretBasic, secrets })
    }

    /// The client that the request claims to come from.
    pub const fn client_id(&self) -> &ClientId {
        &self.id
    }

    /// Verifies the credentials against the client of that id.
    ///
    /// # Errors
    /// [`ClientAuthError`]: nothing was burned, and nothing else in the request may be acted upon.
    pub fn verify(self, client: Option<&Arc<Client>>) -> Result<AuthenticatedClient, ClientAuthError> {
        let client = client.filter(|client| *client.id() == self.id && !client.is_disabled());
        let client = client.ok_or(ClientAuthError::Unknown)?;
        if !client.accepts(self.method) {
            return Err(ClientAuthError::Method);
        }
        let known = self.secrets.iter().fold(false, |known, secret| client.knows(secret) | known);
        if known || self.method == AuthMethod::None {
            Ok(AuthenticatedClient { client: Arc::clone(client), method: self.method })
        } else {
            Err(ClientAuthError::WrongSecret)
        }
    }
}

/// A client that proved who it is, as far as its kind can: a public client by its id alone.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    method: AuthMethod,
}

impl AuthenticatedClient {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How it authenticated.
    pub const fn method(&self) -> AuthMethod {
        self.method
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::client::ClientSpec;
    use crate::client::tests::{confidential, public};
    use crate::time::UnixTime;

    pub(crate) fn authenticated(spec: ClientSpec) -> AuthenticatedClient {
        let method = if spec.public { AuthMethod::None } else { AuthMethod::ClientSecretBasic };
        AuthenticatedClient { client: Arc::new(Client::new(spec, UnixTime::default()).unwrap()), method }
    }

    fn arc(spec: ClientSpec) -> Arc<Client> {
        Arc::new(Client::new(spec, UnixTime::default()).unwrap())
    }

    fn basic(id: &str, secret: &str) -> String {
        format!("Basic {}", Base64::encode_string(format!("{id}:{secret}").as_bytes()))
    }

    fn attempt(
        client: &Arc<Client>,
        header: Option<&str>,
        body: &str,
    ) -> Result<AuthMethod, ClientAuthError> {
        let presented = PresentedCredentials::read(header, &Params::parse(body.as_bytes()).unwrap())?;
        let loaded = (presented.client_id() == client.id()).then_some(client);
        presented.verify(loaded).map(|authenticated| authenticated.method())
    }

    #[test]
    fn the_ways_in() {
        let (grafana, cli) = (arc(confidential()), arc(public()));
        let secret = "s".repeat(32);
        assert_eq!(
            attempt(&grafana, Some(&basic("grafana", &secret)), ""),
            Ok(AuthMethod::ClientSecretBasic)
        );
        assert_eq!(
            attempt(&grafana, Some(&basic("grafana", &secret)), "client_id=grafana"),
            Ok(AuthMethod::ClientSecretBasic)
        );
        let post = format!("client_id=grafana&client_secret={secret}");
        assert_eq!(attempt(&grafana, None, &post), Ok(AuthMethod::ClientSecretPost));
        assert_eq!(attempt(&cli, None, "client_id=cli"), Ok(AuthMethod::None));
        assert_eq!(attempt(&cli, None, "client_id=cli&client_secret="), Ok(AuthMethod::None));
    }

    #[test]
    fn what_is_refused() {
        use ClientAuthError as E;
        let (grafana, cli) = (arc(confidential()), arc(public()));
        let secret = "s".repeat(32);
        let good = basic("grafana", &secret);
        for (client, header, body, error) in [
            (&grafana, None, "", E::Missing),
            (&grafana, None, "client_id=grafana", E::Method),
            (&grafana, Some(basic("grafana", "wrong")), "", E::WrongSecret),
            (&grafana, Some(basic("grafana", "")), "", E::WrongSecret),
            (&grafana, Some(basic("nobody", &secret)), "", E::Unknown),
            (&grafana, Some(good.clone()), "client_id=cli", E::Ambiguous),
            (&grafana, Some(good.clone()), "client_secret=x", E::Ambiguous),
            (&grafana, Some("Bearer x".into()), "", E::Malformed),
            (&grafana, Some("Basic".into()), "", E::Malformed),
            (&grafana, Some("Basic !!!".into()), "", E::Malformed),
            (&grafana, Some(format!("{good}x")), "", E::Malformed),
            (&grafana, None, "client_id=grafana&client_assertion=x", E::Assertion),
            (&cli, None, "client_id=cli&client_secret=x", E::Method),
            (&cli, Some(basic("cli", "x")), "", E::Method),
            (&cli, None, "client_id=userid:5", E::Unknown),
        ] {
            assert_eq!(attempt(client, header.as_deref(), body), Err(error), "{header:?} {body}");
        }
        let disabled = arc(ClientSpec { disabled: true, ..public() });
        assert_eq!(attempt(&disabled, None, "client_id=cli"), Err(E::Unknown));
    }

    #[test]
    fn a_secret_works_raw_and_percent_encoded() {
        let chosen = "p%41ss+word:with/everything&more=1";
        let client =
            arc(ClientSpec { secrets: vec![ClientSecret::new(chosen.into()).digest()], ..confidential() });
        assert!(attempt(&client, Some(&basic("grafana", chosen)), "").is_ok());
        let encoded: String = url::form_urlencoded::byte_serialize(chosen.as_bytes()).collect();
        assert!(attempt(&client, Some(&basic("grafana", &encoded)), "").is_ok());
    }

    /// RFC 6749 §2.3.1.
    #[test]
    fn the_example_of_the_specification() {
        let read =
            PresentedCredentials::read_basic("Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3").unwrap();
        assert_eq!((read.id.as_str(), read.secrets[0].expose()), ("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"));
    }
}
