//! `/logout`: what ends, who is told, and whom a request cannot move.

use tsidecar_oauth::jose::VerifyAlgorithm;

use crate::backchannel::{token, told, verified};
use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Setup,
    daemon::SECRET,
    host::Host,
    tailnet::INTERNET,
    visitor::{Visitor, form_token},
    wire::{cut, form},
};

const RETURN: &str = "login = \"session\"\npost_logout_redirect_uris = [\"https://app.test/bye\"]";
const BYE: (&str, &str) = ("post_logout_redirect_uri", "https://app.test/bye");

fn app<'d>(daemon: &'d Daemon, id: &'static str) -> App<'d> {
    App { daemon, id, secret: Some(SECRET), redirect_uri: "https://app.test/callback" }
}

fn start(host: &Host, ids: &[&str]) -> Daemon {
    for id in ids {
        host.answer(&format!("/{id}/logout"), 200, "text/plain", "");
    }
    let clients: String = ids.iter().map(|id| told(host, id, RETURN)).collect();
    Setup::default().tables(&host.tables()).tables(&clients).start()
}

fn sign_in(visitor: &mut Visitor<'_>, changes: &crate::support::Pairs) -> Reply {
    let code = visitor.authorize(changes).redirected("code");
    visitor.app.redeem(&visitor.who, &code, &[])
}

fn log_out(visitor: &mut Visitor<'_>, pairs: &[(&str, &str)]) -> Reply {
    visitor.send(Request::get(&format!("/logout?{}", form(pairs))))
}

/// Every client of the session is told; refresh tokens end with it, but for those that were given for offline access.
#[test]
fn a_logout_ends_the_whole_session_and_nothing_else() {
    let host = Host::start();
    let daemon = start(&host, &["one", "two"]);
    let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
    let one = sign_in(&mut alice, &[]);
    let offline = sign_in(&mut alice, &[("scope", "openid offline_access")]);
    alice.app = app(&daemon, "two");
    let two = sign_in(&mut alice, &[]);
    let mut other_browser = Visitor::new(app(&daemon, "one"), &ALICE);
    let other = sign_in(&mut other_browser, &[]);
    let mut bob = Visitor::new(app(&daemon, "one"), &BOB);
    let bobs = sign_in(&mut bob, &[]);
    let reply = log_out(&mut alice, &[("id_token_hint", &one.member("id_token")), BYE]);
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://app.test/bye")));
    let requests = host.requests(2);
    let mut audiences: Vec<_> = requests
        .iter()
        .map(|request| verified(&daemon, &token(request), VerifyAlgorithm::Rs256)["aud"].to_string())
        .collect();
    audiences.sort();
    assert_eq!(audiences, ["\"one\"", "\"two\""]);
    let refresh =
        |id, who, tokens: &Reply| app(&daemon, id).refresh(who, &tokens.member("refresh_token"), &[]).status;
    assert_eq!([refresh("one", &ALICE, &one), refresh("two", &ALICE, &two)], [400, 400]);
    assert_eq!(refresh("one", &ALICE, &offline), 200);
    assert_eq!([refresh("one", &ALICE, &other), refresh("one", &BOB, &bobs)], [200, 200]);
    assert!(other_browser.authorize(&[("prompt", "none")]).redirect("code").is_some());
    // The old cookie is of no use either.
    assert_eq!(alice.authorize(&[("prompt", "none")]).redirected("error"), "login_required");
    assert_eq!(host.requests(2).len(), 2);
    assert!(daemon.log().contains("event=\"logged_out\""));
}

/// The session is durably ended and the clients are told, whatever happens after the answer.
#[test]
fn kill_9_after_a_logout_neither_revives_the_session_nor_forgets_the_clients() {
    let host = Host::start();
    let mut daemon = start(&host, &["one"]);
    host.answer("/one/logout", 503, "text/plain", "");
    let cookie = {
        let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
        let tokens = sign_in(&mut alice, &[]);
        let cookie = alice.cookie.clone();
        assert_eq!(log_out(&mut alice, &[("id_token_hint", &tokens.member("id_token")), BYE]).status, 302);
        cookie
    };
    daemon.kill();
    host.answer("/one/logout", 200, "text/plain", "");
    daemon.at(10);
    daemon.relaunch();
    daemon.eventually("it is told", || daemon.log().contains("event=\"logout_told\""));
    let mut thief = Visitor::new(app(&daemon, "one"), &ALICE);
    thief.cookie = cookie;
    assert_eq!(thief.authorize(&[("prompt", "none")]).redirected("error"), "login_required");
}

/// A25: an old hint, or somebody else's, is a question at most.
#[test]
fn a_hint_of_another_session_or_person_signs_nobody_out() {
    let host = Host::start();
    let daemon = start(&host, &["one", "two"]);
    let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
    let old = sign_in(&mut alice, &[]).member("id_token");
    alice.cookie = None;
    // Of a client that keeps no sessions, and so without `sid`.
    alice.app = App::public(&daemon);
    let ambient = sign_in(&mut alice, &[]).member("id_token");
    assert!(crate::support::wire::jwt(&ambient).1.get("sid").is_none());
    alice.app = app(&daemon, "one");
    let current = sign_in(&mut alice, &[]).member("id_token");
    let mut bob = Visitor::new(app(&daemon, "one"), &BOB);
    let bobs = sign_in(&mut bob, &[]).member("id_token");
    for hint in [&old, &bobs] {
        let page = log_out(&mut alice, &[("id_token_hint", hint), BYE]);
        assert_eq!((page.status, page.header("location")), (200, None), "{}", page.show());
        assert!(page.text().contains("id=\"logout\""));
        assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
    }
    let page = log_out(&mut alice, &[("id_token_hint", &ambient)]);
    assert!(page.text().contains("id=\"logout\""), "{}", page.show());
    assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
    let wrong = log_out(&mut alice, &[("id_token_hint", &current), ("client_id", "two"), BYE]);
    assert_eq!((wrong.status, wrong.header("location")), (400, None), "{}", wrong.show());
    // An expired one of this session still does it.
    daemon.at(3_600);
    assert_eq!(log_out(&mut alice, &[("id_token_hint", &current), BYE]).status, 302);
}

/// A23, A49: no frame, no background request, no form of others, and nothing over Funnel.
#[test]
fn nobody_else_signs_a_person_out() {
    let host = Host::start();
    let daemon = start(&host, &["one"]);
    let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
    let hint = sign_in(&mut alice, &[]).member("id_token");
    let target = format!("/logout?{}", form(&[("id_token_hint", hint.as_str())]));
    for (mode, dest) in [("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe")] {
        let request = Request::get(&target)
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", mode)
            .header("Sec-Fetch-Dest", dest);
        assert_eq!(alice.send(request).status, 403, "{mode} {dest}");
    }
    let page = log_out(&mut alice, &[]);
    let post = || Request::post("/logout", &[("form", &form_token(&page)), ("answer", "logout")]);
    assert_eq!(alice.send(post()).status, 403);
    assert_eq!(alice.send(post().header("Origin", "null")).status, 403);
    assert_eq!(alice.send(post().header("Origin", "https://app.test")).status, 403);
    let ours = |request: Request| request.header("Origin", "https://idp.tail.test");
    let forged = alice.send(ours(Request::post("/logout", &[("form", "AAAA"), ("answer", "logout")])));
    assert_eq!(forged.status, 400, "{}", forged.show());
    let mut bob = Visitor::new(app(&daemon, "one"), &BOB);
    assert_eq!(bob.send(ours(post())).status, 400);
    assert_eq!(daemon.send(&INTERNET, Request::get(&target)).status, 403);
    assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
    assert_eq!(host.requests(0), [""; 0]);
    assert_eq!(alice.send(ours(post())).status, 200);
}

/// Ambient: the next visit asks for one click, and `prompt=none` fails until then.
#[test]
fn after_a_logout_an_ambient_client_asks_once() {
    let daemon = Daemon::new();
    let mut alice = Visitor::new(App::public(&daemon), &ALICE);
    assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
    let page = log_out(&mut alice, &[]);
    let request = Request::post("/logout", &[("form", &form_token(&page)), ("answer", "logout")]);
    let reply = alice.send(request.header("Origin", "https://idp.tail.test"));
    insta::assert_snapshot!(reply.header("set-cookie").unwrap().split_once("; ").unwrap().1, @"Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=Lax");
    assert_eq!(alice.authorize(&[("prompt", "none")]).redirected("error"), "login_required");
    assert!(alice.confirm(&[]).redirect("code").is_some());
    assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
}

/// More grants than one change ends: none is left, and the client is told once.
#[test]
fn a_session_of_very_many_sign_ins_ends_whole() {
    let host = Host::start();
    let daemon = start(&host, &["one"]);
    let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
    let first = sign_in(&mut alice, &[]);
    let tokens: Vec<_> = (0..70).map(|_| sign_in(&mut alice, &[]).member("refresh_token")).collect();
    let hint = first.member("id_token");
    assert_eq!(log_out(&mut alice, &[("id_token_hint", &hint), BYE]).status, 302);
    for token in &tokens {
        assert_eq!(app(&daemon, "one").refresh(&ALICE, token, &[]).error(), "invalid_grant");
    }
    assert_eq!(daemon.log().matches("event=\"logged_out\"").count(), 1);
}

/// A42 for sessions: what was issued before a logout and not used until then is worth nothing.
#[test]
fn a_code_from_before_a_logout_gives_nothing_after_it() {
    let host = Host::start();
    let daemon = start(&host, &["one"]);
    let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
    let hint = sign_in(&mut alice, &[]).member("id_token");
    let code = alice.authorize(&[]).redirected("code");
    let offline = alice.authorize(&[("scope", "openid offline_access")]).redirected("code");
    let mut elsewhere = Visitor::new(app(&daemon, "one"), &ALICE);
    let other = elsewhere.authorize(&[]).redirected("code");
    assert_eq!(log_out(&mut alice, &[("id_token_hint", &hint), BYE]).status, 302);
    let redeem = |code: &str| app(&daemon, "one").redeem(&ALICE, code, &[]);
    insta::assert_snapshot!(redeem(&code).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_grant",
      "error_description": "the person signed out before the code was used"
    }
    "#);
    assert_eq!(redeem(&code).error(), "invalid_grant");
    assert_eq!(redeem(&offline).error(), "invalid_grant");
    assert_eq!(redeem(&other).status, 200);
}

/// Without refresh tokens there is nothing that the client could use after ten minutes; it is told all the same.
#[test]
fn a_client_without_refresh_tokens_is_told_of_a_logout_days_later() {
    let host = Host::start();
    host.answer("/one/logout", 200, "text/plain", "");
    let once = format!("grant_types = [\"authorization_code\"]\n{RETURN}");
    let client = told(&host, "one", &once);
    let daemon = Setup::default().tables(&host.tables()).tables(&client).start();
    let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
    let tokens = sign_in(&mut alice, &[]);
    let hint = tokens.member("id_token");
    daemon.at(26 * 3_600);
    let userinfo = Request::get("/userinfo").bearer(&tokens.member("access_token"));
    assert_eq!(daemon.send(&ALICE, userinfo).status, 401);
    assert_eq!(log_out(&mut alice, &[("id_token_hint", &hint), BYE]).status, 302);
    let claims = verified(&daemon, &token(&host.requests(1)[0]), VerifyAlgorithm::Rs256);
    assert_eq!(claims["sid"], crate::support::wire::jwt(&hint).1["sid"]);
}

/// Presses *Sign out* on a page of ours.
fn press(visitor: &mut Visitor<'_>, page: &Reply) -> Reply {
    let request = Request::post("/logout", &[("form", &form_token(page)), ("answer", "logout")]);
    visitor.send(request.header("Origin", "https://idp.tail.test"))
}

/// The reply without what differs each time.
fn shown(reply: &Reply) -> String {
    let text = reply.show();
    let text = cut(&cut(&text, "<style>form{", "</style>"), " 'sha256-G", "'");
    cut(&cut(&text, "name=\"form\" value=\"", "\""), "__Host-tsidecar-session=", ";")
}

/// Who answers a question that a hint of theirs led to goes back to the application; a hint of somebody else leads nowhere.
#[test]
fn after_the_question_a_hint_of_theirs_leads_back() {
    let host = Host::start();
    let daemon = start(&host, &["one"]);
    let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
    let old = sign_in(&mut alice, &[]).member("id_token");
    let mut bob = Visitor::new(app(&daemon, "one"), &BOB);
    let bobs = sign_in(&mut bob, &[]).member("id_token");
    alice.cookie = None;
    sign_in(&mut alice, &[]);
    let page = log_out(&mut alice, &[("id_token_hint", &bobs), BYE]);
    assert!(!page.header("content-security-policy").unwrap().contains("app.test"));
    let done = press(&mut alice, &page);
    assert_eq!((done.status, done.header("location")), (200, None), "{}", done.show());
    alice.confirm(&[]).redirected("code");
    let page = log_out(&mut alice, &[("id_token_hint", &old), BYE, ("state", "x")]);
    insta::assert_snapshot!(shown(&page), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]' 'sha256-G[…]'; form-action 'self' https://app.test; base-uri 'none'; frame-ancestors 'none'
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
    <title>Sign out? - tsidecar</title>
    <style>[…]</style>
    <style>form{[…]</style>
    </head>
    <body>
    <main>
    <h1>Sign out?</h1>
    <p>You are <strong>Alice Äxample</strong> on alice-laptop. one asks to sign you out.</p>
    <p class="cure">Applications that can be told will be told; others may keep you signed in. The next sign-in with this browser asks you first.</p>
    <form method="post" action="/logout">
    <input type="hidden" name="form" value="[…]">
    <button id="logout" class="main" name="answer" value="logout">Sign out</button>
    </form>
    </main>
    </body>
    </html>
    "#);
    insta::assert_snapshot!(shown(&press(&mut alice, &page)), @r#"
    303
    cache-control: no-store
    location: https://app.test/bye?state=x
    referrer-policy: no-referrer
    set-cookie: __Host-tsidecar-session=[…]; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=Lax
    "#);
    let with = |state: &str| Request::post("/logout", &[("id_token_hint", &old), BYE, ("state", state)]);
    let (long, huge) = ("x".repeat(20_000), "x".repeat(50_000));
    let page = alice.send(with(&long));
    let back = press(&mut alice, &page);
    assert_eq!(back.header("location"), Some(format!("https://app.test/bye?state={long}").as_str()));
    assert_eq!(alice.send(with(&huge)).status, 400);
}

/// What a person or an application sees, each kind once.
#[test]
#[expect(clippy::too_many_lines, reason = "whole responses, one after the other")]
fn the_answers() {
    let host = Host::start();
    let daemon = start(&host, &["one", "two"]);
    let mut alice = Visitor::new(app(&daemon, "one"), &ALICE);
    let hint = sign_in(&mut alice, &[]).member("id_token");
    let hint = ("id_token_hint", hint.as_str());
    let question = log_out(&mut alice, &[("client_id", "one"), BYE]);
    insta::assert_snapshot!(shown(&question), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]' 'sha256-G[…]'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>Sign out? - tsidecar</title>
    <style>[…]</style>
    <style>form{[…]</style>
    </head>
    <body>
    <main>
    <h1>Sign out?</h1>
    <p>You are <strong>Alice Äxample</strong> on alice-laptop. one asks to sign you out.</p>
    <p class="cure">Applications that can be told will be told; others may keep you signed in. The next sign-in with this browser asks you first.</p>
    <form method="post" action="/logout">
    <input type="hidden" name="form" value="[…]">
    <button id="logout" class="main" name="answer" value="logout">Sign out</button>
    </form>
    </main>
    </body>
    </html>
    "#);
    let wrong = log_out(&mut alice, &[("id_token_hint", "a.b.c"), BYE]);
    insta::assert_snapshot!(shown(&wrong), @r#"
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
    <title>The application asked for a sign-out that cannot be trusted - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>The application asked for a sign-out that cannot be trusted</h1>
    <p>You are still signed in, and for your safety nobody is sent to where the application said.</p>
    <p class="cure">Sign out on this service&#39;s own page, and tell the person who runs the application.</p>
    <p class="detail">For an administrator: id_token_hint: the JWT is not of three parts in base64url</p>
    </main>
    </body>
    </html>
    "#);
    let other = log_out(&mut alice, &[hint, ("client_id", "two"), BYE]);
    insta::assert_snapshot!(shown(&other), @r#"
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
    <title>The application asked for a sign-out that cannot be trusted - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>The application asked for a sign-out that cannot be trusted</h1>
    <p>You are still signed in, and for your safety nobody is sent to where the application said.</p>
    <p class="cure">Sign out on this service&#39;s own page, and tell the person who runs the application.</p>
    <p class="detail">For an administrator: client_id is not the client to which id_token_hint was issued</p>
    </main>
    </body>
    </html>
    "#);
    let elsewhere = log_out(&mut alice, &[hint, ("post_logout_redirect_uri", "https://app.test/bye?x")]);
    insta::assert_snapshot!(shown(&elsewhere), @r#"
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
    <title>The application asked for a sign-out that cannot be trusted - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>The application asked for a sign-out that cannot be trusted</h1>
    <p>You are still signed in, and for your safety nobody is sent to where the application said.</p>
    <p class="cure">Sign out on this service&#39;s own page, and tell the person who runs the application.</p>
    <p class="detail">For an administrator: post_logout_redirect_uri is not registered for the client</p>
    </main>
    </body>
    </html>
    "#);
    let forged = Request::post("/logout", &[("form", "AAAA"), ("answer", "logout")]);
    insta::assert_snapshot!(shown(&alice.send(forged)), @r#"
    403
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
    <title>This was not sent by you - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>This was not sent by you</h1>
    <p>Another web page, or a program, tried to answer in your name.</p>
    <p class="cure">If you meant to sign out, open this page anew.</p>

    </main>
    </body>
    </html>
    "#);
    let outside = daemon.send(&INTERNET, Request::get("/logout"));
    insta::assert_snapshot!(shown(&outside), @r#"
    403
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
    <title>Open this from your tailnet - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>Open this from your tailnet</h1>
    <p>Signing out works only from a device that is connected to the tailnet, and this one is not.</p>
    <p class="cure">Connect Tailscale on this device, then load this page again.</p>

    </main>
    </body>
    </html>
    "#);
    let method = alice.send(Request::new("PUT", "/logout"));
    insta::assert_snapshot!(shown(&method), @r#"
    405
    allow: GET, POST
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
    <title>This page cannot be reached like this - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>This page cannot be reached like this</h1>
    <p>The application sent its request in a way that does not exist.</p>
    <p class="cure">Go back to the application and start again.</p>
    <p class="detail">For an administrator: this page answers GET, POST</p>
    </main>
    </body>
    </html>
    "#);
    insta::assert_snapshot!(shown(&log_out(&mut alice, &[hint, BYE, ("state", "x")])), @r#"
    302
    cache-control: no-store
    location: https://app.test/bye?state=x
    referrer-policy: no-referrer
    set-cookie: __Host-tsidecar-session=[…]; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=Lax
    "#);
    let code = alice.confirm(&[]).redirected("code");
    let hint = alice.app.redeem(&ALICE, &code, &[]).member("id_token");
    let posted = Request::post("/logout", &[("id_token_hint", hint.as_str()), BYE]);
    insta::assert_snapshot!(shown(&alice.send(posted)), @r#"
    303
    cache-control: no-store
    location: https://app.test/bye
    referrer-policy: no-referrer
    set-cookie: __Host-tsidecar-session=[…]; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=Lax
    "#);
    let page = log_out(&mut alice, &[]);
    insta::assert_snapshot!(shown(&press(&mut alice, &page)), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
    content-type: text/html; charset=utf-8
    referrer-policy: same-origin
    set-cookie: __Host-tsidecar-session=[…]; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=Lax
    x-content-type-options: nosniff
    x-frame-options: DENY

    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="robots" content="noindex">
    <title>You are signed out - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>You are signed out</h1>
    <p>Applications that can be told are being told; others may keep you signed in.</p>
    <p class="cure">You can close this page. The next sign-in with this browser asks you first.</p>

    </main>
    </body>
    </html>
    "#);
}
