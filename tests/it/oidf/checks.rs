//! What the suite checks of every answer, its warnings as failures (reference/oauth.md 3.2 to 3.4).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tsidecar_oauth::jose::{Algorithm, Jws, PublicKeys, Typ, VerifyAlgorithm, access_token_hash};

use crate::support::{Reply, Request, wire::jwt};

use super::{
    browser::{Callback, Mode},
    relying_party::{ISSUER, Suite},
};

/// Claims that belong into an ID token although no scope asks for them.
const PROTOCOL_CLAIMS: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "azp",
    "at_hash",
    "s_hash",
    "sid",
    "jti",
];

/// Seconds by which clocks may differ.
const SKEW: i64 = 5;

/// At least 128 bits long and at least 96 bits of entropy as the suite measures it (Shannon's, of the characters), in
/// characters that an identifier may have.
#[track_caller]
pub(crate) fn secret(what: &str, text: &str) {
    assert!(text.len() * 8 >= 128, "{what} is short: {text}");
    let mut counts = BTreeMap::<u8, f64>::new();
    text.bytes().for_each(|byte| *counts.entry(byte).or_default() += 1.0);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred characters")]
    let length = text.len() as f64;
    let per_character: f64 = counts.values().map(|count| -(count / length) * (count / length).log2()).sum();
    assert!(per_character * length >= 96.0, "{what} has {} bits: {text}", per_character * length);
    assert!(
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/:=".contains(&byte)),
        "{what} has odd characters: {text}"
    );
}

/// A description that a client can read (RFC 6749 §5.2).
#[track_caller]
pub(crate) fn description(text: &str) {
    let plain = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\';
    assert!(!text.is_empty() && text.bytes().all(plain), "error_description: {text}");
}

/// JSON that nobody may keep.
#[track_caller]
pub(crate) fn json(reply: &Reply) -> Value {
    assert_eq!(reply.header("content-type"), Some("application/json"), "{}", reply.show());
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{}", reply.show());
    reply.json()
}

/// A refusal by an endpoint for machines, with one of these errors.
#[track_caller]
pub(crate) fn refused(reply: &Reply, errors: &[&str]) {
    assert!([400, 401].contains(&reply.status), "{}", reply.show());
    let json = json(reply);
    let error = json["error"].as_str().unwrap_or_else(|| panic!("{}", reply.show()));
    assert!(errors.contains(&error), "not one of {errors:?}: {}", reply.show());
    assert!(error == "invalid_client" || reply.status == 400, "{}", reply.show());
    description(json["error_description"].as_str().unwrap());
    for member in json.as_object().unwrap().keys() {
        assert!(["error", "error_description", "error_uri"].contains(&member.as_str()), "{member}");
    }
}

/// What an authorization response must be.
pub(crate) struct Response<'a> {
    pub(crate) redirect_uri: &'a str,
    pub(crate) mode: Mode,
    pub(crate) state: Option<&'a str>,
}

impl Response<'_> {
    /// The code of a response in which everything is right.
    #[track_caller]
    pub(crate) fn code(&self, callback: &Callback) -> String {
        self.check(callback, &["code", "state", "iss"]);
        let code = callback.get("code").unwrap_or_else(|| panic!("{callback:?}"));
        secret("code", code);
        code.to_owned()
    }

    /// A response that is one of these errors.
    #[track_caller]
    pub(crate) fn refused(&self, callback: &Callback, errors: &[&str]) {
        self.check(callback, &["error", "error_description", "state", "iss"]);
        let error = callback.get("error").unwrap_or_else(|| panic!("{callback:?}"));
        assert!(errors.contains(&error), "not one of {errors:?}: {callback:?}");
        description(callback.get("error_description").unwrap());
    }

    #[track_caller]
    fn check(&self, callback: &Callback, known: &[&str]) {
        assert_eq!(callback.uri, self.redirect_uri);
        assert_eq!(callback.mode, self.mode);
        assert_eq!(callback.get("state"), self.state, "{callback:?}");
        assert_eq!(callback.get("iss"), Some(ISSUER), "{callback:?}");
        for (name, _) in &callback.parameters {
            assert!(known.contains(&name.as_str()), "{name}: {callback:?}");
        }
    }
}

/// A page for people that says what is wrong: never a redirect.
#[track_caller]
pub(crate) fn error_page(page: &Reply) {
    assert!((400..500).contains(&page.status), "{}", page.show());
    our_page(page);
}

/// A page of ours, whatever it says.
#[track_caller]
pub(crate) fn our_page(page: &Reply) {
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{}", page.show());
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("location"), None);
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    let html = page.text();
    assert!(
        html.starts_with("<!doctype html>") && html.contains("<h1>") && !html.contains("<script"),
        "{html}"
    );
}

/// The answer of the token endpoint (RFC 6749 §5.1).
#[track_caller]
pub(crate) fn token_answer(reply: &Reply, token_type: &str) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.show());
    let answer = json(reply);
    assert_eq!(reply.header("pragma"), Some("no-cache"));
    secret("access_token", answer["access_token"].as_str().unwrap());
    assert_eq!(answer["token_type"], token_type);
    assert!(answer["expires_in"].as_u64().is_some_and(|seconds| seconds > 0), "{}", reply.show());
    secret("refresh_token", answer["refresh_token"].as_str().unwrap());
    assert!(answer["scope"].is_string() && answer["id_token"].is_string(), "{}", reply.show());
    let known = ["access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope"];
    for member in answer.as_object().unwrap().keys() {
        assert!(known.contains(&member.as_str()), "{member}");
    }
    answer
}

/// What an ID token must say.
pub(crate) struct Expected<'a> {
    pub(crate) client: &'a str,
    pub(crate) nonce: Option<&'a str>,
    pub(crate) access_token: &'a str,
    pub(crate) algorithm: Algorithm,
    pub(crate) now: i64,
}

/// An ID token (OpenID Connect Core §2 and §3.1.3.7); its claims.
#[track_caller]
pub(crate) fn id_token(token: &str, key_set: &str, expected: &Expected<'_>) -> Value {
    let keys = PublicKeys::parse(key_set).unwrap();
    let allowed = match expected.algorithm {
        Algorithm::Rs256 => VerifyAlgorithm::Rs256,
        Algorithm::Es256 => VerifyAlgorithm::Es256,
        Algorithm::EdDsa => VerifyAlgorithm::EdDsa,
    };
    Jws::parse(token).unwrap().verify(&keys, &[allowed], Typ::Optional(&["JWT"])).unwrap();
    let (header, claims) = jwt(token);
    assert!(header["kid"].as_str().is_some_and(|kid| !kid.is_empty()), "{header}");
    for member in header.as_object().unwrap().keys() {
        assert!(["alg", "kid", "typ"].contains(&member.as_str()), "{header}");
    }
    let time = |name: &str| claims[name].as_i64().unwrap_or_else(|| panic!("{name}: {claims}"));
    let now = expected.now;
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], expected.client);
    let subject = claims["sub"].as_str().unwrap();
    assert!((1..=255).contains(&subject.len()) && subject.is_ascii(), "{claims}");
    assert!((now - SKEW..=now + SKEW).contains(&time("iat")), "iat, now {now}: {claims}");
    assert!(time("exp") > now && time("exp") <= now + 86_400, "{claims}");
    assert!(time("nbf") <= now + SKEW, "{claims}");
    assert!(time("auth_time") <= now + SKEW, "{claims}");
    assert_eq!(claims.get("nonce").and_then(Value::as_str), expected.nonce, "{claims}");
    assert_eq!(claims["at_hash"], access_token_hash(expected.algorithm, expected.access_token));
    assert!(claims.get("azp").is_none_or(|azp| azp == expected.client), "{claims}");
    assert!(claims.get("acr").is_none_or(Value::is_string), "{claims}");
    for name in claims.as_object().unwrap().keys() {
        assert!(PROTOCOL_CLAIMS.contains(&name.as_str()), "nobody asked for {name}: {claims}");
    }
    claims
}

/// An answer of UserInfo (OpenID Connect Core §5.3.2): types of claims (§5.1), the same person as in the ID token.
#[track_caller]
pub(crate) fn userinfo(reply: &Reply, subject: &Value) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.show());
    let claims = json(reply);
    // RFC 9110 §5.6.7.
    let date = reply.header("date").expect("Date");
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    assert_eq!(&claims["sub"], subject);
    for (name, value) in claims.as_object().unwrap() {
        let right = match name.as_str() {
            "email_verified" | "phone_number_verified" => value.is_boolean(),
            "updated_at" => value.is_u64(),
            "address" => value.is_object(),
            "groups" => value.is_array(),
            "picture" | "profile" | "website" => {
                value.as_str().is_some_and(|text| url::Url::parse(text).is_ok())
            }
            "email" => value.as_str().is_some_and(|text| text.split('@').count() == 2),
            _ => value.as_str().is_some_and(|text| !text.is_empty()),
        };
        assert!(right, "{name}: {claims}");
    }
    claims
}

/// A JWK set (RFC 7517): different `kid`, what for, nothing private, nothing weak.
#[track_caller]
pub(crate) fn key_set(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.show());
    assert!(reply.header("content-type").unwrap().starts_with("application/"));
    let text = reply.text();
    let keys = reply.json()["keys"].as_array().unwrap().clone();
    let kids: BTreeSet<_> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert!(kids.len() == keys.len() && !keys.is_empty(), "{text}");
    for key in &keys {
        assert_eq!(key["use"], "sig");
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(key.get(private).is_none(), "{private}");
        }
        let length = |name: &str| key[name].as_str().unwrap().len();
        match key["kty"].as_str().unwrap() {
            // 2048 bits are 342 characters.
            "RSA" => assert!(length("n") >= 342 && key["e"] == "AQAB", "{key}"),
            "EC" => assert!(key["crv"] == "P-256" && length("x") == 43 && length("y") == 43, "{key}"),
            "OKP" => assert!(key["crv"] == "Ed25519" && length("x") == 43, "{key}"),
            other => panic!("{other}"),
        }
    }
    // Our own reader is strict as well: members of the wrong type, points off the curve.
    PublicKeys::parse(&text).unwrap();
    text
}

/// Members of the metadata and what they hold: those of OpenID Connect Discovery, of RFC 8414 and of the registry of RFC 8414
/// §7.1 (IANA, "OAuth Authorization Server Metadata") that a provider like ours may have. Another name would be a warning.
const METADATA: [(&str, Kind); 60] = [
    ("issuer", Kind::Url),
    ("authorization_endpoint", Kind::Url),
    ("token_endpoint", Kind::Url),
    ("userinfo_endpoint", Kind::Url),
    ("jwks_uri", Kind::Url),
    ("registration_endpoint", Kind::Url),
    ("introspection_endpoint", Kind::Url),
    ("revocation_endpoint", Kind::Url),
    ("pushed_authorization_request_endpoint", Kind::Url),
    ("device_authorization_endpoint", Kind::Url),
    ("end_session_endpoint", Kind::Url),
    ("service_documentation", Kind::Url),
    ("op_policy_uri", Kind::Url),
    ("op_tos_uri", Kind::Url),
    ("scopes_supported", Kind::List),
    ("response_types_supported", Kind::List),
    ("response_modes_supported", Kind::List),
    ("grant_types_supported", Kind::List),
    ("acr_values_supported", Kind::List),
    ("subject_types_supported", Kind::List),
    ("id_token_signing_alg_values_supported", Kind::List),
    ("id_token_encryption_alg_values_supported", Kind::List),
    ("id_token_encryption_enc_values_supported", Kind::List),
    ("userinfo_signing_alg_values_supported", Kind::List),
    ("userinfo_encryption_alg_values_supported", Kind::List),
    ("userinfo_encryption_enc_values_supported", Kind::List),
    ("request_object_signing_alg_values_supported", Kind::List),
    ("request_object_encryption_alg_values_supported", Kind::List),
    ("request_object_encryption_enc_values_supported", Kind::List),
    ("token_endpoint_auth_methods_supported", Kind::List),
    ("token_endpoint_auth_signing_alg_values_supported", Kind::List),
    ("introspection_endpoint_auth_methods_supported", Kind::List),
    ("introspection_endpoint_auth_signing_alg_values_supported", Kind::List),
    ("revocation_endpoint_auth_methods_supported", Kind::List),
    ("revocation_endpoint_auth_signing_alg_values_supported", Kind::List),
    ("code_challenge_methods_supported", Kind::List),
    ("dpop_signing_alg_values_supported", Kind::List),
    ("display_values_supported", Kind::List),
    ("claim_types_supported", Kind::List),
    ("claims_supported", Kind::List),
    ("prompt_values_supported", Kind::List),
    ("claims_locales_supported", Kind::Locales),
    ("ui_locales_supported", Kind::Locales),
    ("authorization_response_iss_parameter_supported", Kind::Flag),
    ("claims_parameter_supported", Kind::Flag),
    ("request_parameter_supported", Kind::Flag),
    ("request_uri_parameter_supported", Kind::Flag),
    ("require_request_uri_registration", Kind::Flag),
    ("require_pushed_authorization_requests", Kind::Flag),
    ("require_signed_request_object", Kind::Flag),
    ("backchannel_logout_supported", Kind::Flag),
    ("backchannel_logout_session_supported", Kind::Flag),
    ("frontchannel_logout_supported", Kind::Flag),
    ("frontchannel_logout_session_supported", Kind::Flag),
    ("tls_client_certificate_bound_access_tokens", Kind::Flag),
    ("client_id_metadata_document_supported", Kind::Flag),
    ("authorization_details_types_supported", Kind::List),
    ("protected_resources", Kind::List),
    ("check_session_iframe", Kind::Url),
    ("mtls_endpoint_aliases", Kind::Members),
];

#[derive(Clone, Copy)]
enum Kind {
    Url,
    List,
    Locales,
    Flag,
    Members,
}

/// The metadata of the provider (OpenID Connect Discovery §3 and §4.3), whatever it supports.
#[track_caller]
pub(crate) fn metadata(suite: &Suite) -> Value {
    let reply = suite.send(Request::get("/.well-known/openid-configuration"));
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let metadata = reply.json();
    assert_eq!(metadata["issuer"], ISSUER);
    for needed in
        ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "claims_supported"]
    {
        assert!(metadata.get(needed).is_some(), "{needed}");
    }
    for (name, value) in metadata.as_object().unwrap() {
        let known = METADATA.iter().find(|(known, _)| known == name);
        let (_, kind) = known.unwrap_or_else(|| panic!("{name} is no registered member"));
        assert!(is_a(*kind, value), "{name}: {value}");
    }
    metadata
}

/// Tells whether a member of the metadata is what it must be.
fn is_a(kind: Kind, value: &Value) -> bool {
    let each = |right: fn(&str) -> bool| {
        let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let texts: BTreeSet<_> = values.iter().filter_map(Value::as_str).collect();
        !values.is_empty() && texts.len() == values.len() && texts.into_iter().all(right)
    };
    match kind {
        Kind::Url => value.as_str().is_some_and(|url| {
            url::Url::parse(url).is_ok_and(|url| url.scheme() == "https" && url.fragment().is_none())
        }),
        // What may stand in a scope, which is what all these lists hold (RFC 6749 §3.3).
        Kind::List => each(|text| {
            !text.is_empty()
                && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\')
        }),
        // BCP 47 in its usual case: language in small letters, region in capitals.
        Kind::Locales => each(|tag| {
            let mut parts = tag.split('-');
            let language = parts.next().unwrap_or_default();
            let small =
                (2..=3).contains(&language.len()) && language.bytes().all(|byte| byte.is_ascii_lowercase());
            small && parts.all(|part| part.len() != 2 || part.bytes().all(|byte| byte.is_ascii_uppercase()))
        }),
        Kind::Flag => value.is_boolean(),
        Kind::Members => value.is_object(),
    }
}
