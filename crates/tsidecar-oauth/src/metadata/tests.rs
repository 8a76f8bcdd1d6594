use proptest::prelude::*;

use super::*;
use crate::client::Client;
use crate::provenance::{Registrar, Registration};
use crate::settle::tests::at;

/// What the MCP SDK of Python sends (reference `mcp-clients.md` 3).
const PYTHON: &str = r#"{
    "response_types": ["code"], "scope": "openid profile", "client_name": "Probe",
    "redirect_uris": ["http://localhost:3030/callback"], "grant_types": ["authorization_code", "refresh_token"],
    "application_type": "native", "logo_uri": null, "client_uri": "", "whatever": {"deep": [1, 2]}
}"#;

fn parse(text: &str) -> Result<ClientMetadata, MetadataError> {
    ClientMetadata::parse(text.as_bytes(), Source::Registration)
}

/// The metadata of a web application, with members in place of its own; a `null` takes one away.
fn web(members: Value) -> String {
    let mut all = json!({ "client_name": "App", "redirect_uris": ["https://app.test/cb"] });
    if let (Value::Object(all), Value::Object(members)) = (&mut all, members) {
        all.extend(members);
    }
    all.to_string()
}

fn spec(metadata: ClientMetadata) -> ClientSpec {
    let id = ClientId::parse("abc").unwrap();
    let secrets =
        if metadata.needs_secret() { vec![ClientSecret::new("s".repeat(43)).digest()] } else { Vec::new() };
    metadata.into_spec(&id, secrets, PkceRule::Optional)
}

fn registered(text: &str) -> Result<(Client, Value), MetadataError> {
    let metadata = parse(text)?;
    let beside = metadata.beside();
    let registration = Registration { by: Registrar::Outside, at: at(1_000) };
    let client = Client::registered(spec(metadata), registration)?;
    let echo = echo(client.spec(), &beside);
    Ok((client, Value::Object(echo)))
}

/// The code and the sentence of a refusal.
fn refusal(members: Value) -> (&'static str, String) {
    let error = registered(&web(members)).unwrap_err();
    (error.code().as_str(), error.to_string())
}

#[test]
fn what_a_native_client_sends_comes_back_whole() {
    let (client, echo) = registered(PYTHON).unwrap();
    assert!(client.is_public());
    assert_eq!(
        echo,
        json!({
            "client_name": "Probe",
            "redirect_uris": ["http://localhost:3030/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            "scope": "openid profile",
            "id_token_signed_response_alg": "RS256",
        })
    );
}

/// A program cannot keep a secret that is the same on every device, and no secret cannot leak.
#[test]
fn who_names_no_method_gets_the_one_that_fits_its_redirects() {
    for (redirects, method) in [
        (json!(["http://127.0.0.1/cb"]), "none"),
        (json!(["http://localhost:1/cb", "http://[::1]/cb", "cursor://anysphere.cursor/cb"]), "none"),
        (json!(["https://app.test/cb"]), "client_secret_basic"),
        (json!(["http://127.0.0.1/cb", "https://app.test/cb"]), "client_secret_basic"),
    ] {
        let metadata = parse(&web(json!({ "redirect_uris": redirects }))).unwrap();
        assert_eq!(metadata.method().as_str(), method, "{redirects}");
        assert_eq!(metadata.needs_secret(), method != "none");
    }
    let device = json!({
        "redirect_uris": null, "grant_types": ["urn:ietf:params:oauth:grant-type:device_code"]
    });
    assert_eq!(parse(&web(device)).unwrap().method(), AuthMethod::None);
    for named in AuthMethod::ALL {
        let jwks =
            json!({ "token_endpoint_auth_method": named.as_str(), "jwks_uri": "https://app.test/jwks" });
        assert_eq!(parse(&web(jwks)).unwrap().method(), named);
    }
}

#[test]
fn everything_that_we_honour_is_in_the_description_and_in_the_echo() {
    let sent = json!({
        "client_name": "App",
        "redirect_uris": ["https://app.test/cb", "https://app.test/cb?x=%41"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks_uri": "https://app.test/jwks",
        "grant_types": ["authorization_code"],
        "id_token_signed_response_alg": "ES256",
        "userinfo_signed_response_alg": "RS256",
        "request_object_signing_alg": "PS256",
        "require_signed_request_object": true,
        "require_pushed_authorization_requests": true,
        "dpop_bound_access_tokens": true,
        "post_logout_redirect_uris": ["https://app.test/bye"],
        "initiate_login_uri": "https://app.test/login",
        "client_uri": "https://app.test/",
        "logo_uri": "https://app.test/logo.png",
        "policy_uri": "https://app.test/policy",
        "tos_uri": "https://app.test/tos",
        "contacts": ["ops@app.test"],
        "software_id": "app",
        "software_version": "1.0",
        "scope": "read write",
        "application_type": "web",
        "subject_type": "public",
        "sector_identifier_uri": "https://app.test/sector.json",
        "require_auth_time": true,
    });
    let (client, echo) = registered(&sent.to_string()).unwrap();
    let mut expected = sent;
    expected["response_types"] = json!(["code"]);
    assert_eq!(echo, expected);
    let spec = client.spec();
    assert_eq!(spec.keys, ClientKeys::Uri("https://app.test/jwks".into()));
    assert_eq!(spec.signed.assertion_algs, [VerifyAlgorithm::Es256]);
    assert_eq!(spec.signed.request_object_alg, Some(VerifyAlgorithm::Ps256));
    assert!(spec.signed.require_request_object && spec.require_par && spec.require_dpop && !spec.public);
    assert_eq!((spec.id_token_alg, spec.userinfo_alg), (Algorithm::Es256, Some(Algorithm::Rs256)));
    assert_eq!(spec.grant_types, [GrantType::AuthorizationCode]);
    assert!(client.returns_to("https://app.test/bye"));
}

/// What cannot be served, and what no stranger may have, is not echoed: it is not in effect.
#[test]
fn what_is_not_in_effect_is_not_echoed() {
    let (client, echo) = registered(&web(json!({
        "grant_types": ["authorization_code", "implicit", "client_credentials", "password"],
        "response_types": ["code", "id_token"],
        "backchannel_logout_uri": "https://app.test/logout",
        "frontchannel_logout_uri": "https://app.test/logout",
        "request_uris": ["https://app.test/request"],
        "client_uri": "javascript:alert(1)",
        "logo_uri": "data:image/png;base64,AAAA",
        "contacts": [1],
        "application_type": "mobile",
        "software_statement": "x.y.z",
        "client_id": "mine",
        "client_secret": "mine",
        "default_max_age": 60,
    })))
    .unwrap();
    assert!(client.backchannel().is_none());
    assert_eq!(
        echo,
        json!({
            "client_name": "App",
            "redirect_uris": ["https://app.test/cb"],
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "client_secret_basic",
            "id_token_signed_response_alg": "RS256",
        })
    );
}

/// A51 and P16: each bad redirect URI is named, and its error is another one than that of the rest.
#[test]
fn a_redirect_uri_that_cannot_be_used_is_named() {
    for bad in [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "blob:https://app.test/x",
        "vbscript:x",
        "about:blank",
        "intent://scan/#Intent;end",
        "ms-msdt:/id",
        "http://app.test/cb",
        "https://app.test/cb#x",
        "https://u:p@app.test/cb",
        "/cb",
        "",
    ] {
        let (code, sentence) = refusal(json!({ "redirect_uris": ["https://app.test/cb", bad] }));
        assert_eq!(code, "invalid_redirect_uri", "{bad}");
        assert!(sentence.starts_with(&format!("redirect_uri {bad:?} ")), "{sentence}");
    }
}

#[test]
fn what_cannot_be_served_is_refused_with_the_reason() {
    let key = json!({ "kty": "oct", "k": "AAAA" });
    for (members, sentence) in [
        (json!({ "redirect_uris": [] }), "redirect_uris is missing or empty"),
        (json!({ "redirect_uris": null }), "redirect_uris is missing or empty"),
        (json!({ "redirect_uris": "https://app.test/cb" }), "redirect_uris must be an array of strings"),
        (json!({ "redirect_uris": ["https://app.test/cb", 1] }), "redirect_uris must be an array of strings"),
        (json!({ "redirect_uris": vec!["https://app.test/cb"; 33] }), "needs 1 to 32 redirect_uris"),
        (json!({ "grant_types": ["implicit"] }), "grant_types has none"),
        (json!({ "grant_types": [] }), "grant_types has none"),
        (json!({ "grant_types": ["refresh_token"] }), "grant_types has none"),
        (json!({ "grant_types": ["client_credentials"] }), "grant_types has none"),
        (json!({ "response_types": ["id_token"] }), "response_types must contain"),
        (
            json!({ "token_endpoint_auth_method": "client_secret_jwt" }),
            "token_endpoint_auth_method \"client_secret_jwt\" is not supported",
        ),
        (json!({ "token_endpoint_auth_method": "private_key_jwt" }), "private_key_jwt needs the keys"),
        (json!({ "jwks": { "keys": [] }, "jwks_uri": "https://app.test/jwks" }), "jwks and jwks_uri exclude"),
        (json!({ "jwks": { "keys": [key] } }), "jwks: the JWK holds a private or symmetric key"),
        (json!({ "jwks": "x" }), "jwks must be a JSON object"),
        (json!({ "jwks_uri": "http://app.test/jwks" }), "jwks_uri must be https"),
        (
            json!({ "id_token_signed_response_alg": "none" }),
            "id_token_signed_response_alg \"none\" is not supported",
        ),
        (json!({ "id_token_signed_response_alg": "HS256" }), "id_token_signed_response_alg \"HS256\""),
        (json!({ "userinfo_signed_response_alg": "PS256" }), "userinfo_signed_response_alg \"PS256\""),
        (json!({ "token_endpoint_auth_signing_alg": "HS256" }), "token_endpoint_auth_signing_alg \"HS256\""),
        (json!({ "request_object_signing_alg": "none" }), "request_object_signing_alg \"none\""),
        (json!({ "require_signed_request_object": true }), "require_signed_request_object needs keys"),
        (json!({ "dpop_bound_access_tokens": "yes" }), "dpop_bound_access_tokens must be true or false"),
        (
            json!({ "id_token_encrypted_response_alg": "RSA-OAEP" }),
            "id_token_encrypted_response_alg \"RSA-OAEP\"",
        ),
        (
            json!({ "subject_type": "pairwise" }),
            "subject_type \"pairwise\" is not supported; supported: public",
        ),
        (json!({ "sector_identifier_uri": "http://app.test/" }), "sector_identifier_uri must be https"),
        (json!({ "initiate_login_uri": "http://app.test/" }), "initiate_login_uri must be https"),
        (
            json!({ "post_logout_redirect_uris": ["intent:x"] }),
            "post_logout_redirect_uri \"intent:x\" has a scheme",
        ),
        (json!({ "client_name": "x".repeat(101) }), "name must have 1 to 100 characters"),
        (json!({ "client_name": "a\nb" }), "name must have 1 to 100 characters"),
        (json!({ "client_name": "evil\u{202e}gpj" }), "client_name has characters that change the direction"),
        (json!({ "client_name": 5 }), "client_name must be a string"),
    ] {
        let (code, said) = refusal(members.clone());
        assert_eq!(code, "invalid_client_metadata", "{members}");
        assert!(said.starts_with(sentence), "{members}: {said}");
    }
}

/// A27.
#[test]
fn what_would_be_too_much_to_read_is_refused() {
    let deep = format!("{}1{}", "{\"a\":".repeat(1_000), "}".repeat(1_000));
    assert!(matches!(parse(&deep), Err(MetadataError::Json(_))));
    let long = web(json!({ "software_id": "x".repeat(LONGEST_METADATA) }));
    assert!(matches!(parse(&long), Err(MetadataError::TooLong)));
    for text in ["", "[]", "x", "{\"client_name\":\"a\",\"client_name\":\"b\"}", "client_name=x"] {
        assert!(matches!(parse(text), Err(MetadataError::Json(_))), "{text}");
    }
}

#[test]
fn a_client_without_a_name_has_that_of_its_redirect() {
    assert_eq!(spec(parse(&web(json!({ "client_name": null }))).unwrap()).name, "app.test");
    assert_eq!(spec(parse(&web(json!({ "client_name": "  " }))).unwrap()).name, "app.test");
}

/// `ChatGPT`'s documents list two methods, Claude Code's none at all.
#[test]
fn a_document_has_no_secret() {
    let method = |members: Value| {
        ClientMetadata::parse(web(members).as_bytes(), Source::Document).map(|metadata| metadata.method())
    };
    let keys = "https://app.test/jwks";
    assert_eq!(method(json!({})), Ok(AuthMethod::None));
    assert_eq!(method(json!({ "jwks_uri": keys })), Ok(AuthMethod::PrivateKeyJwt));
    assert_eq!(
        method(json!({ "jwks_uri": keys, "token_endpoint_auth_method": "none" })),
        Ok(AuthMethod::None)
    );
    let both = json!(["none", "private_key_jwt"]);
    let chosen = json!({
        "jwks_uri": keys, "token_endpoint_auth_method": "none", "token_endpoint_auth_methods_supported": both
    });
    assert_eq!(method(chosen), Ok(AuthMethod::PrivateKeyJwt));
    assert_eq!(method(json!({ "token_endpoint_auth_methods_supported": both })), Ok(AuthMethod::None));
    let secret = method(json!({ "token_endpoint_auth_method": "client_secret_post" }));
    assert!(matches!(secret, Err(MetadataError::Unsupported { name: METHOD, .. })));
    let keyless = method(json!({ "token_endpoint_auth_method": "private_key_jwt" }));
    assert_eq!(keyless, Err(MetadataError::NoKeys));
}

/// RFC 7592 §2.2: who changes a registration repeats what was given to it.
#[test]
fn what_the_client_says_it_was_given_can_be_compared() {
    let metadata = parse(&web(json!({ "client_id": "abc", "client_secret": "s".repeat(43) }))).unwrap();
    assert_eq!(metadata.claimed_id(), Some("abc"));
    assert!(metadata.claimed_secret().is_some_and(|secret| secret.expose() == "s".repeat(43)));
    assert!(!format!("{metadata:?}").contains("sss"));
}

#[test]
fn a_sector_names_every_redirect_uri() {
    let uris = ["https://a.test/cb".to_owned(), "https://b.test/cb".to_owned()];
    assert!(names_all(br#"["https://b.test/cb","https://c.test/","https://a.test/cb"]"#, &uris));
    for document in
        [r#"["https://a.test/cb"]"#, r#"["https://a.test/cb","https://b.test/cb/"]"#, "{}", "[1]", ""]
    {
        assert!(!names_all(document.as_bytes(), &uris), "{document}");
    }
}

proptest! {
    /// Whatever was accepted is told in a form that is accepted again and comes out the same, without a `null`: clients send back what
    /// they were told when they change something (RFC 7592 §2.2).
    #[test]
    fn what_is_told_can_be_registered_again(
        name in prop_oneof![Just(json!(null)), Just(json!(5)), "\\PC{0,40}".prop_map(Value::from)],
        uris in prop::collection::vec(
            prop_oneof![
                "https://[a-z]{1,9}\\.test/[a-z?=]{0,9}",
                Just("http://localhost:1/cb".to_owned()),
                Just("cursor://x/cb".to_owned()),
                Just("intent:x".to_owned()),
            ],
            0..4,
        ),
        grants in prop::sample::subsequence(
            vec!["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "implicit"],
            0..4,
        ),
        method in prop::option::of(prop::sample::select(
            vec!["none", "client_secret_basic", "client_secret_post", "private_key_jwt", "x"],
        )),
        alg in prop::option::of(prop::sample::select(vec!["RS256", "ES256", "EdDSA", "Ed25519", "none"])),
        jwks_uri in prop::option::of(Just("https://app.test/jwks")),
        texts in prop::collection::vec("\\PC{0,20}", 0..3),
        flag in any::<bool>(),
    ) {
        let sent = json!({
            "client_name": name, "redirect_uris": uris, "grant_types": grants, "token_endpoint_auth_method": method,
            "token_endpoint_auth_signing_alg": alg, "id_token_signed_response_alg": alg, "jwks_uri": jwks_uri,
            "contacts": texts, "scope": texts.join(" "), "software_id": texts.first(), "require_auth_time": flag,
            "dpop_bound_access_tokens": flag, "client_uri": uris.first(),
        });
        if let Ok((client, told)) = registered(&sent.to_string()) {
            prop_assert!(told.as_object().unwrap().values().all(|value| !value.is_null()));
            let (again, told_again) = registered(&told.to_string()).unwrap();
            prop_assert_eq!(&told, &told_again);
            prop_assert_eq!(format!("{:?}", client.spec()), format!("{:?}", again.spec()));
        }
    }
}
