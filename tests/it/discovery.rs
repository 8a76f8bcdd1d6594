//! Metadata and keys: two documents with one content, and nothing that is not true.

use insta::assert_snapshot;

use crate::support::{
    ALICE, Daemon, Reply, Request,
    tailnet::{INTERNET, NOBODY},
    through_serve,
};

const DOCUMENTS: [&str; 2] = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

#[test]
#[expect(clippy::too_many_lines, reason = "the whole document as a snapshot")]
fn both_documents_say_the_same() {
    let daemon = Daemon::new();
    let [one, two] = DOCUMENTS.map(|path| daemon.send(&ALICE, Request::get(path)));
    assert_snapshot!(one.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: public, max-age=600
    content-type: application/json
    x-content-type-options: nosniff

    {
      "issuer": "https://idp.tail.test",
      "authorization_endpoint": "https://idp.tail.test/authorize",
      "token_endpoint": "https://idp.tail.test/token",
      "pushed_authorization_request_endpoint": "https://idp.tail.test/par",
      "userinfo_endpoint": "https://idp.tail.test/userinfo",
      "end_session_endpoint": "https://idp.tail.test/logout",
      "device_authorization_endpoint": "https://idp.tail.test/device_authorization",
      "registration_endpoint": "https://idp.tail.test/register",
      "jwks_uri": "https://idp.tail.test/.well-known/jwks.json",
      "scopes_supported": [
        "openid",
        "profile",
        "email",
        "groups"
      ],
      "response_types_supported": [
        "code"
      ],
      "response_modes_supported": [
        "query",
        "form_post"
      ],
      "grant_types_supported": [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:token-exchange"
      ],
      "subject_types_supported": [
        "public"
      ],
      "id_token_signing_alg_values_supported": [
        "RS256",
        "ES256"
      ],
      "userinfo_signing_alg_values_supported": [
        "RS256",
        "ES256"
      ],
      "token_endpoint_auth_methods_supported": [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "none"
      ],
      "token_endpoint_auth_signing_alg_values_supported": [
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
        "Ed25519"
      ],
      "introspection_endpoint": "https://idp.tail.test/introspect",
      "introspection_endpoint_auth_methods_supported": [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt"
      ],
      "introspection_endpoint_auth_signing_alg_values_supported": [
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
        "Ed25519"
      ],
      "revocation_endpoint": "https://idp.tail.test/revoke",
      "revocation_endpoint_auth_methods_supported": [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "none"
      ],
      "revocation_endpoint_auth_signing_alg_values_supported": [
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
        "Ed25519"
      ],
      "code_challenge_methods_supported": [
        "S256"
      ],
      "dpop_signing_alg_values_supported": [
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
        "Ed25519"
      ],
      "claims_supported": [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "nbf",
        "auth_time",
        "acr",
        "sid",
        "nonce",
        "at_hash",
        "name",
        "preferred_username",
        "picture",
        "email",
        "email_verified",
        "groups"
      ],
      "acr_values_supported": [
        "urn:tsidecar:acr:ambient",
        "urn:tsidecar:acr:confirmed"
      ],
      "authorization_response_iss_parameter_supported": true,
      "backchannel_logout_supported": true,
      "backchannel_logout_session_supported": true,
      "claims_parameter_supported": true,
      "request_parameter_supported": true,
      "request_object_signing_alg_values_supported": [
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
        "Ed25519"
      ],
      "request_uri_parameter_supported": false,
      "require_pushed_authorization_requests": false,
      "client_id_metadata_document_supported": true
    }
    "#);
    assert_eq!(one.body, two.body);
}

#[test]
fn nothing_is_null_or_empty_and_every_endpoint_answers() {
    let daemon = Daemon::new();
    let metadata = daemon.send(&ALICE, Request::get(DOCUMENTS[0])).json();
    for (name, value) in metadata.as_object().unwrap() {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value == "";
        assert!(!empty, "{name}");
        let path = value.as_str().and_then(|value| value.strip_prefix("https://idp.tail.test/"));
        if let Some(path) = path {
            assert_ne!(daemon.send(&ALICE, Request::get(&format!("/{path}"))).status, 404, "{name}");
        }
    }
}

#[test]
fn keys_are_public_and_named_apart() {
    let daemon = Daemon::new();
    let reply = daemon.send(&ALICE, Request::get("/.well-known/jwks.json"));
    let json = reply.json();
    let keys = json["keys"].as_array().unwrap();
    let mut ids: Vec<_> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), keys.len());
    for key in keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private}");
        }
        assert_eq!(key["use"], "sig");
    }
    let algorithms: Vec<_> = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect();
    assert!(algorithms.contains(&"RS256") && algorithms.contains(&"ES256"), "{algorithms:?}");
    assert!(reply.header("cache-control").unwrap().contains("max-age="));
}

#[test]
fn the_issuer_comes_from_no_header() {
    let daemon = Daemon::new();
    let plain = daemon.send(&ALICE, Request::get(DOCUMENTS[0]));
    for (name, value) in
        [("X-Forwarded-Host", "evil.test"), ("Host", "evil.test"), ("Origin", "https://evil.test")]
    {
        let request = Request::get(DOCUMENTS[0])
            .header("X-Forwarded-For", "100.64.0.2")
            .header("X-Forwarded-Proto", "https")
            .header(name, value);
        let request = if name == "Host" { request } else { request.header("Host", "localhost") };
        assert_eq!(daemon.raw(&request).body, plain.body, "{name}");
    }
}

#[test]
fn everybody_reads_it_and_tailscaled_is_not_asked() {
    let daemon = Daemon::new();
    let before = daemon.tailscaled.asked("whois");
    for who in [INTERNET, NOBODY] {
        for path in [DOCUMENTS[0], DOCUMENTS[1], "/.well-known/jwks.json"] {
            assert_eq!(daemon.send(&who, Request::get(path)).status, 200);
        }
    }
    assert_eq!(daemon.tailscaled.asked("whois"), before);
    daemon.tailscaled.stop();
    assert_eq!(daemon.send(&INTERNET, Request::get(DOCUMENTS[0])).status, 200);
}

/// A13: by Funnel the same, byte for byte, but for what is for the tailnet only; whatever the value of the marker.
#[test]
fn the_internet_is_told_the_same_but_for_what_refuses_it() {
    let daemon = Daemon::new();
    for path in DOCUMENTS {
        let inside = daemon.send(&ALICE, Request::get(path));
        let outside = daemon.send(&INTERNET, Request::get(path));
        let same = Reply { body: outside.body.clone(), ..inside.clone() };
        assert_eq!(same.show(), outside.show(), "status and headers");
        let device = r#""device_authorization_endpoint":"https://idp.tail.test/device_authorization","#;
        let register = r#""registration_endpoint":"https://idp.tail.test/register","#;
        assert_eq!(inside.text().replacen(device, "", 1).replacen(register, "", 1), outside.text());
        assert_ne!(inside.body, outside.body);
        for value in ["?0", ""] {
            let marked = through_serve(&ALICE, Request::get(path)).header("Tailscale-Funnel-Request", value);
            assert_eq!(daemon.raw(&marked).body, outside.body);
        }
        for (name, url) in outside.json().as_object().unwrap() {
            let is_for_people = ["authorization_endpoint", "end_session_endpoint"].contains(&name.as_str());
            if is_for_people || !(name.ends_with("_endpoint") || name.ends_with("_uri")) {
                continue;
            }
            let path = url.as_str().unwrap().strip_prefix("https://idp.tail.test").unwrap();
            let reply = daemon.send(&INTERNET, Request::post(path, &[]));
            assert!(![403, 404].contains(&reply.status), "{name} refuses the internet: {}", reply.show());
        }
    }
    let keys = [ALICE, INTERNET].map(|who| daemon.send(&who, Request::get("/.well-known/jwks.json")).body);
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn unknown_paths_are_json_and_nothing_redirects() {
    let daemon = Daemon::new();
    assert_snapshot!(daemon.send(&ALICE, Request::get("/.well-known/openid-configuration/")).show(), @r#"
    404
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "not_found",
      "error_description": "there is nothing at this path"
    }
    "#);
    assert_snapshot!(daemon.send(&ALICE, Request::new("PUT", "/.well-known/jwks.json")).show(), @r#"
    405
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    allow: GET, HEAD, OPTIONS
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "the method is not allowed here"
    }
    "#);
    for path in [
        "/.well-known/openid-configuration/x",
        "/.well-known/webfinger",
        "/nothing",
        "/TOKEN",
        "//token",
        "/token/",
    ] {
        let reply = daemon.send(&ALICE, Request::get(path));
        assert_eq!((reply.status, reply.header("location")), (404, None), "{path}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
    }
    let head = daemon.send(&ALICE, Request::new("HEAD", DOCUMENTS[0]));
    assert!(head.body.is_empty() && [200, 405].contains(&head.status));
}
