//! Request objects by value (RFC 9101): what is in a signed one counts, everything beside it does not, and an unsigned one is
//! refused, never ignored.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tsidecar_oauth::jose::VerifyAlgorithm;

use crate::{
    private_key_jwt::Signer,
    support::{ALICE, App, BOB, CHALLENGE, Daemon, Pairs, Reply, Setup, host::Host},
};

impl Signer {
    /// The claims of a request object whose parameters are those of every test's request.
    pub(crate) fn request(&self, changes: &Value) -> Value {
        let mut claims = json!({
            "iss": self.id, "aud": "https://idp.tail.test", "client_id": self.id, "response_type": "code",
            "redirect_uri": "https://signer.test/callback", "scope": "openid email", "state": "inside", "nonce": "inside",
            "code_challenge": CHALLENGE, "code_challenge_method": "S256"
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    pub(crate) fn object(&self, changes: &Value) -> String {
        self.sign(&self.header(), &self.request(changes))
    }
}

/// Sends an object and nothing else but the `client_id`.
fn bare(app: &App<'_>, object: &str) -> Reply {
    let without = [
        "response_type",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
    ];
    let mut changes: Vec<_> = without.map(|name| (name, "")).to_vec();
    changes.push(("request", object));
    app.authorize(&ALICE, &changes)
}

fn fixture(more: &str) -> (Signer, Daemon) {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon = signer.register(Setup::default(), more).start();
    (signer, daemon)
}

#[test]
fn the_parameters_inside_count() {
    let (signer, daemon) = fixture("");
    let app = signer.app(&daemon);
    assert_snapshot!(bare(&app, &signer.object(&json!({}))).show(), @r"
    302
    cache-control: no-store
    location: https://signer.test/callback?code=[code]&state=inside&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    // What stands outside besides is ignored, good or bad.
    let outside: [&Pairs; 6] = [
        &[("state", "outside"), ("nonce", "outside")],
        &[("response_type", "token")],
        &[("redirect_uri", "https://evil.test/")],
        &[("scope", "openid profile"), ("resource", "https://unknown.test")],
        &[("response_mode", "form_post"), ("prompt", "login")],
        &[("code_challenge", "short")],
    ];
    for changes in outside {
        let object = signer.object(&json!({}));
        let reply = app.authorize(&ALICE, &[changes, &[("request", &object)]].concat());
        assert_eq!(reply.redirected("state"), "inside", "{changes:?}: {}", reply.show());
        assert!(reply.redirect("code").is_some(), "{changes:?}");
    }
    for algorithm in [VerifyAlgorithm::Rs256, VerifyAlgorithm::Ps256, VerifyAlgorithm::EdDsa] {
        let signer = Signer::new("signer", algorithm);
        let daemon = signer.register(Setup::default(), "").start();
        let reply = bare(&signer.app(&daemon), &signer.object(&json!({})));
        assert!(reply.redirect("code").is_some(), "{algorithm}: {}", reply.show());
    }
}

/// `ensure-request-object-with-redirect-uri`, and the module for which Form Post needs request objects: the mode stands inside.
#[test]
fn target_and_mode_are_those_inside() {
    let (signer, daemon) = fixture("");
    let app = signer.app(&daemon);
    let object = signer.object(&json!({ "redirect_uri": "https://evil.test/cb" }));
    let reply = app.authorize(&ALICE, &[("request", &object)]);
    assert_eq!((reply.status, reply.header("location")), (400, None));
    assert!(reply.text().contains("unknown address"), "{}", reply.text());
    let reply = bare(&app, &signer.object(&json!({ "redirect_uri": null })));
    assert_eq!((reply.status, reply.header("location")), (400, None));
    let reply = bare(&app, &signer.object(&json!({ "response_mode": "form_post" })));
    let fields = crate::form_post::fields(&reply);
    assert!(fields.contains(&("state".to_owned(), "inside".to_owned())), "{fields:?}");
    // An error of what is inside goes to the target inside.
    let reply = app.authorize(&ALICE, &[("request", &signer.object(&json!({ "response_type": "token" })))]);
    assert_eq!(
        (reply.redirected("error").as_str(), reply.redirected("state").as_str()),
        ("unsupported_response_type", "inside")
    );
}

#[test]
fn objects_that_are_refused() {
    let (signer, daemon) = fixture("");
    let app = signer.app(&daemon);
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdGF0ZSI6ImluIn0.";
    // To the target outside, if it is proven; otherwise on a page.
    assert_snapshot!(app.authorize(&ALICE, &[("request", unsigned)]).show(), @r"
    302
    cache-control: no-store
    location: https://signer.test/callback?error=invalid_request_object&error_description=the+request+object+is+not+signed%3B+sign+it+with+a+registered+key+of+the+client&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(bare(&app, unsigned).show(), @r#"
    400
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
    content-type: text/html; charset=utf-8
    referrer-policy: same-origin
    x-content-type-options: nosniff
    x-frame-options: DENY

    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="robots" content="noindex">
    <title>The application sent a request that cannot be read - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>The application sent a request that cannot be read</h1>
    <p>The sign-in request is not in the form that applications use.</p>
    <p class="cure">Go back to the application and start again; if it happens again, tell the person who runs it.</p>
    <p class="detail">For an administrator: the request object is not signed; sign it with a registered key of the client</p>
    </main>
    </body>
    </html>
    "#);
}

#[test]
fn objects_that_say_what_they_may_not() {
    let (signer, daemon) = fixture("");
    let app = signer.app(&daemon);
    let stranger = Signer::new("signer", VerifyAlgorithm::Es256);
    let assertion = signer.assertion("one");
    let good = signer.object(&json!({}));
    let encrypted = format!("{good}.AAAA.AAAA");
    let tampered = good.replacen('.', ".AA", 1);
    let cases = [
        ("another key", stranger.object(&json!({}))),
        ("another kid", signer.sign(&json!({ "alg": "ES256", "kid": "k2" }), &signer.request(&json!({})))),
        ("a client assertion", assertion),
        (
            "another type",
            signer.sign(&json!({ "alg": "ES256", "typ": "dpop+jwt" }), &signer.request(&json!({}))),
        ),
        ("another issuer", signer.object(&json!({ "iss": "cli" }))),
        ("another audience", signer.object(&json!({ "aud": "https://other.test" }))),
        ("no audience", signer.object(&json!({ "aud": null }))),
        ("another client", signer.object(&json!({ "client_id": "cli" }))),
        ("no client", signer.object(&json!({ "client_id": null }))),
        ("expired", signer.object(&json!({ "exp": 1_000 }))),
        ("not yet", signer.object(&json!({ "nbf": 9_999_999_999_u64 }))),
        ("an object inside", signer.object(&json!({ "request": good }))),
        ("a reference inside", signer.object(&json!({ "request_uri": "urn:x" }))),
        ("encrypted", encrypted),
        ("tampered with", tampered),
        ("no JWT", "https://app.test/object".to_owned()),
    ];
    for (name, object) in cases {
        let reply = app.authorize(&ALICE, &[("request", &object)]);
        let found = ["error", "state", "iss"].map(|name| reply.redirect(name));
        let expected = ["invalid_request_object", "st4te", "https://idp.tail.test"];
        assert_eq!(found, expected.map(|value| Some(value.to_owned())), "{name}: {}", reply.show());
    }
    let both = [("request", good.as_str()), ("request_uri", "urn:x")];
    assert_eq!(app.authorize(&ALICE, &both).redirected("error"), "invalid_request");
    // A client without keys has nothing to sign with.
    let reply = App::confidential(&daemon).authorize(&ALICE, &[("request", &good)]);
    assert!(reply.redirected("error_description").contains("no registered keys"), "{}", reply.show());
}

#[test]
fn some_clients_must_sign() {
    let more = "require_signed_request_object = true\nrequest_object_signing_alg = \"ES256\"";
    let (signer, daemon) = fixture(more);
    let app = signer.app(&daemon);
    assert_snapshot!(app.authorize(&ALICE, &[]).show(), @r"
    302
    cache-control: no-store
    location: https://signer.test/callback?error=invalid_request&error_description=this+application+must+sign+its+requests+%28request%29&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert!(bare(&app, &signer.object(&json!({}))).redirect("code").is_some());
    let signer = Signer::new("signer", VerifyAlgorithm::Rs256);
    let daemon = signer.register(Setup::default(), more).start();
    let reply = signer.app(&daemon).authorize(&ALICE, &[("request", &signer.object(&json!({})))]);
    assert_eq!(reply.redirected("error"), "invalid_request_object", "another algorithm than registered");
}

/// The page that stands in a frame is judged by what counts.
#[test]
fn frames_are_judged_by_what_is_inside() {
    let (signer, daemon) = fixture("");
    let app = signer.app(&daemon);
    let framed = |object: &str, outside: &Pairs| {
        let query = app.query(&[outside, &[("request", object)]].concat());
        let request = crate::support::Request::get(&format!("/authorize?{query}"))
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "iframe");
        daemon.send(&BOB, request)
    };
    assert_eq!(framed(&signer.object(&json!({})), &[("prompt", "none")]).status, 403);
    assert!(framed(&signer.object(&json!({ "prompt": "none" })), &[]).redirect("code").is_some());
}

/// Keys at a `jwks_uri`: fetched when needed, looked for again when one is missed, and their absence is a passing state.
#[test]
fn keys_may_be_elsewhere() {
    let host = Host::start();
    let signer = Signer::new("remote", VerifyAlgorithm::EdDsa);
    let entry = format!(
        "[[client]]\nid = \"remote\"\njwks_uri = \"{}\"\nredirect_uris = [\"https://signer.test/callback\"]\n",
        host.url("/jwks.json")
    );
    let daemon = Setup::default().tables(&host.tables()).tables(&entry).start();
    let app = signer.app(&daemon);
    let object = signer.object(&json!({}));
    let reply = app.authorize(&ALICE, &[("request", &object)]);
    assert_eq!(reply.redirected("error"), "temporarily_unavailable", "{}", reply.show());
    let reply = bare(&app, &object);
    assert_eq!((reply.status, reply.header("location")), (503, None), "{}", reply.show());
}

#[test]
fn a_key_that_is_missed_is_looked_for_again() {
    let host = Host::start();
    let old = Signer::new("remote", VerifyAlgorithm::EdDsa);
    let signer = Signer::new("remote", VerifyAlgorithm::EdDsa);
    host.answer("/jwks.json", 200, "application/json", &old.jwks());
    let entry = format!(
        "[[client]]\nid = \"remote\"\njwks_uri = \"{}\"\nredirect_uris = [\"https://signer.test/callback\"]\n",
        host.url("/jwks.json")
    );
    let daemon = Setup::default().tables(&host.tables()).tables(&entry).start();
    let app = signer.app(&daemon);
    assert!(bare(&app, &old.object(&json!({}))).redirect("code").is_some());
    host.answer("/jwks.json", 200, "application/json", &signer.jwks().replace("k1", "k2"));
    let object = signer.sign(&json!({ "alg": "EdDSA", "kid": "k2" }), &signer.request(&json!({})));
    assert!(bare(&app, &object).redirect("code").is_some());
}
