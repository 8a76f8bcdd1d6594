//! `oidcc-backchannel-rp-initiated-logout-certification-test-plan`: 2 modules (reference/oauth.md 3.6).

use crate::{
    backchannel::{token, verified},
    support::{
        ALICE, App, Daemon, Request, Setup,
        host::Host,
        visitor::Visitor,
        wire::{form, jwt},
    },
};
use tsidecar_oauth::jose::VerifyAlgorithm;

#[test]
fn oidcc_backchannel_logout_discovery_endpoint_verification() {
    let daemon = Daemon::new();
    let metadata = daemon.send(&ALICE, Request::get("/.well-known/openid-configuration")).json();
    assert_eq!(metadata["backchannel_logout_supported"], true);
    assert_eq!(metadata["backchannel_logout_session_supported"], true);
    assert_eq!(metadata["end_session_endpoint"], "https://idp.tail.test/logout");
}

#[test]
fn oidcc_backchannel_rp_initiated_logout() {
    let host = Host::start();
    host.answer("/backchannel_logout", 200, "text/plain", "");
    let client = format!(
        "[[client]]\nid = \"rp\"\npublic = true\nlogin = \"session\"\nredirect_uris = [\"https://app.test/callback\"]\n\
         post_logout_redirect_uris = [\"https://app.test/bye\"]\nbackchannel_logout_uri = \"{}\"\n\
         backchannel_logout_session_required = true\n",
        host.url("/backchannel_logout")
    );
    let daemon = Setup::default().tables(&host.tables()).tables(&client).start();
    let app = App { daemon: &daemon, id: "rp", secret: None, redirect_uri: "https://app.test/callback" };
    let mut alice = Visitor::new(app, &ALICE);
    let code = alice.authorize(&[]).redirected("code");
    let id_token = app.redeem(&ALICE, &code, &[]).member("id_token");
    let query = form(&[
        ("id_token_hint", id_token.as_str()),
        ("post_logout_redirect_uri", "https://app.test/bye"),
        ("state", "st"),
    ]);
    let reply = alice.send(Request::get(&format!("/logout?{query}")));
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://app.test/bye?state=st")));
    let requests = host.requests(1);
    let logout_token = token(&requests[0]);
    let claims = verified(&daemon, &logout_token, VerifyAlgorithm::Rs256);
    let id_token = jwt(&id_token).1;
    assert_eq!((&claims["iss"], &claims["aud"]), (&id_token["iss"], &id_token["aud"]));
    assert_eq!((&claims["sub"], &claims["sid"]), (&id_token["sub"], &id_token["sid"]));
    assert!(claims["sid"].is_string() && claims["jti"].is_string() && claims.get("nonce").is_none());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(claims["iat"].as_u64().unwrap() <= now);
    let events = serde_json::json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    assert_eq!(claims["events"], events);
    assert_eq!(alice.authorize(&[("prompt", "none")]).redirected("error"), "login_required");
}
