//! Client authentication (RFC 6749 §2.3, RFC 7521 §4.2): what was presented, and what it proves.
//!
//! Layer 2. An [`AuthenticatedClient`] cannot be made without verifying.

use std::net::IpAddr;
use std::sync::Arc;

use base64ct::{Base64, Base64Unpadded, Encoding};
use zeroize::Zeroizing;

use crate::assertion::{AssertionError, AssertionRule, ClientAssertion};
use crate::client::{AuthMethod, Client};
use crate::discovery;
use crate::error::ErrorCode;
use crate::grant::Seen;
use crate::id::{ClientId, Listener};
use crate::jose::{JwsError, PublicKeys};
use crate::mark::Mark;
use crate::params::{Params, decode_value};
use crate::secret::ClientSecret;
use crate::time::UnixTime;
use crate::uri::Issuer;
use crate::workload::{Workload, Workloads};

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
    /// The client assertion does not authenticate.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    /// No such client, or it is switched off.
    #[error("unknown client")]
    Unknown,
    /// The secret is wrong.
    #[error("client authentication failed")]
    WrongSecret,
    /// A tag for which the caller's node may not speak.
    #[error(
        "the caller is not a node with this tag that a [[workload]] names and that came here directly: no web page, proxy, Funnel or router"
    )]
    NoWorkload,
    /// A node that is several workloads, and does not say which it means.
    #[error("this node has several tags that are workloads: name one by client_id")]
    WhichTag,
    /// The client may not authenticate this way.
    #[error("this client does not authenticate this way")]
    Method,
}

impl ClientAuthError {
    /// Tells whether a fresh set of the client's keys could make a difference.
    pub const fn wants_newer_keys(self) -> bool {
        matches!(self, Self::Assertion(AssertionError::Jws(JwsError::UnknownKey)))
    }

    /// The code sent to the client (RFC 6749 §5.2).
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Ambiguous => ErrorCode::InvalidRequest,
            Self::Assertion(error) => error.code(),
            Self::Missing
            | Self::Malformed
            | Self::Unknown
            | Self::WrongSecret
            | Self::NoWorkload
            | Self::WhichTag
            | Self::Method => ErrorCode::InvalidClient,
        }
    }
}

/// What a request says of its client, unverified.
#[derive(Debug)]
pub struct PresentedCredentials {
    id: ClientId,
    proof: Proof,
}

/// What a request shows to prove that it is from its client.
#[derive(Debug)]
enum Proof {
    Nothing,
    /// The secret, and how it reads when percent-decoded if that differs: many clients do not encode what they put into
    /// HTTP Basic, others do (RFC 6749 §2.3.1).
    Secret(AuthMethod, Vec<ClientSecret>),
    /// Large, and the rarer kind.
    Assertion(Box<ClientAssertion>),
}

/// What assertions are judged by; the other ways of authentication need none of it.
#[derive(Clone, Copy, Debug)]
pub struct Judging<'a> {
    /// The keys of the client, when it has some.
    pub keys: Option<&'a PublicKeys>,
    /// Us: the audience of assertions.
    pub issuer: &'a Issuer,
    /// The time.
    pub now: UnixTime,
}

impl PresentedCredentials {
    /// Reads the credentials of a request: a client assertion, HTTP Basic, or `client_id` and `client_secret` of the body.
    /// Basic and assertions together with an equal `client_id` in the body are fine.
    ///
    /// # Errors
    /// [`ClientAuthError`] when there are none, or more than one kind, or they are malformed.
    pub fn read(authorization: Option<&str>, body: &Params) -> Result<Self, ClientAuthError> {
        let body_id = body.get("client_id");
        let body_secret = body.get("client_secret");
        if let Some(assertion) = body.get("client_assertion") {
            if authorization.is_some() || body_secret.is_some() {
                return Err(ClientAuthError::Ambiguous);
            }
            let assertion = ClientAssertion::read(body.get("client_assertion_type"), assertion)?;
            if body_id.is_some_and(|id| id != assertion.client_id().as_str()) {
                return Err(AssertionError::OtherClient.into());
            }
            return Ok(Self {
                id: assertion.client_id().clone(),
                proof: Proof::Assertion(Box::new(assertion)),
            });
        }
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
        let proof = body_secret.map_or(Proof::Nothing, |secret| {
            Proof::Secret(AuthMethod::ClientSecretPost, vec![ClientSecret::new(secret.to_owned())])
        });
        Ok(Self { id, proof })
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
        Ok(Self { id, proof: Proof::Secret(AuthMethod::ClientSecretBasic, secrets) })
    }

    /// The client that the request claims to come from.
    pub const fn client_id(&self) -> &ClientId {
        &self.id
    }

    /// How the client wants to authenticate.
    pub const fn method(&self) -> AuthMethod {
        match &self.proof {
            Proof::Nothing => AuthMethod::None,
            Proof::Secret(method, _) => *method,
            Proof::Assertion(_) => AuthMethod::PrivateKeyJwt,
        }
    }

    /// Tells whether the client's keys must be at hand to verify.
    pub const fn needs_keys(&self) -> bool {
        matches!(self.proof, Proof::Assertion(_))
    }

    /// Verifies the credentials against the client of that id.
    ///
    /// # Errors
    /// [`ClientAuthError`]: nothing was burned, and nothing else in the request may be acted upon. With
    /// [`ClientAuthError::wants_newer_keys`] a fresh set of the client's keys may help.
    pub fn verify(
        &self,
        client: Option<&Arc<Client>>,
        judging: Judging<'_>,
    ) -> Result<AuthenticatedClient, ClientAuthError> {
        let client = client.filter(|client| *client.id() == self.id && !client.is_disabled());
        let client = client.ok_or(ClientAuthError::Unknown)?;
        if !client.accepts(self.method()) {
            return Err(ClientAuthError::Method);
        }
        let mark = match &self.proof {
            Proof::Nothing => None,
            Proof::Secret(_, secrets) => {
                let known = secrets.iter().fold(false, |known, secret| client.knows(secret) | known);
                if !known {
                    return Err(ClientAuthError::WrongSecret);
                }
                None
            }
            Proof::Assertion(assertion) => Some(judging.judge(client, assertion)?),
        };
        Ok(AuthenticatedClient { client: Arc::clone(client), method: self.method(), mark, seen: None })
    }
}

impl Judging<'_> {
    fn judge(&self, client: &Client, assertion: &ClientAssertion) -> Result<Mark, AssertionError> {
        let signed = &client.spec().signed;
        let token_endpoint = signed.token_endpoint_audience.then(|| self.issuer.endpoint(discovery::TOKEN));
        let rule = AssertionRule {
            algorithms: &signed.assertion_algs,
            issuer: self.issuer,
            token_endpoint: token_endpoint.as_deref(),
        };
        assertion.verify(self.keys.ok_or(AssertionError::NoKeys)?, rule, self.now)
    }
}

/// A client that proved who it is, as far as its kind can: a public client by its id alone.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    method: AuthMethod,
    mark: Option<Mark>,
    seen: Option<Seen>,
}

impl AuthenticatedClient {
    /// A tagged node is the client that its tag is, if a rule says so; with several such tags it names one.
    ///
    /// `node` is whoever sent this very request, by the tailnet's word, or nobody; `address` and `listener` are where.
    ///
    /// # Errors
    /// [`ClientAuthError::NoWorkload`], [`ClientAuthError::WhichTag`]; [`ClientAuthError::Missing`] for a caller who shows nothing and
    /// is nobody either.
    pub fn workload(
        workloads: &Workloads,
        node: Option<&Workload>,
        named: Option<&str>,
        (address, listener): (IpAddr, &Listener),
    ) -> Result<Self, ClientAuthError> {
        let nobody = if named.is_some() { ClientAuthError::NoWorkload } else { ClientAuthError::Missing };
        let node = node.ok_or(nobody)?;
        let mut clients =
            workloads.of(node).filter(|client| named.is_none_or(|named| named == client.id().as_str()));
        let client = Arc::clone(clients.next().ok_or(nobody)?);
        if clients.next().is_some() {
            return Err(ClientAuthError::WhichTag);
        }
        let seen = Seen { device: node.device.id.clone(), address, listener: listener.clone() };
        Ok(Self { client, method: AuthMethod::Tailnet, mark: None, seen: Some(seen) })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How it authenticated.
    pub const fn method(&self) -> AuthMethod {
        self.method
    }

    /// Where a workload was seen; `None` of every other client.
    pub const fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// What the store must not have seen yet: the `jti` of the assertion. **Nothing may be answered before it is durable.**
    pub const fn mark(&self) -> Option<Mark> {
        self.mark
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::assertion::ASSERTION_TYPE;
    use crate::client::tests::{confidential, public};
    use crate::client::{ClientKeys, ClientSpec, SignedRequests};
    use crate::jose::VerifyAlgorithm;
    use crate::jose::tests::{client_key, jwks};

    const NOW: u64 = 1_800_000_000;

    pub(crate) fn authenticated(spec: ClientSpec) -> AuthenticatedClient {
        let method = if spec.public { AuthMethod::None } else { AuthMethod::ClientSecretBasic };
        AuthenticatedClient { client: arc(spec), method, mark: None, seen: None }
    }

    /// A client of whatever provenance that proved to have its secret.
    pub(crate) fn authenticated_as(client: Client) -> AuthenticatedClient {
        let method = AuthMethod::ClientSecretBasic;
        AuthenticatedClient { client: Arc::new(client), method, mark: None, seen: None }
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
        let keys = PublicKeys::parse(&jwks(&[("a", VerifyAlgorithm::Es256)])).unwrap();
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let judging = Judging { keys: Some(&keys), issuer: &issuer, now: UnixTime::from_secs(NOW) };
        presented.verify(loaded, judging).map(|authenticated| authenticated.method())
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

    /// A47, A50: a tag is its rule's, and a node that is several says which.
    #[test]
    fn a_node_is_the_client_of_its_tag() {
        use crate::workload::tests::{node, rule, workloads};
        let all = workloads([rule("tag:ci"), rule("tag:mcp")]);
        let attempt = |node: Option<&Workload>, named: Option<&str>| {
            let place = ("100.64.0.4".parse().unwrap(), &Listener::host());
            AuthenticatedClient::workload(&all, node, named, place)
        };
        let (ci, both) = (node("nCI", &["tag:ci"]), node("nMCP", &["tag:ci", "tag:mcp"]));
        let proven = attempt(Some(&ci), None).unwrap();
        assert_eq!((proven.client().id().as_str(), proven.method()), ("tag:ci", AuthMethod::Tailnet));
        assert_eq!(proven.seen().map(|seen| seen.device.as_str()), Some("nCI"));
        assert_eq!(attempt(Some(&both), Some("tag:mcp")).unwrap().client().id().as_str(), "tag:mcp");
        assert_eq!(attempt(Some(&both), None).unwrap_err(), ClientAuthError::WhichTag);
        assert_eq!(attempt(Some(&ci), Some("tag:mcp")).unwrap_err(), ClientAuthError::NoWorkload);
        assert_eq!(attempt(Some(&node("nX", &["tag:x"])), None).unwrap_err(), ClientAuthError::Missing);
        assert_eq!(attempt(None, Some("tag:ci")).unwrap_err(), ClientAuthError::NoWorkload);
        assert_eq!(attempt(None, None).unwrap_err(), ClientAuthError::Missing);
        // Whatever else somebody shows, a tag is nothing that it could prove.
        let client = all.get("tag:ci").unwrap();
        assert!(AuthMethod::ALL.into_iter().all(|method| !client.accepts(method)));
        assert!(!client.is_public() && client.redirect_uris().is_empty());
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
            (&grafana, None, "client_id=grafana&client_assertion=x", E::Assertion(AssertionError::Type)),
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
        let Proof::Secret(_, secrets) = &read.proof else { panic!("a secret") };
        assert_eq!((read.id.as_str(), secrets[0].expose()), ("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"));
    }

    fn with_keys() -> ClientSpec {
        ClientSpec {
            secrets: Vec::new(),
            keys: ClientKeys::Inline(jwks(&[("a", VerifyAlgorithm::Es256)])),
            ..confidential()
        }
    }

    fn asserted(changes: &serde_json::Value) -> String {
        let mut claims = json!({
            "iss": "grafana", "sub": "grafana", "aud": "https://idp.tail.test", "jti": "j", "exp": NOW + 60
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let key = client_key(VerifyAlgorithm::Es256);
        let jwt = key.sign(&json!({ "alg": "ES256", "kid": "a" }), claims.to_string().as_bytes()).unwrap();
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)])
            .finish()
    }

    #[test]
    fn by_an_assertion() {
        let client = arc(with_keys());
        let good = asserted(&json!({}));
        assert_eq!(attempt(&client, None, &good), Ok(AuthMethod::PrivateKeyJwt));
        assert_eq!(
            attempt(&client, None, &format!("{good}&client_id=grafana")),
            Ok(AuthMethod::PrivateKeyJwt)
        );
        let presented = PresentedCredentials::read(None, &Params::parse(good.as_bytes()).unwrap()).unwrap();
        let keys = PublicKeys::parse(&jwks(&[("a", VerifyAlgorithm::Es256)])).unwrap();
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let judging = Judging { keys: Some(&keys), issuer: &issuer, now: UnixTime::from_secs(NOW) };
        assert!(presented.verify(Some(&client), judging).unwrap().mark().is_some());
        let without = presented.verify(Some(&client), Judging { keys: None, ..judging });
        assert_eq!(without.err(), Some(ClientAuthError::Assertion(AssertionError::NoKeys)));
        let others = PublicKeys::parse(&jwks(&[("b", VerifyAlgorithm::Es256)])).unwrap();
        let newer = presented.verify(Some(&client), Judging { keys: Some(&others), ..judging }).unwrap_err();
        assert!(newer.wants_newer_keys() && !ClientAuthError::Unknown.wants_newer_keys());
    }

    #[test]
    fn an_assertion_is_the_only_proof_and_of_its_client() {
        use ClientAuthError as E;
        let (client, good) = (arc(with_keys()), asserted(&json!({})));
        let basic = basic("grafana", &"s".repeat(32));
        assert_eq!(attempt(&client, Some(&basic), &good), Err(E::Ambiguous));
        assert_eq!(attempt(&client, None, &format!("{good}&client_secret=x")), Err(E::Ambiguous));
        let other = format!("{good}&client_id=cli");
        assert_eq!(attempt(&client, None, &other), Err(E::Assertion(AssertionError::OtherClient)));
        // Nothing stands in for an assertion, and an assertion for nothing else.
        assert_eq!(attempt(&client, None, "client_id=grafana"), Err(E::Method));
        assert_eq!(attempt(&client, Some(&basic), ""), Err(E::Method));
        assert_eq!(attempt(&arc(confidential()), None, &good), Err(E::Method));
        let fapi =
            SignedRequests { assertion_algs: vec![VerifyAlgorithm::Ps256], ..SignedRequests::default() };
        let refused = attempt(&arc(ClientSpec { signed: fapi, ..with_keys() }), None, &good);
        assert_eq!(refused, Err(E::Assertion(AssertionError::Jws(JwsError::Algorithm))));
    }

    #[test]
    fn the_token_endpoint_is_an_audience_where_the_client_has_it_so() {
        let body = asserted(&json!({ "aud": "https://idp.tail.test/token" }));
        let refused = Err(ClientAuthError::Assertion(AssertionError::Audience));
        assert_eq!(attempt(&arc(with_keys()), None, &body), refused);
        let signed = SignedRequests { token_endpoint_audience: true, ..SignedRequests::default() };
        assert!(attempt(&arc(ClientSpec { signed, ..with_keys() }), None, &body).is_ok());
    }
}
