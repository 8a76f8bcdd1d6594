//! `private_key_jwt` (RFC 7523) at `/token`: every refusal, replay, restarts, and what is told to a client with `client_secret_jwt`.
//!
//! The names of modules of the `OpenID` suite stand beside the cases (reference/oauth.md 3.7).

use std::fmt::Write as _;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use insta::assert_snapshot;
use serde_json::{Value, json};
use tsidecar_oauth::jose::{ClientKey, VerifyAlgorithm};

use crate::support::{ALICE, App, BOB, Daemon, Reply, Request, Setup, daemon::SECRET, host::Host, wire::jwt};

const ISSUER: &str = "https://idp.tail.test";
pub(crate) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client with keys, and what it signs with them.
pub(crate) struct Signer {
    pub(crate) id: &'static str,
    pub(crate) key: ClientKey,
}

impl Signer {
    pub(crate) fn new(id: &'static str, algorithm: VerifyAlgorithm) -> Self {
        Self { id, key: ClientKey::generate(algorithm).unwrap() }
    }

    /// The JWK set that the client registers.
    pub(crate) fn jwks(&self) -> String {
        let mut jwk = self.key.public_jwk().clone();
        jwk["kid"] = "k1".into();
        json!({ "keys": [jwk] }).to_string()
    }

    /// Its entry in the configuration, with the keys in a file.
    pub(crate) fn entry(&self, more: &str) -> String {
        let id = self.id;
        format!(
            r#"[[client]]
id = "{id}"
name = "Signing application"
jwks_file = "{{dir}}/{id}.jwks.json"
redirect_uris = ["https://signer.test/callback"]
{more}
"#
        )
    }

    /// Registers the client.
    pub(crate) fn register(&self, setup: Setup, more: &str) -> Setup {
        setup.file(&format!("{}.jwks.json", self.id), &self.jwks()).tables(&self.entry(more))
    }

    pub(crate) fn app<'d>(&self, daemon: &'d Daemon) -> App<'d> {
        App { daemon, id: self.id, secret: None, redirect_uri: "https://signer.test/callback" }
    }

    /// The good claims for the daemon's clock at zero.
    pub(crate) fn claims(&self, jti: &str) -> Value {
        let now = now();
        json!({ "iss": self.id, "sub": self.id, "aud": ISSUER, "jti": jti, "iat": now, "exp": now + 300 })
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.key.algorithm().as_str(), "kid": "k1" })
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.key.sign(header, claims.to_string().as_bytes()).unwrap()
    }

    pub(crate) fn assertion(&self, jti: &str) -> String {
        self.sign(&self.header(), &self.claims(jti))
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// The request that redeems a code with an assertion.
fn redemption(app: &App<'_>, code: &str, assertion: &str) -> Request {
    app.redemption(code, &[("client_assertion_type", TYPE), ("client_assertion", assertion)])
}

fn redeem(app: &App<'_>, code: &str, assertion: &str) -> Reply {
    app.daemon.send(&ALICE, redemption(app, code, assertion))
}

#[track_caller]
fn refused(reply: &Reply) -> String {
    assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "{}", reply.show());
    reply.member("error_description")
}

fn with(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object
}

#[test]
fn an_assertion_authenticates_its_client() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon = signer.register(Setup::default(), "").start();
    let app = signer.app(&daemon);
    let code = app.code(&ALICE, &[]);
    let assertion = signer.assertion("one");
    let reply = redeem(&app, &code, &assertion);
    // The log is at its most talkative.
    assert!(!daemon.log().contains(assertion.rsplit('.').next().unwrap()));
    assert_snapshot!(reply.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    pragma: no-cache
    x-content-type-options: nosniff

    {
      "access_token": "[opaque]",
      "token_type": "Bearer",
      "expires_in": 600,
      "refresh_token": "[refresh]",
      "id_token": "[JWT]",
      "scope": "openid profile email groups"
    }
    "#);
    assert_eq!(jwt(&reply.member("id_token")).1["aud"], "signer");
    // RFC 7521 §4.2: client_id may be left out.
    let refreshed = daemon.send(
        &ALICE,
        app.renewal(
            &reply.member("refresh_token"),
            &[
                ("client_id", ""),
                ("client_assertion_type", TYPE),
                ("client_assertion", &signer.assertion("two")),
            ],
        ),
    );
    assert_eq!(refreshed.status, 200, "{}", refreshed.show());
}

#[test]
fn every_algorithm_that_the_metadata_names() {
    for algorithm in VerifyAlgorithm::ALL {
        let signer = Signer::new("signer", algorithm);
        let daemon = signer.register(Setup::default(), "").start();
        let app = signer.app(&daemon);
        let reply = redeem(&app, &app.code(&ALICE, &[]), &signer.assertion("one"));
        assert_eq!(reply.status, 200, "{algorithm}: {}", reply.show());
        if algorithm == VerifyAlgorithm::EdDsa {
            let header = json!({ "alg": "Ed25519", "typ": "client-authentication+jwt" });
            let assertion = signer.sign(&header, &signer.claims("two"));
            assert_eq!(redeem(&app, &app.code(&ALICE, &[]), &assertion).status, 200);
        }
    }
}

#[test]
fn what_an_assertion_may_not_say() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon = signer.register(Setup::default(), "").start();
    let app = signer.app(&daemon);
    let code = app.code(&ALICE, &[]);
    let at = now();
    let mut told = String::new();
    for (name, changes) in [
        ("ensure-client-assertion-with-exp-is-5-minutes-in-past-fails", json!({ "exp": at - 300 })),
        ("ensure-client-assertion-with-wrong-aud-fails", json!({ "aud": "https://other.test" })),
        ("ensure-client-assertion-with-no-sub-fails", json!({ "sub": null })),
        ("par-test-array-as-audience-fails", json!({ "aud": [ISSUER] })),
        ("par-endpoint-url-as-audience-fails", json!({ "aud": format!("{ISSUER}/par") })),
        ("token-endpoint-url-as-audience-fails", json!({ "aud": format!("{ISSUER}/token") })),
        ("jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails", json!({ "nbf": at + 70 })),
        ("iat-over-60-seconds-in-the-future", json!({ "iat": at + 70 })),
        ("no-exp", json!({ "exp": null })),
        ("exp-far-away", json!({ "exp": at + 86_400 })),
        ("no-jti", json!({ "jti": null })),
        ("long-jti", json!({ "jti": "x".repeat(257) })),
        ("other-iss", json!({ "iss": "web" })),
        ("other-client", json!({ "iss": "web", "sub": "web" })),
    ] {
        let assertion = signer.sign(&signer.header(), &with(signer.claims(name), &changes));
        writeln!(told, "{name}: {}", refused(&redeem(&app, &code, &assertion))).unwrap();
    }
    assert_snapshot!(told, @r#"
    ensure-client-assertion-with-exp-is-5-minutes-in-past-fails: client_assertion: it has expired
    ensure-client-assertion-with-wrong-aud-fails: client_assertion: aud must be the issuer identifier, as one string
    ensure-client-assertion-with-no-sub-fails: client_assertion: sub must be the client_id
    par-test-array-as-audience-fails: client_assertion: aud must be the issuer identifier, as one string
    par-endpoint-url-as-audience-fails: client_assertion: aud must be the issuer identifier, as one string
    token-endpoint-url-as-audience-fails: client_assertion: aud must be the issuer identifier, as one string
    jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails: client_assertion: nbf or iat lies in the future
    iat-over-60-seconds-in-the-future: client_assertion: nbf or iat lies in the future
    no-exp: client_assertion: exp is missing
    exp-far-away: client_assertion: exp must be within an hour
    no-jti: client_assertion: jti must be a text of 1 to 256 bytes
    long-jti: client_assertion: jti must be a text of 1 to 256 bytes
    other-iss: client_assertion: iss, sub and client_id must be the same
    other-client: client_assertion: iss, sub and client_id must be the same
    "#);
    // par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted; and the code was not burned by all this.
    let soon = with(signer.claims("soon"), &json!({ "nbf": at + 8, "iat": at + 8 }));
    assert_eq!(redeem(&app, &code, &signer.sign(&signer.header(), &soon)).status, 200);
}

#[test]
fn how_an_assertion_may_not_be_signed() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon = signer.register(Setup::default(), "").start();
    let app = signer.app(&daemon);
    let code = app.code(&ALICE, &[]);
    let stranger = ClientKey::generate(VerifyAlgorithm::Es256).unwrap();
    let claims = signer.claims("x");
    let by_stranger = |header: Value| stranger.sign(&header, claims.to_string().as_bytes()).unwrap();
    let good = signer.assertion("y");
    let (input, _) = good.rsplit_once('.').unwrap();
    let unsigned = format!(
        "{}.{}.",
        Base64UrlUnpadded::encode_string(br#"{"alg":"none"}"#),
        input.split_once('.').unwrap().1
    );
    let mut told = String::new();
    for (name, assertion) in [
        ("another key", by_stranger(json!({ "alg": "ES256", "kid": "k1" }))),
        ("a key that it brings along", by_stranger(json!({ "alg": "ES256", "jwk": stranger.public_jwk() }))),
        ("an unknown kid", by_stranger(json!({ "alg": "ES256", "kid": "k2" }))),
        ("an extension", signer.sign(&json!({ "alg": "ES256", "crit": ["x"], "x": 1 }), &claims)),
        ("unsigned", unsigned),
        ("cut", input.to_owned()),
        ("a request object", signer.sign(&json!({ "alg": "ES256", "typ": "oauth-authz-req+jwt" }), &claims)),
        ("an ID token", app_id_token(&daemon)),
        ("too long", "x".repeat(20_000)),
    ] {
        writeln!(told, "{name}: {}", refused(&redeem(&app, &code, &assertion))).unwrap();
    }
    assert_snapshot!(told, @r#"
    another key: client_assertion: the signature of the JWT is not valid
    a key that it brings along: client_assertion: the signature of the JWT is not valid
    an unknown kid: client_assertion: no registered key fits the JWT (kid and alg)
    an extension: client_assertion: the JWT needs an extension (crit) that is not supported
    unsigned: client_assertion: the JWT is not signed (alg 'none')
    cut: client_assertion: the JWT is not of three parts in base64url
    a request object: client_assertion: the JWT is of another type (typ)
    an ID token: client_assertion: sub must be the client_id
    too long: client_assertion: the JWT is longer than 16384 bytes
    "#);
    assert_eq!(redeem(&app, &code, &good).status, 200);
}

/// An ID token of the daemon itself.
fn app_id_token(daemon: &Daemon) -> String {
    App::confidential(daemon).login(&BOB, &[]).member("id_token")
}

/// We hold digests of secrets only, so there is nothing to verify an HS256 assertion with.
#[test]
fn client_secret_jwt_is_refused_and_told_what_to_do() {
    let daemon = Daemon::new();
    let app = App { secret: None, ..App::confidential(&daemon) };
    let code = app.code(&ALICE, &[]);
    let part = |json: Value| Base64UrlUnpadded::encode_string(json.to_string().as_bytes());
    let claims = json!({ "iss": "web", "sub": "web", "aud": ISSUER, "jti": "j", "exp": now() + 60 });
    let assertion = format!("{}.{}.{}", part(json!({ "alg": "HS256" })), part(claims), "A".repeat(43));
    assert_snapshot!(redeem(&app, &code, &assertion).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "client_secret_jwt (HS256) is not supported: use private_key_jwt, an assertion signed with a private key whose public half is registered in jwks or jwks_uri"
    }
    "#);
    // The secret itself still works.
    assert_eq!(App::confidential(&daemon).redeem(&ALICE, &code, &[]).status, 200);
}

/// ensure-signed-client-assertion-with-RS256-fails
#[test]
fn a_client_may_refuse_rs256() {
    let signer = Signer::new("signer", VerifyAlgorithm::Rs256);
    let daemon = signer.register(Setup::default(), r#"assertion_algs = ["PS256", "ES256", "EdDSA"]"#).start();
    let app = signer.app(&daemon);
    let code = app.code(&ALICE, &[]);
    assert_snapshot!(refused(&redeem(&app, &code, &signer.assertion("one"))), @"client_assertion: the JWT is signed with an algorithm that is not acceptable here");
    // The same RSA key by the better algorithm.
    let private_half_is_for_both = ClientKey::generate(VerifyAlgorithm::Ps256).unwrap();
    let other = Signer { id: "signer", key: private_half_is_for_both };
    assert!(refused(&redeem(&app, &code, &other.assertion("two"))).contains("signature"));
}

#[test]
fn the_token_endpoint_is_an_audience_by_opt_in() {
    let signer = Signer::new("signer", VerifyAlgorithm::EdDsa);
    let daemon = signer.register(Setup::default(), "token_endpoint_audience = true").start();
    let app = signer.app(&daemon);
    let claims = |jti: &str, aud: Value| with(signer.claims(jti), &json!({ "aud": aud }));
    let redeem_as =
        |claims: &Value| redeem(&app, &app.code(&ALICE, &[]), &signer.sign(&signer.header(), claims));
    assert_eq!(redeem_as(&claims("a", format!("{ISSUER}/token").into())).status, 200);
    assert_eq!(redeem_as(&claims("b", ISSUER.into())).status, 200);
    refused(&redeem_as(&claims("c", format!("{ISSUER}/par").into())));
    refused(&redeem_as(&claims("d", json!([format!("{ISSUER}/token")]))));
}

#[test]
fn one_proof_of_the_client_and_of_this_client() {
    let (one, two) = (Signer::new("one", VerifyAlgorithm::EdDsa), Signer::new("two", VerifyAlgorithm::EdDsa));
    let daemon = two.register(one.register(Setup::default(), ""), "").start();
    let app = one.app(&daemon);
    let code = app.code(&ALICE, &[]);
    let base = redemption(&app, &code, &one.assertion("a"));
    // With a secret beside it.
    let both = daemon.send(&ALICE, base.clone().basic("web", SECRET));
    assert_eq!((both.status, both.error().as_str()), (400, "invalid_request"));
    // ensure-client-id-in-token-endpoint: the body names another client.
    let fields =
        [("client_assertion_type", TYPE), ("client_assertion", &*one.assertion("b")), ("client_id", "two")];
    refused(&daemon.send(&ALICE, app.redemption(&code, &fields)));
    // ensure-client-assertion-in-token-endpoint: no assertion at all, and no type of one.
    refused(&app.redeem(&ALICE, &code, &[]));
    refused(&app.redeem(&ALICE, &code, &[("client_assertion", &one.assertion("c"))]));
    let saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    let fields = [("client_assertion_type", saml), ("client_assertion", &*one.assertion("d"))];
    refused(&app.redeem(&ALICE, &code, &fields));
    // A client with a secret, or a public one, has no keys.
    let web = Signer { id: "web", key: ClientKey::generate(VerifyAlgorithm::EdDsa).unwrap() };
    refused(&redeem(&App { secret: None, ..App::confidential(&daemon) }, &code, &web.assertion("e")));
    assert_eq!(redeem(&app, &code, &one.assertion("f")).status, 200);
    // ensure-authorization-code-is-bound-to-client
    let code = app.code(&ALICE, &[]);
    let stolen =
        redeem(&App { redirect_uri: app.redirect_uri, ..two.app(&daemon) }, &code, &two.assertion("g"));
    assert_eq!((stolen.status, stolen.error().as_str()), (400, "invalid_grant"));
}

/// A17: whoever has seen a request cannot use its assertion, whatever became of the request, and whatever became of us.
#[test]
fn an_assertion_is_good_once_also_after_a_restart() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let mut daemon = signer.register(Setup::default(), "").start();
    let (used, wasted, misfit) =
        (signer.assertion("used"), signer.assertion("wasted"), signer.assertion("misfit"));
    let (second, third);
    {
        let app = signer.app(&daemon);
        let reply = redeem(&app, &app.code(&ALICE, &[]), &used);
        assert_eq!(reply.status, 200, "{}", reply.show());
        second = app.code(&ALICE, &[]);
        third = reply.member("refresh_token");
        assert_snapshot!(redeem(&app, &second, &used).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "client_assertion: it was used before (jti)"
    }
    "#);
        // Requests that failed for another reason have shown their assertion, too.
        let nonsense = redeem(&app, "nonsense", &wasted);
        assert_eq!((nonsense.status, nonsense.error().as_str()), (400, "invalid_grant"));
        refused(&redeem(&app, &second, &wasted));
        let unknown = daemon.send(
            &ALICE,
            app.token_request(
                &[("grant_type", "password"), ("client_assertion_type", TYPE), ("client_assertion", &misfit)],
                &[],
            ),
        );
        assert_eq!((unknown.status, unknown.error().as_str()), (400, "unsupported_grant_type"));
        refused(&redeem(&app, &second, &misfit));
    }
    daemon.signal("KILL");
    daemon.ended();
    daemon.launch();
    daemon.wait_until_ready();
    let app = signer.app(&daemon);
    for assertion in [&used, &wasted, &misfit] {
        refused(&redeem(&app, &second, assertion));
    }
    // Neither the code nor the refresh token suffered.
    assert_eq!(redeem(&app, &second, &signer.assertion("new")).status, 200);
    let fields = [("client_assertion_type", TYPE), ("client_assertion", &*signer.assertion("newer"))];
    let refreshed = app.refresh(&ALICE, &third, &fields);
    assert_eq!(refreshed.status, 200, "{}", refreshed.show());
}

/// Ten at once: one of them is first.
#[test]
fn of_parallel_requests_with_one_assertion_one_succeeds() {
    let signer = Signer::new("signer", VerifyAlgorithm::EdDsa);
    let daemon = signer.register(Setup::default(), "").start();
    let app = signer.app(&daemon);
    let codes: Vec<_> = (0..8).map(|_| app.code(&ALICE, &[])).collect();
    let assertion = signer.assertion("once");
    let replies: Vec<_> = std::thread::scope(|scope| {
        let sent: Vec<_> = codes.iter().map(|code| scope.spawn(|| redeem(&app, code, &assertion))).collect();
        sent.into_iter().map(|reply| reply.join().unwrap()).collect()
    });
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert!(replies.iter().all(|reply| reply.status == 200 || refused(reply).contains("used before")));
}

/// The entry of a client whose keys are at the host.
fn by_uri(signer: &Signer, host: &Host) -> Setup {
    let entry = signer.entry("").replace(
        &format!("jwks_file = \"{{dir}}/{}.jwks.json\"", signer.id),
        &format!("jwks_uri = \"{}\"", host.url("/jwks.json")),
    );
    Setup::default().tables(&host.tables()).tables(&entry)
}

const JWKS: &str = "application/jwk-set+json";

#[test]
fn keys_are_fetched_when_they_are_needed_and_again_when_one_is_missed() {
    let (host, signer) = (Host::start(), Signer::new("signer", VerifyAlgorithm::Es256));
    host.answer("/jwks.json", 200, JWKS, &signer.jwks());
    let daemon = by_uri(&signer, &host).start();
    let app = signer.app(&daemon);
    // Not for somebody who has no such key to show.
    refused(&app.redeem(&ALICE, "x", &[]));
    refused(&daemon.send(&ALICE, app.redemption("x", &[]).basic("signer", SECRET)));
    assert_eq!(host.requests(0), Vec::<String>::new());
    for jti in ["one", "two"] {
        assert_eq!(redeem(&app, &app.code(&ALICE, &[]), &signer.assertion(jti)).status, 200);
    }
    assert_eq!(host.requests(1).len(), 1);
    // refresh-token-rp-key-rotation: another key at the same place.
    let rotated = Signer::new("signer", VerifyAlgorithm::EdDsa);
    let jwks = rotated.jwks().replace("k1", "k2");
    host.answer("/jwks.json", 200, JWKS, &jwks);
    let by_k2 = |jti: &str| rotated.sign(&json!({ "alg": "EdDSA", "kid": "k2" }), &rotated.claims(jti));
    assert_eq!(redeem(&app, &app.code(&ALICE, &[]), &by_k2("three")).status, 200);
    assert_eq!(host.requests(2).len(), 2);
    // The old key has gone with its set, and nobody makes us ask again and again.
    let code = app.code(&ALICE, &[]);
    for jti in ["four", "five"] {
        assert_eq!(
            refused(&redeem(&app, &code, &signer.assertion(jti))),
            "client_assertion: no registered key fits the JWT (kid and alg)"
        );
    }
    assert_eq!(host.requests(2).len(), 2);
    assert_eq!(redeem(&app, &code, &by_k2("six")).status, 200);
}

/// A client whose host is down is told to come back: `invalid_client` would make it forget who it is.
#[test]
fn keys_that_cannot_be_fetched_are_a_passing_state() {
    let (host, signer) = (Host::start(), Signer::new("signer", VerifyAlgorithm::Es256));
    let daemon = by_uri(&signer, &host).start();
    let app = signer.app(&daemon);
    let reply = redeem(&app, &app.code(&ALICE, &[]), &signer.assertion("one"));
    assert_snapshot!(reply.show(), @r#"
    503
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    retry-after: 30
    x-content-type-options: nosniff

    {
      "error": "temporarily_unavailable",
      "error_description": "the keys of the client: the document could not be fetched"
    }
    "#);
    assert!(daemon.log().contains("the host answered 404"), "{}", daemon.log());
}

/// What a host publishes by mistake is not used.
#[test]
fn a_private_key_at_the_jwks_uri_is_no_key() {
    let (host, signer) = (Host::start(), Signer::new("signer", VerifyAlgorithm::Es256));
    host.answer("/jwks.json", 200, JWKS, &signer.jwks().replace("\"kid\"", "\"d\":\"AAAA\",\"kid\""));
    let daemon = by_uri(&signer, &host).start();
    let app = signer.app(&daemon);
    let reply = redeem(&app, &app.code(&ALICE, &[]), &signer.assertion("one"));
    assert_eq!((reply.status, reply.error().as_str()), (503, "temporarily_unavailable"));
    assert!(daemon.log().contains("replace the key"), "{}", daemon.log());
}

#[test]
fn a_key_set_that_cannot_be_used_stops_the_start_with_its_reason() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon = signer.register(Setup::default(), "").start();
    let check = |jwks: &str| {
        std::fs::write(daemon.path("signer.jwks.json"), jwks).unwrap();
        let output = daemon.run(&["check-config"]);
        let text =
            String::from_utf8_lossy(&output.stderr).replace(&daemon.path("").display().to_string(), "[dir]/");
        assert!(!output.status.success(), "{text}");
        text
    };
    let modulus = Base64UrlUnpadded::encode_string(&[0xff; 128]);
    let weak = json!({ "keys": [{ "kty": "RSA", "e": "AQAB", "n": modulus }] });
    let mut told = check("{}");
    told.push_str(&check(r#"{"keys":[]}"#));
    told.push_str(&check(&signer.jwks().replace("\"kid\"", "\"d\":\"AAAA\",\"kid\"")));
    told.push_str(&check(&weak.to_string()));
    assert_snapshot!(told, @r#"
    tsidecar: [dir]/tsidecar.toml:45: [[client]] jwks_file: the JWK set has no array "keys" of objects
    tsidecar: [dir]/tsidecar.toml:45: [[client]] jwks_file: the JWK set has no key for RS256, PS256, ES256 or EdDSA signatures
    tsidecar: [dir]/tsidecar.toml:45: [[client]] jwks_file: the JWK holds a private or symmetric key; only the public half may leave its owner: replace the key
    tsidecar: [dir]/tsidecar.toml:45: [[client]] jwks_file: an RSA key needs 2048 to 8192 bits
    "#);
}

/// `client show` tells what a file sets, and that only keys prove the client.
#[test]
fn settings_are_shown() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let more = r#"assertion_algs = ["ES256"]
login = "confirm"
require_pushed_authorization_requests = true
dpop_bound_access_tokens = true
post_logout_redirect_uris = ["https://signer.test/bye"]
backchannel_logout_uri = "https://signer.test/logout""#;
    let daemon = signer.register(Setup::default(), more).start();
    let shown = daemon.run(&["client", "show", "signer"]);
    let text =
        String::from_utf8(shown.stdout).unwrap().replace(&daemon.path("").display().to_string(), "{dir}/");
    assert_snapshot!(text, @r"
    id               signer
    name             Signing application
    type             confidential
    state            enabled
    from             {dir}/tsidecar.toml
    redirect URI     https://signer.test/callback
    authenticates    by private_key_jwt only
    PKCE             or-nonce
    may sign in      everybody whom the tailnet lets reach us
    ID token         RS256, for 5m
    access token     for 10m
    refresh token    for 30d unused, 180d in all
    login            after a click on each page
    keys             registered
    assertions       ES256
    pushed requests  always
    DPoP             always
    after logout     https://signer.test/bye
    told of logouts  https://signer.test/logout
    ");
}
