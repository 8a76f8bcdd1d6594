//! `oidcc-rp-initiated-logout-certification-test-plan`: 11 modules (reference/oauth.md 3.6).

use crate::support::{
    ALICE, App, Daemon, Reply, Request, Setup,
    visitor::{ORIGIN, Visitor, form_token},
    wire::form,
};

const CLIENT: &str = r#"
[[client]]
id = "rp"
public = true
login = "session"
redirect_uris = ["https://app.test/callback"]
post_logout_redirect_uris = ["https://app.test/bye"]
"#;

const BYE: &str = "https://app.test/bye";

/// Alice, signed in, and her ID token.
fn signed_in(daemon: &Daemon) -> (Visitor<'_>, String) {
    let app = App { daemon, id: "rp", secret: None, redirect_uri: "https://app.test/callback" };
    let mut alice = Visitor::new(app, &ALICE);
    let code = alice.authorize(&[]).redirected("code");
    let id_token = app.redeem(&ALICE, &code, &[]).member("id_token");
    (alice, id_token)
}

fn daemon() -> Daemon {
    Setup::default().tables(CLIENT).start()
}

fn log_out(alice: &mut Visitor<'_>, pairs: &[(&str, &str)]) -> Reply {
    alice.send(Request::get(&format!("/logout?{}", form(pairs))))
}

/// Presses *Sign out* on the page that must have come.
fn press(alice: &mut Visitor<'_>, page: &Reply) -> Reply {
    assert!(page.text().contains("id=\"logout\""), "{}", page.show());
    let request = Request::post("/logout", &[("form", &form_token(page)), ("answer", "logout")])
        .header("Origin", ORIGIN)
        .header("Sec-Fetch-Site", "same-origin")
        .header("Sec-Fetch-Mode", "navigate")
        .header("Sec-Fetch-Dest", "document");
    alice.send(request)
}

fn says_signed_out(alice: &mut Visitor<'_>, reply: &Reply) {
    assert_eq!((reply.status, reply.header("location")), (200, None), "{}", reply.show());
    assert!(reply.text().contains("You are signed out"), "{}", reply.show());
    is_signed_out(alice);
}

/// `prompt=none` fails afterwards.
fn is_signed_out(alice: &mut Visitor<'_>) {
    let error = alice.authorize(&[("prompt", "none")]).redirected("error");
    assert!(["login_required", "interaction_required"].contains(&error.as_str()), "{error}");
}

/// An error page or a question, never a redirect, and nobody is signed out by it.
fn is_not_sent_back(alice: &mut Visitor<'_>, reply: &Reply) {
    assert_eq!(reply.header("location"), None, "{}", reply.show());
    assert!(reply.text().contains("<h1>"), "{}", reply.show());
    assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
}

#[test]
fn oidcc_rp_initiated_logout_discovery_endpoint_verification() {
    let daemon = daemon();
    let metadata = daemon.send(&ALICE, Request::get("/.well-known/openid-configuration"));
    assert_eq!(metadata.member("end_session_endpoint"), "https://idp.tail.test/logout");
}

#[test]
fn oidcc_rp_initiated_logout() {
    let daemon = daemon();
    let (mut alice, hint) = signed_in(&daemon);
    let pairs = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", BYE), ("state", "a b&c")];
    let reply = log_out(&mut alice, &pairs);
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://app.test/bye?state=a+b%26c")));
    is_signed_out(&mut alice);
}

#[test]
fn oidcc_rp_initiated_logout_no_state() {
    let daemon = daemon();
    let (mut alice, hint) = signed_in(&daemon);
    let reply = log_out(&mut alice, &[("id_token_hint", &hint), ("post_logout_redirect_uri", BYE)]);
    assert_eq!((reply.status, reply.header("location")), (302, Some(BYE)));
    is_signed_out(&mut alice);
}

#[test]
fn oidcc_rp_initiated_logout_bad_post_logout_redirect_uri() {
    let daemon = daemon();
    let (mut alice, hint) = signed_in(&daemon);
    let elsewhere = "https://evil.test/bye";
    let reply = log_out(&mut alice, &[("id_token_hint", &hint), ("post_logout_redirect_uri", elsewhere)]);
    assert_eq!(reply.status, 400);
    is_not_sent_back(&mut alice, &reply);
}

#[test]
fn oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri() {
    let daemon = daemon();
    let (mut alice, hint) = signed_in(&daemon);
    let added = "https://app.test/bye?foo=bar";
    let reply = log_out(&mut alice, &[("id_token_hint", &hint), ("post_logout_redirect_uri", added)]);
    assert_eq!(reply.status, 400);
    is_not_sent_back(&mut alice, &reply);
}

/// The same claims under `alg: none`.
#[test]
fn oidcc_rp_initiated_logout_modified_id_token_hint() {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    let daemon = daemon();
    let (mut alice, hint) = signed_in(&daemon);
    let claims = hint.split('.').nth(1).unwrap();
    let unsigned = format!("{}.{claims}.", Base64UrlUnpadded::encode_string(b"{\"alg\":\"none\"}"));
    let reply = log_out(&mut alice, &[("id_token_hint", &unsigned), ("post_logout_redirect_uri", BYE)]);
    assert_eq!(reply.status, 400);
    is_not_sent_back(&mut alice, &reply);
}

/// The same claims under a stranger's key.
#[test]
fn oidcc_rp_initiated_logout_bad_id_token_hint() {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    use tsidecar_oauth::jose::{ClientKey, VerifyAlgorithm};
    let daemon = daemon();
    let (mut alice, hint) = signed_in(&daemon);
    let claims = Base64UrlUnpadded::decode_vec(hint.split('.').nth(1).unwrap()).unwrap();
    let header = crate::support::wire::jwt(&hint).0;
    let stranger = ClientKey::generate(VerifyAlgorithm::Rs256).unwrap();
    let forged = stranger.sign(&header, &claims).unwrap();
    let reply = log_out(&mut alice, &[("id_token_hint", &forged), ("post_logout_redirect_uri", BYE)]);
    assert_eq!(reply.status, 400);
    is_not_sent_back(&mut alice, &reply);
}

#[test]
fn oidcc_rp_initiated_logout_no_id_token_hint() {
    let daemon = daemon();
    let (mut alice, _) = signed_in(&daemon);
    let pairs = [("client_id", "rp"), ("post_logout_redirect_uri", BYE), ("state", "x")];
    let page = log_out(&mut alice, &pairs);
    is_not_sent_back(&mut alice, &page);
    // Whoever presses the button is signed out, and stays here.
    let reply = press(&mut alice, &page);
    says_signed_out(&mut alice, &reply);
}

#[test]
fn oidcc_rp_initiated_logout_no_params() {
    let daemon = daemon();
    let (mut alice, _) = signed_in(&daemon);
    let page = log_out(&mut alice, &[]);
    let reply = press(&mut alice, &page);
    says_signed_out(&mut alice, &reply);
}

#[test]
fn oidcc_rp_initiated_logout_no_post_logout_redirect_uri() {
    let daemon = daemon();
    let (mut alice, hint) = signed_in(&daemon);
    let reply = log_out(&mut alice, &[("id_token_hint", &hint), ("state", "x")]);
    says_signed_out(&mut alice, &reply);
}

#[test]
fn oidcc_rp_initiated_logout_only_state() {
    let daemon = daemon();
    let (mut alice, _) = signed_in(&daemon);
    let page = log_out(&mut alice, &[("state", "x")]);
    let reply = press(&mut alice, &page);
    says_signed_out(&mut alice, &reply);
}
