//! Listeners beside the host's own: Tailscale Services, and a reverse proxy of the administrator's.

use serde_json::json;

use crate::support::{
    ALICE, App, CI, Daemon, Request, Setup,
    tailnet::{NOBODY, through_serve},
    wire::jwt,
};

const SERVICE: &str = "[[listen.service]]\nname = \"svc:login\"\nsocket = \"{dir}/svc.sock\"";

fn by_service(daemon: &Daemon, request: Request) -> crate::support::Reply {
    daemon.try_raw("svc.sock", &through_serve(&ALICE, request)).unwrap()
}

fn groups(reply: &crate::support::Reply) -> serde_json::Value {
    jwt(&reply.member("id_token")).1["groups"].clone()
}

/// A41: capabilities are per destination, and the listener of the authorization decides for good.
#[test]
fn a_grant_keeps_the_destination_of_its_listener() {
    let daemon = Setup::default().listen(SERVICE).start();
    let app = App::confidential(&daemon);
    let authorize = Request::get(&format!("/authorize?{}", app.query(&[])));
    let code = by_service(&daemon, authorize).redirected("code");
    let login = app.redeem(&ALICE, &code, &[]);
    assert_eq!(groups(&login), json!(["group:eng", "service-only"]), "redeemed through the host");
    let renewed = app.refresh(&ALICE, &login.member("refresh_token"), &[]);
    assert_eq!(groups(&renewed), json!(["group:eng", "service-only"]));

    let host = app.login(&ALICE, &[]);
    assert_eq!(groups(&host), json!(["group:eng"]));
    let richer = by_service(&daemon, app.renewal(&host.member("refresh_token"), &[]));
    assert_eq!(groups(&richer), json!(["group:eng"]), "refreshed through the service");
    let userinfo = by_service(&daemon, Request::get("/userinfo").bearer(&richer.member("access_token")));
    assert_eq!(userinfo.json()["groups"], json!(["group:eng"]));
}

/// Below 1.100 tailscaled ignores the destination silently: it is not believed.
#[test]
fn a_service_needs_a_tailscaled_that_knows_destinations() {
    let daemon = Setup::default().listen(SERVICE).tailnet(|script| script.capability = 138).unready().start();
    let app = App::public(&daemon);
    let request = Request::get(&format!("/authorize?{}", app.query(&[])));
    let mut reply = by_service(&daemon, request.clone());
    daemon.eventually("the service is refused for the right reason", || {
        reply = by_service(&daemon, request.clone());
        reply.text().contains("is too old for Tailscale Services")
    });
    assert_eq!((reply.status, reply.redirect("code")), (503, None), "{}", reply.show());
    assert_eq!(app.authorize(&ALICE, &[]).status, 302, "the host itself needs no such daemon");
}

/// A37: a proxy has a socket of its own, under its own uid. Nobody else gets in there, not even tailscaled.
#[test]
fn a_proxy_has_its_own_socket() {
    let daemon =
        Setup::default().listen("[[listen.proxy]]\nsocket = \"{dir}/proxy.sock\"\nuid = 4242").start();
    let request = through_serve(&ALICE, Request::get("/.well-known/openid-configuration"));
    assert!(daemon.try_raw("proxy.sock", &request).is_err(), "the uid of the test is not the proxy's");
}

/// A37: whois 404 on any listener gives what Funnel gets.
#[test]
fn an_unknown_caller_has_the_rights_of_the_internet() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let code = app.code(&ALICE, &[]);
    assert_eq!(
        app.redeem(&NOBODY, &code, &[]).status,
        200,
        "a server in the internet redeems with its secret"
    );
    assert!(app.authorize(&NOBODY, &[]).redirect("code").is_none());
    assert!(app.authorize(&CI, &[]).redirect("code").is_none());
}
