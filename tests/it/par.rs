//! Pushed authorization requests (RFC 9126): `/par`, and what becomes of a `request_uri` at `/authorize`.
//!
//! The names of modules of the `OpenID` suite stand beside the cases (reference/oauth.md 3.7).

use std::{sync::Barrier, thread};

use insta::assert_snapshot;
use serde_json::json;
use tsidecar_oauth::jose::VerifyAlgorithm;

use crate::{
    private_key_jwt::{Signer, TYPE},
    support::{
        ALICE, App, BOB, Daemon, Pairs, Reply, Request, Setup,
        daemon::SECRET,
        tailnet::{INTERNET, NOBODY},
        wire::form,
    },
};

impl App<'_> {
    /// The request that pushes what would be sent to `/authorize`.
    pub(crate) fn pushing(&self, changes: &Pairs) -> Request {
        let request = Request { body: self.query(changes).into_bytes(), ..Request::post("/par", &[]) };
        match self.secret {
            Some(secret) => request.basic(self.id, secret),
            None => request,
        }
    }

    /// Pushes a request and gives its `request_uri`.
    #[track_caller]
    pub(crate) fn push(&self, changes: &Pairs) -> String {
        let reply = self.daemon.send(&ALICE, self.pushing(changes));
        assert_eq!(reply.status, 201, "{}", reply.show());
        reply.member("request_uri")
    }

    /// Visits `/authorize` with a `request_uri`, and whatever else.
    #[track_caller]
    pub(crate) fn visit(&self, request_uri: &str, more: &Pairs) -> Reply {
        let pairs = [&[("client_id", self.id), ("request_uri", request_uri)], more].concat();
        self.daemon.send(&ALICE, Request::get(&format!("/authorize?{}", form(&pairs))))
    }
}

#[track_caller]
fn gone(reply: &Reply) {
    assert_eq!((reply.status, reply.header("location")), (400, None), "{}", reply.show());
    assert!(reply.text().contains("no longer good"), "{}", reply.show());
}

/// `par-without-duplicate-parameters`, and `happy-flow` as far as it concerns `/par`.
#[test]
fn a_request_is_pushed_and_authorized() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let pushed = daemon.send(&ALICE, app.pushing(&[]));
    assert_snapshot!(pushed.show(), @r#"
    201
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "request_uri": "urn:ietf:params:oauth:request_uri:[…]",
      "expires_in": 60
    }
    "#);
    let uri = pushed.member("request_uri");
    let reply = app.visit(&uri, &[]);
    assert_snapshot!(reply.show(), @r"
    302
    cache-control: no-store
    location: https://app.test/callback?code=[code]&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_eq!(app.redeem(&ALICE, &reply.redirected("code"), &[]).status, 200);
    assert_ne!(app.push(&[]), uri);
    assert!(uri.len() > 34 + 40, "{uri}");
}

/// Public clients push by their id; a backend through Funnel, for a person on the tailnet.
#[test]
fn every_kind_of_client_pushes_from_everywhere() {
    let daemon = Daemon::new();
    let public = App::public(&daemon);
    assert!(public.visit(&public.push(&[]), &[]).redirect("code").is_some());
    let app = App::confidential(&daemon);
    for who in [INTERNET, NOBODY, BOB] {
        let reply = daemon.send(&who, app.pushing(&[]));
        assert_eq!(reply.status, 201, "{}", reply.show());
        assert!(app.visit(&reply.member("request_uri"), &[]).redirect("code").is_some());
    }
    let posted = app.query(&[("client_secret", SECRET)]).into_bytes();
    let reply = daemon.send(&ALICE, Request { body: posted, ..Request::post("/par", &[]) });
    assert_eq!(reply.status, 201, "{}", reply.show());
    // Whoever saw the browser's address bar has no secret of the client.
    let uri = reply.member("request_uri");
    assert!(app.visit(&uri, &[]).redirect("code").is_some());
}

/// `par-ensure-reused-request-uri-prior-to-auth-completion-succeeds` needs a page in between; without one the first visit
/// completes. `par-attempt-reuse-request_uri`.
#[test]
fn a_pushed_request_gives_one_code() {
    let mut daemon = Daemon::new();
    let (uri, other, failing) = {
        let app = App::confidential(&daemon);
        let (uri, other) = (app.push(&[]), app.push(&[]));
        assert!(app.visit(&uri, &[]).redirect("code").is_some());
        assert_snapshot!(app.visit(&uri, &[]).show(), @r#"
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
        <title>This sign-in request is no longer good - tsidecar</title>
        <style>[…]</style>
        </head>
        <body>
        <main>
        <h1>This sign-in request is no longer good</h1>
        <p>It was used already, or it has waited for more than a minute.</p>
        <p class="cure">Go back to the application and start again.</p>
        <p class="detail">For an administrator: the pushed request (request_uri) has expired, was used already, or is not one of this application</p>
        </main>
        </body>
        </html>
        "#);
        // To a target that is proven outside the error goes by redirect.
        let redirect = [("redirect_uri", app.redirect_uri), ("state", "outside")];
        let reply = app.visit(&uri, &redirect);
        let found = ["error", "state", "iss"].map(|name| reply.redirected(name));
        assert_eq!(found, ["invalid_request_uri", "outside", "https://idp.tail.test"]);
        // Whoever was not let in may come again: nothing was completed.
        let nobody = App { id: "nobodys", ..App::public(&daemon) };
        let failing = nobody.push(&[]);
        for _ in 0..2 {
            assert_eq!(nobody.visit(&failing, &[]).redirected("error"), "access_denied");
        }
        (uri, other, failing)
    };
    daemon.kill();
    daemon.relaunch();
    let app = App::confidential(&daemon);
    gone(&app.visit(&uri, &[]));
    assert!(app.visit(&other, &[]).redirect("code").is_some(), "what was answered is durable");
    let nobody = App { id: "nobodys", ..App::public(&daemon) };
    assert_eq!(nobody.visit(&failing, &[]).redirected("error"), "access_denied");
}

#[test]
fn parallel_visits_give_one_code() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    for _ in 0..5 {
        let uri = app.push(&[]);
        let barrier = Barrier::new(8);
        let replies: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        app.visit(&uri, &[])
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let codes = replies.iter().filter(|reply| reply.redirect("code").is_some()).count();
        assert_eq!(codes, 1);
        for reply in replies.iter().filter(|reply| reply.redirect("code").is_none()) {
            // The loser has found the request, so it knows the target.
            if reply.header("location").is_some() {
                assert_eq!(reply.redirected("error"), "invalid_request_uri");
            } else {
                gone(reply);
            }
        }
    }
}

/// `par-attempt-to-use-expired-request_uri`.
#[test]
fn a_pushed_request_waits_for_a_minute() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let (early, late) = (app.push(&[]), app.push(&[]));
    daemon.at(57);
    assert!(app.visit(&early, &[]).redirect("code").is_some());
    daemon.at(61);
    gone(&app.visit(&late, &[]));
}

/// `par-attempt-to-use-request_uri-for-different-client`.
#[test]
fn a_pushed_request_is_its_clients() {
    let daemon = Daemon::new();
    let (app, other) = (App::confidential(&daemon), App::public(&daemon));
    let uri = app.push(&[]);
    gone(&other.visit(&uri, &[]));
    let changed = format!("{}A", &uri[..uri.len() - 1]);
    for wrong in [
        changed.as_str(),
        &uri[..uri.len() - 1],
        "urn:ietf:params:oauth:request_uri:",
        "urn:ietf:params:oauth:request_uri:x",
    ] {
        if wrong != uri {
            gone(&app.visit(wrong, &[]));
        }
    }
    for foreign in ["https://app.test/object.jwt", "urn:example:x", "x"] {
        let reply = app.visit(foreign, &[]);
        assert_eq!((reply.status, reply.header("location")), (400, None), "{foreign}");
        let reply = app.visit(foreign, &[("redirect_uri", app.redirect_uri)]);
        assert_eq!(reply.redirected("error"), "request_uri_not_supported", "{foreign}");
    }
    assert!(app.visit(&uri, &[]).redirect("code").is_some(), "nothing of this used it up");
}

/// `ensure-different-nonce-inside-and-outside-request-object`, `ensure-different-state-…`, `state-only-outside-request-object-not-used`.
#[test]
fn what_was_pushed_counts_and_nothing_else() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let outside = [
        ("state", "outside"),
        ("nonce", "outside"),
        ("scope", "openid profile"),
        ("response_type", "token"),
        ("redirect_uri", "https://app.test/other?keep=1"),
        ("response_mode", "form_post"),
        ("prompt", "login"),
    ];
    let reply = app.visit(&app.push(&[("scope", "openid email")]), &outside);
    assert_eq!(reply.redirected("state"), "st4te");
    let login = app.redeem(&ALICE, &reply.redirected("code"), &[]);
    assert_eq!(login.member("scope"), "openid email");
    assert_eq!(crate::support::wire::jwt(&login.member("id_token")).1["nonce"], "n0nce");
    let reply = app.visit(&app.push(&[("state", "")]), &outside);
    assert_eq!(reply.redirect("state"), None, "{}", reply.show());
    let page = app.visit(&app.push(&[("response_mode", "form_post")]), &[]);
    assert!(crate::form_post::fields(&page).iter().any(|(name, _)| name == "code"));
}

/// What `/authorize` would refuse is refused at once (RFC 9126 §2.3).
#[test]
fn each_error_has_its_code() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let long = "n".repeat(513);
    let large = "x".repeat(7_200);
    // `par-ensure-pkce-required` for a client that has to, `par-plain-pkce-rejected`, `ensure-response-type-…-fails`,
    // `ensure-request-object-without-redirect-uri-fails`, `par-authorization-request-containing-request_uri-form-param`.
    let cases: [(&Pairs, u16, &str); 16] = [
        (&[("redirect_uri", "")], 400, "invalid_request"),
        (&[("redirect_uri", "https://evil.test/")], 400, "invalid_request"),
        (&[("response_type", "")], 400, "invalid_request"),
        (&[("response_type", "code id_token")], 400, "unsupported_response_type"),
        (&[("response_type", "token")], 400, "unsupported_response_type"),
        (&[("response_mode", "fragment")], 400, "invalid_request"),
        (&[("code_challenge_method", "plain")], 400, "invalid_request"),
        (&[("code_challenge", ""), ("code_challenge_method", ""), ("nonce", "")], 400, "invalid_request"),
        (&[("nonce", &long)], 400, "invalid_request"),
        (&[("resource", "no-uri")], 400, "invalid_target"),
        (&[("request", "eyJ")], 400, "invalid_request_object"),
        (&[("request_uri", "urn:ietf:params:oauth:request_uri:x")], 400, "invalid_request"),
        (&[("request_uri", "https://app.test/object")], 400, "invalid_request"),
        (&[("registration", "{}")], 400, "registration_not_supported"),
        (&[("client_id", "cli")], 400, "invalid_request"),
        (&[("state", &large)], 413, "invalid_request"),
    ];
    for (changes, status, error) in cases {
        let reply = daemon.send(&ALICE, app.pushing(changes));
        assert_eq!((reply.status, reply.error().as_str()), (status, error), "{changes:?}: {}", reply.show());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert_snapshot!(daemon.send(&ALICE, app.pushing(&[("redirect_uri", "https://evil.test/")])).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "the return address (redirect_uri) https://evil.test/ is not one of those registered for this application: https://app.test/callback, https://app.test/other?keep=1"
    }
    "#);
    let public = App::public(&daemon);
    let bare = [("code_challenge", ""), ("code_challenge_method", "")];
    assert_eq!(daemon.send(&ALICE, public.pushing(&bare)).error(), "invalid_request");
    let mut twice = app.pushing(&[]);
    twice.body.extend_from_slice(b"&state=again");
    assert_eq!(daemon.send(&ALICE, twice).error(), "invalid_request");
    let query = Request { target: "/par?scope=openid".into(), ..app.pushing(&[]) };
    assert_eq!(daemon.send(&ALICE, query).error(), "invalid_request");
}

#[test]
fn a_client_proves_itself_first() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let wrong = App { secret: Some("wrong-horse-battery-staple-wrong-horse"), ..app };
    assert_snapshot!(daemon.send(&ALICE, wrong.pushing(&[])).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Basic realm="https://idp.tail.test", charset="UTF-8"
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "client authentication failed"
    }
    "#);
    let none = App { secret: None, ..app };
    let unknown = App { id: "unknown", secret: None, ..app };
    for app in [none, unknown] {
        let reply = daemon.send(&ALICE, app.pushing(&[]));
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "{}", reply.show());
    }
    let nameless = daemon.send(&ALICE, none.pushing(&[("client_id", "")]));
    assert_eq!((nameless.status, nameless.error().as_str()), (401, "invalid_client"));
}

/// `par-attempt-invalid-http-method`.
#[test]
fn other_methods_are_refused() {
    let daemon = Daemon::new();
    let query = App::public(&daemon).query(&[]);
    assert_snapshot!(daemon.send(&ALICE, Request::get(&format!("/par?{query}"))).show(), @r#"
    405
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    allow: POST, OPTIONS
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "the method is not allowed here"
    }
    "#);
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(daemon.send(&ALICE, Request::new(method, "/par")).status, 405, "{method}");
    }
}

/// An assertion counts once, at whichever endpoint; a refused request has used it up, too.
#[test]
fn assertions_at_par_count_once() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let mut daemon = signer.register(Setup::default(), "").start();
    let push = |daemon: &Daemon, jti: &str, changes: &Pairs| {
        let assertion = signer.assertion(jti);
        let proof = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
        daemon.send(&ALICE, signer.app(daemon).pushing(&[&proof, changes].concat()))
    };
    let pushed = push(&daemon, "one", &[]);
    assert_eq!(pushed.status, 201, "{}", pushed.show());
    assert!(signer.app(&daemon).visit(&pushed.member("request_uri"), &[]).redirect("code").is_some());
    assert_eq!(push(&daemon, "two", &[("response_type", "token")]).error(), "unsupported_response_type");
    daemon.kill();
    daemon.relaunch();
    for jti in ["one", "two"] {
        let again = push(&daemon, jti, &[]);
        assert_eq!((again.status, again.error().as_str()), (401, "invalid_client"), "{}", again.show());
    }
    assert_eq!(push(&daemon, "three", &[("client_id", "")]).status, 201, "the assertion names the client");
}

/// A request object inside a pushed request (RFC 9126 §3).
#[test]
fn a_signed_request_may_be_pushed() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon =
        signer.register(Setup::default(), "public = true\nrequire_signed_request_object = true").start();
    let app = signer.app(&daemon);
    let uri = app.push(&[("request", &signer.object(&json!({}))), ("state", "outside")]);
    assert_eq!(app.visit(&uri, &[]).redirected("state"), "inside");
    let refused = daemon.send(&ALICE, app.pushing(&[]));
    assert_eq!(refused.error(), "invalid_request", "{}", refused.show());
    let foreign = Signer::new("signer", VerifyAlgorithm::Es256).object(&json!({}));
    let unsigned = "eyJhbGciOiJub25lIn0.e30.".to_owned();
    let nested = signer.object(&json!({ "request_uri": uri }));
    let other = signer.object(&json!({ "client_id": "cli" }));
    for object in [foreign, unsigned, nested, other] {
        let reply = daemon.send(&ALICE, app.pushing(&[("request", &object)]));
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, "invalid_request_object"),
            "{}",
            reply.show()
        );
    }
    let bad = signer.object(&json!({ "redirect_uri": "https://evil.test/" }));
    assert_eq!(daemon.send(&ALICE, app.pushing(&[("request", &bad)])).error(), "invalid_request");
}

/// `ensure-unsigned-authorization-request-without-using-par-fails`.
#[test]
fn some_clients_must_push() {
    let entry = "[[client]]\nid = \"pushes\"\npublic = true\nredirect_uris = [\"http://127.0.0.1/callback\"]\nrequire_pushed_authorization_requests = true\n";
    let daemon = Setup::default().tables(entry).start();
    let app = App { id: "pushes", ..App::public(&daemon) };
    assert_snapshot!(app.authorize(&ALICE, &[]).show(), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=invalid_request&error_description=this+application+must+push+its+requests+%28pushed_authorization_request_endpoint%29&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert!(app.visit(&app.push(&[]), &[]).redirect("code").is_some());
}

/// The tailnet and the internet fill different places, and both are bounded.
#[test]
fn what_waits_is_bounded() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let mut kept = 0;
    let full = loop {
        let reply = daemon.send(&INTERNET, app.pushing(&[]));
        if reply.status != 201 {
            break reply;
        }
        kept += 1;
        assert!(kept <= 512, "more than there are places");
    };
    assert!(kept > 256, "{kept}");
    assert_snapshot!(full.show(), @r#"
    429
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    retry-after: 60
    x-content-type-options: nosniff

    {
      "error": "temporarily_unavailable",
      "error_description": "too many pushed requests of this client are waiting; try again in a minute"
    }
    "#);
    assert!(app.visit(&app.push(&[]), &[]).redirect("code").is_some(), "the tailnet has places of its own");
    daemon.at(61);
    assert_eq!(daemon.send(&INTERNET, app.pushing(&[])).status, 201, "they are free again");
}

/// A23: frames and background requests are judged as ever, by what was pushed.
#[test]
fn a_frame_sees_no_more_than_before() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let framed = |uri: &str| {
        let query = form(&[("client_id", app.id), ("request_uri", uri), ("prompt", "none")]);
        let request = Request::get(&format!("/authorize?{query}"))
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "iframe");
        daemon.send(&ALICE, request)
    };
    let uri = app.push(&[]);
    assert_eq!(framed(&uri).status, 403);
    assert!(app.visit(&uri, &[]).redirect("code").is_some());
    assert!(framed(&app.push(&[("prompt", "none")])).redirect("code").is_some());
}

/// `par-ensure-reused-request-uri-prior-to-auth-completion-succeeds`: the answer uses a request up, not the page; and the page may
/// be read for longer than the request waits, but not for ever.
#[test]
fn the_answer_uses_a_request_up_not_the_page() {
    let entry = "[[client]]\nid = \"confirms\"\npublic = true\nlogin = \"confirm\"\nredirect_uris = [\"http://127.0.0.1/callback\"]\n";
    let daemon = Setup::default().tables(entry).start();
    let app = App { id: "confirms", ..App::public(&daemon) };
    let page = |uri: &str| {
        let page = app.visit(uri, &[]).text();
        let rest = page.split_once("name=\"form\" value=\"").expect("the page").1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let press = |form: &str| {
        let request = Request::post("/authorize/continue", &[("form", form), ("decision", "continue")]);
        daemon.send(&ALICE, request.header("Origin", "https://idp.tail.test"))
    };
    let (uri, old) = (app.push(&[]), app.push(&[]));
    let (one, two, stale) = (page(&uri), page(&uri), page(&old));
    daemon.at(61);
    gone(&app.visit(&uri, &[]));
    assert!(press(&one).redirect("code").is_some());
    assert_eq!(press(&two).redirected("error"), "invalid_request_uri");
    daemon.at(601);
    assert_eq!(press(&stale).redirected("error"), "invalid_request_uri");
}
