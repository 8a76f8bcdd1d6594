//! The authorization endpoint (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2): validate a request, issue a code.
//!
//! Layer 2. Nothing is written at authorization; a code is sealed facts. An error goes to a redirect URI only when a
//! [`RedirectTarget`] exists, which cannot be made from a string.

mod carrier;
mod claims_request;
mod mode;
mod prompt;
mod reason;
mod target;
mod wanted;

use std::net::IpAddr;
use std::sync::Arc;

pub use self::carrier::Carrier;
pub use self::mode::ResponseMode;
pub use self::prompt::{Allowance, Asked, Demand, Why, confirmed, demand};
pub use self::reason::{DirectError, RedirectReason};
pub use self::target::{AuthorizationResponse, RedirectTarget};
pub(crate) use self::wanted::Wanted;
use crate::assurance::Terms;
use crate::client::{Client, PkceRule};
use crate::dpop::DpopError;
use crate::fresh::FreshId;
use crate::grant::Grant;
use crate::id::{ClientId, GrantId, Listener, Thumbprint};
use crate::identity::Identity;
use crate::params::Params;
use crate::pkce::{CHALLENGE_METHODS, CodeChallenge};
use crate::policy::Policy;
use crate::resource::{Asking, Resource, Resources};
use crate::scope::Scope;
use crate::seal::{CodeResource, RedirectDigest, SealError, SealedCode};
use crate::session::Authentication;
use crate::time::{Lifetime, UnixTime};

/// How long a code lives (RFC 6749 §4.1.2 recommends at most 10 minutes; FAPI 2.0 §5.3.1.2 demands 60 seconds).
pub const CODE_LIFETIME: Lifetime = Lifetime::from_secs(60);

/// The longest `nonce`, in bytes: 384 must pass (FAPI 2.0's suite), and a code stays under its limit.
pub const LONGEST_NONCE: usize = 512;

/// How long a page may be answered: whoever thinks for longer, or comes back to an old tab, is asked again.
pub const PAGE_LIFETIME: Lifetime = Lifetime::from_minutes(10);

/// Where the page is answered.
pub const CONTINUE: &str = "/authorize/continue";

/// Where the page that asks for consent is answered.
pub const CONSENT: &str = "/authorize/consent";

/// The response types that we serve (OAuth 2.1 §4.1).
pub const RESPONSE_TYPES: [&str; 1] = ["code"];

/// The client that a request names.
///
/// # Errors
/// [`DirectError::MissingClient`], [`DirectError::ClientId`].
pub fn client_id(params: &Params) -> Result<ClientId, DirectError> {
    Ok(ClientId::parse(params.get("client_id").ok_or(DirectError::MissingClient)?)?)
}

/// A validated authorization request: client known, redirect URI registered, challenge present where the client needs
/// one, scope and resources permitted so far as can be told before it is known who asks.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    client: ClientId,
    target: RedirectTarget,
    challenge: Option<CodeChallenge>,
    nonce: Option<String>,
    wanted: Wanted,
    key: Option<Thumbprint>,
    asked: Asked,
}

impl AuthorizationRequest {
    /// Validates the parameters of a request whose target is proven.
    ///
    /// # Errors
    /// [`RedirectReason`], to be sent to the target.
    pub fn validate(
        params: &Params,
        client: &Client,
        target: RedirectTarget,
        resources: &Resources,
    ) -> Result<Self, RedirectReason> {
        check_unsupported(params, &target)?;
        let wanted = Wanted::read(params, client, resources)?;
        let nonce = params.get("nonce").map(str::to_owned);
        if nonce.as_ref().is_some_and(|nonce| nonce.len() > LONGEST_NONCE) {
            return Err(RedirectReason::Nonce);
        }
        let challenge = challenge(params)?;
        let has_nonce = wanted.will_have("openid") && nonce.is_some();
        match client.pkce() {
            PkceRule::Required if challenge.is_none() => return Err(RedirectReason::PkceRequired),
            PkceRule::OrNonce if challenge.is_none() && !has_nonce => {
                return Err(RedirectReason::PkceOrNonce);
            }
            PkceRule::Required | PkceRule::OrNonce | PkceRule::Optional => (),
        }
        let (key, asked) = (key(params)?, Asked::read(params)?);
        Ok(Self { client: client.id().clone(), target, challenge, nonce, wanted, key, asked })
    }

    /// The proven target.
    pub const fn target(&self) -> &RedirectTarget {
        &self.target
    }

    /// The key that must prove itself at redemption, if one was named (RFC 9449 §10).
    pub const fn key(&self) -> Option<Thumbprint> {
        self.key
    }

    /// Binds the code to the key that has proved itself when the request was pushed (RFC 9449 §10.1).
    ///
    /// # Errors
    /// [`DpopError::OtherKey`] when `dpop_jkt` names another one.
    pub fn bind(self, proven: Thumbprint) -> Result<Self, DpopError> {
        match self.key {
            Some(named) if named != proven => Err(DpopError::OtherKey),
            Some(_) | None => Ok(Self { key: Some(proven), ..self }),
        }
    }

    /// What it asks of the person and of their sign-in.
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The scope that will be granted: final once the request is [`Admitted`], and what earlier grants add was added.
    pub const fn scope(&self) -> &Scope {
        self.wanted.scope()
    }

    /// The resources that will be granted, in the order in which they were named: all of them once the request is [`Admitted`].
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.wanted.resources()
    }
}

/// Refuses what we do not serve, before anything else is looked at.
fn check_unsupported(params: &Params, target: &RedirectTarget) -> Result<(), RedirectReason> {
    if params.get("registration").is_some() {
        return Err(RedirectReason::Registration);
    }
    let response_type = params.get("response_type").ok_or(RedirectReason::MissingResponseType)?;
    if !RESPONSE_TYPES.contains(&response_type) {
        return Err(RedirectReason::ResponseType);
    }
    match params.get("response_mode").map(ResponseMode::parse) {
        Some(None) => Err(RedirectReason::ResponseMode),
        Some(Some(ResponseMode::FormPost)) if !target.takes_forms() => Err(RedirectReason::FormPostScheme),
        Some(Some(_)) | None => Ok(()),
    }
}

fn challenge(params: &Params) -> Result<Option<CodeChallenge>, RedirectReason> {
    match (params.get("code_challenge"), params.get("code_challenge_method")) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(RedirectReason::Challenge),
        (Some(challenge), Some(method)) if CHALLENGE_METHODS.contains(&method) => {
            CodeChallenge::parse(challenge).map(Some).ok_or(RedirectReason::Challenge)
        }
        (Some(_), _) => Err(RedirectReason::ChallengeMethod),
    }
}

/// `dpop_jkt` (RFC 9449 §10).
fn key(params: &Params) -> Result<Option<Thumbprint>, RedirectReason> {
    let named = params.get("dpop_jkt").map(|text| Thumbprint::parse(text).ok_or(RedirectReason::ProofKey));
    named.transpose()
}

/// Where and when an authorization takes place.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The listener of the request.
    pub listener: &'a Listener,
    /// The address of the person's device.
    pub address: IpAddr,
    /// How the person was authenticated.
    pub authentication: Authentication,
    /// The moment.
    pub now: UnixTime,
}

/// A request of a person whom the policy admits to the client.
#[derive(Clone, Debug)]
pub struct Admitted {
    request: AuthorizationRequest,
    identity: Arc<Identity>,
}

impl Admitted {
    /// Asks the policy whether the person may sign in to the client, and for the resources that no registry knows.
    ///
    /// # Errors
    /// [`RedirectReason::Denied`] and [`RedirectReason::Resource`], to be sent to the target.
    pub fn judge(
        request: AuthorizationRequest,
        client: &Client,
        identity: Arc<Identity>,
        policy: &Policy,
        resources: &Resources,
    ) -> Result<Self, RedirectReason> {
        policy.admit(client, &identity).map_err(RedirectReason::Denied)?;
        let asking = Asking { resources, policy, client, identity: &identity };
        let wanted = request.wanted.settle(asking).map_err(RedirectReason::Resource)?;
        Ok(Self { request: AuthorizationRequest { wanted, ..request }, identity })
    }

    /// Whether earlier grants of the person could add to the scope: only then need they be looked up.
    pub fn may_grow(&self) -> bool {
        self.request.wanted.may_grow().is_some()
    }

    /// Adds the scope of those of the person's grants that are alive and for the same client, resource and device: a client that
    /// asks for one scope more must not lose the others (MCP authorization, step-up).
    #[must_use]
    pub fn with_earlier(self, client: &Client, grants: &[Grant], now: UnixTime) -> Self {
        let Some(resource) = self.request.wanted.may_grow() else { return self };
        let counts = |grant: &&Grant| {
            let facts = grant.facts();
            facts.client == *client.id()
                && facts.is_of(&self.identity)
                && facts.exchange.is_none()
                && facts.resources.contains(resource.uri())
                && facts.issued_at > client.not_before()
                && !grant.is_revoked()
                && !grant.ends_at().is_past(now)
        };
        let earlier: Vec<_> = grants.iter().filter(counts).map(|grant| &grant.facts().scope).collect();
        let wanted = self.request.wanted.clone().with_earlier(earlier);
        Self { request: AuthorizationRequest { wanted, ..self.request }, identity: self.identity }
    }

    /// What is asked.
    pub const fn request(&self) -> &AuthorizationRequest {
        &self.request
    }

    /// Who asks.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Issues the facts of a code, on the terms on which the client was let in.
    pub fn issue(&self, occasion: Occasion<'_>, terms: Terms, fresh: FreshId) -> SealedCode {
        let Self { request, identity } = self;
        SealedCode {
            grant: GrantId::new(&identity.subject, fresh),
            client: request.client.clone(),
            redirect_uri: RedirectDigest::of(request.target.redirect_uri()),
            challenge: request.challenge,
            nonce: request.nonce.clone(),
            scope: request.scope().clone(),
            resources: request.resources().map(CodeResource::of).collect(),
            subject: identity.subject.clone(),
            device: identity.device.id.clone(),
            address: occasion.address,
            listener: occasion.listener.clone(),
            auth_time: occasion.authentication.time,
            acr: occasion.authentication.acr,
            session: occasion.authentication.session,
            requested: request.asked.requested(),
            key: request.key,
            terms,
            issued_at: occasion.now,
            expires_at: occasion.now.after(CODE_LIFETIME),
        }
    }
}

/// What a failed sealing of a code means for the request.
pub const fn seal_reason(error: SealError) -> RedirectReason {
    match error {
        SealError::TooLong => RedirectReason::TooLarge,
        SealError::Form | SealError::UnknownKey | SealError::Broken | SealError::NoKey => {
            RedirectReason::Broken
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::acr::Acr;
    use crate::client::tests::{confidential, public};
    use crate::client::{ClientSpec, GrantType};
    use crate::excerpt::Excerpt;
    use crate::id::SessionId;
    use crate::jose::Algorithm;
    use crate::policy::{Access, Denied, tests::alice};
    use crate::request_object::RequestObjectError;
    use crate::resource::{Entry, ResourceSpec, UnknownResource};
    use crate::uri::Issuer;

    pub(crate) fn resources() -> Resources {
        let scopes = || Scope::parse("read write").iter().cloned().collect::<Vec<_>>();
        let resource = |uri: &str, clients: &str| {
            let spec = ResourceSpec {
                scopes: scopes(),
                default_scopes: Scope::parse("read").iter().cloned().collect(),
                clients: vec![clients.to_owned()],
                alg: Algorithm::Es256,
                ..ResourceSpec::default()
            };
            Entry::new(uri, &[], spec).unwrap()
        };
        Resources::new(vec![resource("https://mcp.test/mcp", "*"), resource("https://other.test", "gitea")])
    }

    const CHALLENGE: &str =
        "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

    fn validate(spec: ClientSpec, query: &str) -> Result<AuthorizationRequest, RedirectReason> {
        let client = Client::new(spec, UnixTime::default()).unwrap();
        let redirect = client.redirect_uris()[0].to_string();
        let params = Params::parse(format!("redirect_uri={redirect}&{query}").as_bytes()).unwrap();
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let target = RedirectTarget::prove(&params, Some(&client), &issuer).unwrap();
        AuthorizationRequest::validate(&params, &client, target, &resources())
    }

    fn with_challenge(query: &str) -> Result<AuthorizationRequest, RedirectReason> {
        validate(public(), &format!("response_type=code&{CHALLENGE}&{query}"))
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        use RedirectReason as R;
        for (query, reason) in [
            ("", R::MissingResponseType),
            ("response_type=token", R::ResponseType),
            ("response_type=code+id_token", R::ResponseType),
            ("response_type=code&response_mode=fragment", R::ResponseMode),
            ("response_type=code&registration=x", R::Registration),
        ] {
            assert_eq!(validate(public(), query).unwrap_err(), reason, "{query}");
        }
    }

    /// A4: challenge, verifier, method; public clients always, confidential ones by their rule.
    #[test]
    fn pkce_by_client() {
        use RedirectReason as R;
        let code = |rest: &str| format!("response_type=code&{rest}");
        assert_eq!(validate(public(), &code("")).unwrap_err(), R::PkceRequired);
        assert_eq!(validate(public(), &code("nonce=n")).unwrap_err(), R::PkceRequired);
        let plain = "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(validate(public(), &code(plain)).unwrap_err(), R::ChallengeMethod);
        assert_eq!(
            validate(public(), &code(&format!("{plain}&code_challenge_method=plain"))).unwrap_err(),
            R::ChallengeMethod
        );
        assert_eq!(
            validate(public(), &code("code_challenge=short&code_challenge_method=S256")).unwrap_err(),
            R::Challenge
        );
        assert_eq!(validate(public(), &code("code_challenge_method=S256")).unwrap_err(), R::Challenge);
        assert!(validate(public(), &code(CHALLENGE)).is_ok());
        assert_eq!(validate(confidential(), &code("")).unwrap_err(), R::PkceOrNonce);
        assert!(validate(confidential(), &code("nonce=n")).is_ok());
        assert_eq!(validate(confidential(), &code("scope=email&nonce=n")).unwrap_err(), R::PkceOrNonce);
        assert!(validate(confidential(), &code(CHALLENGE)).is_ok());
        let optional = ClientSpec { pkce: PkceRule::Optional, ..confidential() };
        assert!(validate(optional, &code("")).is_ok());
        let required = ClientSpec { pkce: PkceRule::Required, ..confidential() };
        assert_eq!(validate(required, &code("nonce=n")).unwrap_err(), R::PkceRequired);
    }

    #[test]
    fn scopes_that_we_do_not_grant_are_dropped() {
        let scope = |query: &str| with_challenge(query).unwrap().scope().to_string();
        assert_eq!(scope(""), "openid");
        assert_eq!(scope("scope=foo"), "openid");
        assert_eq!(scope("scope=openid+foo+email+offline_access"), "openid email offline_access");
        assert_eq!(scope("scope=openid+read"), "openid");
        assert_eq!(scope("scope=openid+read&resource=https://mcp.test/mcp"), "openid read");
        assert_eq!(scope("resource=https://mcp.test/mcp/"), "read");
        let no_refresh = ClientSpec { grant_types: vec![GrantType::AuthorizationCode], ..public() };
        let query = format!("response_type=code&{CHALLENGE}&scope=openid+offline_access");
        assert_eq!(validate(no_refresh, &query).unwrap().scope().to_string(), "openid");
    }

    #[test]
    fn resources_are_known_and_open_to_the_client() {
        use RedirectReason as R;
        let granted = with_challenge("resource=https://mcp.test/mcp/&resource=https://MCP.test/mcp").unwrap();
        assert_eq!(
            granted.resources().map(|resource| resource.uri().as_str()).collect::<Vec<_>>(),
            ["https://mcp.test/mcp"]
        );
        for unknown in ["https://other.test", "mcp", "https://mcp.test/mcp%23x", "https://a@mcp.test/mcp"] {
            let said = unknown.replace("%23", "#");
            let expected = R::Resource(UnknownResource(Excerpt::of(&said)));
            assert_eq!(with_challenge(&format!("resource={unknown}")).unwrap_err(), expected, "{unknown}");
        }
    }

    #[test]
    fn nonces_are_bounded() {
        let nonce = |length: usize| with_challenge(&format!("nonce={}", "n".repeat(length)));
        assert!(nonce(512).is_ok());
        assert_eq!(nonce(513).unwrap_err(), RedirectReason::Nonce);
    }

    #[test]
    fn a_code_holds_who_where_and_when() {
        let client = Client::new(public(), UnixTime::default()).unwrap();
        let request = with_challenge("nonce=n&scope=openid").unwrap();
        let occasion = Occasion {
            listener: &Listener::host(),
            address: "100.64.0.2".parse().unwrap(),
            authentication: Authentication {
                time: UnixTime::from_secs(900),
                acr: Acr::Confirmed,
                session: Some(SessionId::from_bytes([7; 16])),
            },
            now: UnixTime::from_secs(1_000),
        };
        let identity = Arc::new(alice());
        let issue_to = |policy: &Policy, client: &Client| {
            let admitted =
                Admitted::judge(request.clone(), client, Arc::clone(&identity), policy, &resources())?;
            Ok(admitted.issue(occasion, Terms::default(), FreshId::from_bytes([1; 16])))
        };
        let code = issue_to(&Policy::default(), &client).unwrap();
        assert_eq!((code.auth_time.as_secs(), code.expires_at.as_secs()), (900, 1_060));
        assert_eq!((code.acr, code.session), (Acr::Confirmed, occasion.authentication.session));
        assert_eq!((code.subject.as_str(), code.device.as_str()), ("userid:1001", "nALICE"));
        let nobody = ClientSpec { allow: Some(Access::default()), ..public() };
        let nobody = Client::new(nobody, UnixTime::default()).unwrap();
        let denied: RedirectReason = issue_to(&Policy::default(), &nobody).unwrap_err();
        assert_eq!(
            (denied, denied.code().as_str()),
            (RedirectReason::Denied(Denied::NotAllowed), "access_denied")
        );
    }

    fn judged(query: &str, identity: Identity) -> Result<Admitted, RedirectReason> {
        let client = Client::new(public(), UnixTime::default()).unwrap();
        let request = with_challenge(query)?;
        Admitted::judge(request, &client, Arc::new(identity), &Policy::default(), &resources())
    }

    /// Outside the registry it depends on the person: the scope is final only then.
    #[test]
    fn rules_admit_what_the_registry_does_not_know() {
        let rule = r#"{"users":["*"],"resources":["https://tool.test"],"scopes":["use","look"]}"#;
        let ruled = || Identity { rules: crate::rule::parse_rules([rule]).0, ..alice() };
        let tool = "resource=https://tool.test/&resource=https://mcp.test/mcp";
        let refused = judged(tool, alice()).unwrap_err();
        assert_eq!(refused, RedirectReason::Resource(UnknownResource(Excerpt::of("https://tool.test/"))));
        assert_eq!(refused.code().as_str(), "invalid_target");
        let scope = |query: &str| judged(query, ruled()).unwrap().request().scope().to_string();
        assert_eq!(scope(&format!("{tool}&scope=openid+look+write+foo")), "openid look write");
        assert_eq!(scope("resource=https://tool.test"), "use look");
        assert_eq!(scope("resource=https://tool.test&scope=foo"), "use look");
        let admitted = judged(tool, ruled()).unwrap();
        let uris: Vec<_> = admitted.request().resources().map(|resource| resource.uri().as_str()).collect();
        assert_eq!(uris, ["https://tool.test", "https://mcp.test/mcp"], "in the order of the request");
    }

    /// A nonce protects only with an ID token, which a default scope may turn out not to bring.
    #[test]
    fn a_nonce_counts_when_openid_is_certain() {
        let ask = |query: &str| validate(confidential(), &format!("response_type=code&nonce=n&{query}"));
        assert!(ask("").is_ok());
        assert_eq!(ask("resource=https://tool.test").unwrap_err(), RedirectReason::PkceOrNonce);
        assert_eq!(ask("resource=https://mcp.test/mcp").unwrap_err(), RedirectReason::PkceOrNonce);
        assert!(ask("resource=https://tool.test&scope=openid").is_ok());
    }

    /// MCP authorization, step-up: the union with what lives already, and only of this client, resource and device.
    #[test]
    fn a_request_for_one_scope_more_keeps_the_others() {
        use std::slice::from_ref;

        let client = Client::new(public(), UnixTime::from_secs(500)).unwrap();
        let earlier = |change: &dyn Fn(&mut crate::grant::GrantFacts)| {
            let mut facts = crate::settle::tests::grant().facts().clone();
            facts.scope = Scope::parse("openid email write gone");
            facts.resources = vec![crate::uri::ResourceIndicator::parse("https://mcp.test/mcp").unwrap()];
            change(&mut facts);
            Grant::new(crate::settle::tests::grant().id(), facts, UnixTime::from_secs(1_000))
        };
        let now = UnixTime::from_secs(1_100);
        let grown = |query: &str, grants: &[Grant]| {
            let admitted = judged(query, alice()).unwrap();
            let grows = admitted.may_grow();
            (grows, admitted.with_earlier(&client, grants, now).request().scope().to_string())
        };
        let mcp = "resource=https://mcp.test/mcp/";
        let read = format!("{mcp}&scope=read");
        let same = earlier(&|_| ());
        assert_eq!(
            grown(&read, from_ref(&same)),
            (true, "read write".into()),
            "what the resource still knows"
        );
        assert_eq!(grown(&read, &[]), (true, "read".into()));
        // Nothing to look up: no resource, no scope, nothing that is missing, or more than one resource.
        assert_eq!(grown("scope=openid", from_ref(&same)), (false, "openid".into()));
        assert_eq!(grown(mcp, from_ref(&same)), (false, "read".into()));
        assert_eq!(grown(&format!("{mcp}&scope=write+read"), from_ref(&same)), (false, "write read".into()));
        let rule = r#"{"users":["*"],"resources":["*"],"scopes":["read"]}"#;
        let ruled = Identity { rules: crate::rule::parse_rules([rule]).0, ..alice() };
        let both = judged(&format!("{read}&resource=https://tool.test"), ruled).unwrap();
        assert!(!both.may_grow());
        assert_eq!(both.with_earlier(&client, from_ref(&same), now).request().scope().to_string(), "read");
        let others: [&dyn Fn(&mut crate::grant::GrantFacts); 7] = [
            &|facts| facts.client = ClientId::parse("web").unwrap(),
            &|facts| facts.subject = crate::id::Subject::user(7),
            &|facts| {
                facts.resources = vec![crate::uri::ResourceIndicator::parse("https://other.test").unwrap()];
            },
            &|facts| facts.expires_at = now,
            &|facts| {
                let parent = crate::settle::tests::grant().id();
                facts.exchange = Some(crate::grant::Exchange { parent, actors: Vec::new() });
            },
            &|facts| facts.issued_at = UnixTime::from_secs(500),
            &|facts| {
                facts.holder = crate::grant::Holder::Person(crate::grant::Seen {
                    device: crate::id::DeviceId::parse("nPHONE").unwrap(),
                    ..facts.seen().unwrap().clone()
                });
            },
        ];
        for (place, other) in others.into_iter().enumerate() {
            assert_eq!(grown(&read, &[earlier(other)]).1, "read", "{place}");
        }
        let revoked = crate::settle::revoke(Some(&same), now).write.unwrap();
        assert_eq!(grown(&read, &[revoked]).1, "read");
    }

    /// No quote or backslash may stand in `error_description` (RFC 6749 §4.1.2.1).
    #[test]
    fn descriptions_are_plain() {
        let reasons = [
            RedirectReason::RequestObject(RequestObjectError::Unsigned),
            RedirectReason::Pushed,
            RedirectReason::FormPostScheme,
            RedirectReason::PkceOrNonce,
            RedirectReason::Resource(UnknownResource(Excerpt::of("a\"b\\"))),
            RedirectReason::TooLarge,
            RedirectReason::Denied(Denied::External),
            RedirectReason::SignInNeeded,
            RedirectReason::PageNeeded,
            RedirectReason::ConsentNeeded,
            RedirectReason::ConsentDenied,
            RedirectReason::Claims,
            RedirectReason::Hint,
            RedirectReason::OtherPerson,
            RedirectReason::Broken,
        ];
        for reason in reasons {
            assert!(
                reason.to_string().bytes().all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
                "{reason}"
            );
        }
    }

    /// RFC 9449 §10, §10.1.
    #[test]
    fn a_code_may_be_bound_to_a_key() {
        const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        let (jkt, other) = (Thumbprint::parse(JKT).unwrap(), Thumbprint::from_bytes([1; 32]));
        let named = with_challenge(&format!("dpop_jkt={JKT}")).unwrap();
        assert_eq!(named.key(), Some(jkt));
        assert_eq!(named.clone().bind(other).unwrap_err(), DpopError::OtherKey);
        assert_eq!(named.bind(jkt).unwrap().key(), Some(jkt));
        let unnamed = with_challenge("").unwrap();
        assert_eq!((unnamed.key(), unnamed.bind(other).unwrap().key()), (None, Some(other)));
        for bad in ["short", &format!("{JKT}="), &format!("{JKT}A"), &JKT.replace('-', "+")] {
            let form =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("dpop_jkt", bad).finish();
            assert_eq!(with_challenge(&form).unwrap_err(), RedirectReason::ProofKey, "{bad}");
        }
    }
}
