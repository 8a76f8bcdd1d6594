//! `oidcc-3rdparty-init-login-certification-test-plan`: registered clients that others send people to (OpenID Connect Core §4).

use serde_json::json;

use crate::support::Request;

use super::{
    browser::Mode,
    checks,
    relying_party::{FIRST, Suite, Variant},
};

/// `initiate_login_uri` is echoed, and read again at `registration_client_uri`.
#[test]
fn oidcc_3rd_party_init_login() {
    let suite = Suite::new(Variant::registered(Mode::Query));
    let uri = "https://rp.oidf.test/initiate";
    let reply = suite.register(&json!({ "redirect_uris": [FIRST.redirect_uri], "initiate_login_uri": uri }));
    assert_eq!((reply.status, reply.member("initiate_login_uri").as_str()), (201, uri), "{}", reply.show());
    let address = reply.member("registration_client_uri");
    let path = address.strip_prefix(super::relying_party::ISSUER).unwrap();
    let token = reply.member("registration_access_token");
    let read = suite.send(Request::get(path).bearer(&token));
    assert_eq!(read.status, 200, "{}", read.show());
    let read = checks::json(&read);
    assert_eq!(read["initiate_login_uri"], uri);
    assert_eq!(read["client_id"], reply.json()["client_id"]);
    // The suite removes what it registered.
    let removed = suite.send(Request::new("DELETE", path).bearer(&token));
    assert_eq!(removed.status, 204, "{}", removed.show());
}

/// One without TLS is refused.
#[test]
fn oidcc_3rd_party_init_login_nohttps() {
    let suite = Suite::new(Variant::registered(Mode::Query));
    let metadata = json!({ "redirect_uris": [FIRST.redirect_uri], "initiate_login_uri": "http://rp.oidf.test/initiate" });
    checks::refused(&suite.register(&metadata), &["invalid_client_metadata"]);
}
