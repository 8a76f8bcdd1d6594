//! The two requests of the protocol. A redirect goes only to a registered address, and a request never gets more than it
//! was entitled to.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tsidecar_oauth::{
    authorize::{AuthorizationRequest, Carrier, RedirectReason, RedirectTarget, client_id},
    client::{Client, ClientSpec},
    params::Params,
    resource::{Entry, ResourceSpec, Resources},
    scope::ScopeToken,
    time::UnixTime,
    token::TokenRequest,
    uri::Issuer,
};

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let spec = ClientSpec {
        id: "c".to_owned(),
        name: "c".to_owned(),
        public: true,
        redirect_uris: vec!["http://127.0.0.1/cb".to_owned(), "https://a.test/cb?x=1".to_owned()],
        ..ClientSpec::default()
    };
    Client::new(spec, UnixTime::default()).unwrap()
});
static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::parse("https://idp.test").unwrap());
static RESOURCES: LazyLock<Resources> = LazyLock::new(|| {
    let spec = ResourceSpec {
        scopes: vec![ScopeToken::parse("read").unwrap()],
        clients: vec!["*".to_owned()],
        ..ResourceSpec::default()
    };
    let named = Entry::new("https://r.test/r", &["https://r.test".to_owned()], spec.clone()).unwrap();
    Resources::new(vec![named, Entry::new("https://*.tail.test/*", &[], spec).unwrap()])
});

fuzz_target!(|data: &[u8]| {
    let Ok(params) = Params::parse(data) else { return };
    // Anything may come back, but no panic.
    let _ = TokenRequest::parse(&params);
    let _ = client_id(&params);
    match (Carrier::of(&params), params.get("request_uri")) {
        (Ok(Carrier::Pushed(id)), Some(uri)) => {
            assert_eq!(id.request_uri(), uri, "two names for one request")
        }
        (Ok(Carrier::Plain), Some(uri)) => panic!("{uri} was ignored"),
        (Ok(Carrier::Object(_) | Carrier::Plain | Carrier::Pushed(_)) | Err(_), _) => (),
    }
    let Ok(target) = RedirectTarget::prove(&params, Some(&CLIENT), &ISSUER) else { return };
    assert!(CLIENT.redirects_to(target.redirect_uri()));
    let response = target.with_error(RedirectReason::Broken);
    let error = response.location();
    assert_eq!(response.fields().iter().filter(|(name, _)| *name == "iss").count(), 1);
    let source = target.policy_source().unwrap();
    assert!(!source.contains([' ', ';', ',', '\'', '"']) && source.is_ascii(), "{source}");
    assert!(
        error.starts_with(target.redirect_uri()) && error.is_ascii() && !error.contains(['\r', '\n', ' '])
    );
    if let Ok(request) = AuthorizationRequest::validate(&params, &CLIENT, target, &RESOURCES) {
        assert!(params.get("code_challenge_method") == Some("S256"), "a public client without PKCE");
        let known = ["openid", "profile", "email", "groups", "offline_access", "read"];
        assert!(request.scope().iter().all(|token| known.contains(&token.as_str())));
    }
});
