//! `/logout`: what ends, who is told, and whom a request cannot move.

use tsidecar_oauth::jose::VerifyAlgorithm;

use crate::backchannel::{token, told, verified};
use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Setup,
    daemon::SECRET,
    host::Host,
    tailnet::INTERNET,
    visitor::{Visitor, form_token},
    wire::form,
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
