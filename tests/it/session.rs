//! Sessions of browsers: what makes one, what one says, and what is none.

use insta::assert_snapshot;

use crate::support::{ALICE, App, BOB, Daemon, Request, Setup, tailnet::PHONE, visitor::Visitor};

/// Clients of every kind, beside those of every daemon.
pub(crate) const CLIENTS: &str = r#"
[[client]]
id = "cookie"
name = "Session application"
public = true
login = "session"
redirect_uris = ["https://app.test/callback"]
[[client]]
id = "vault"
name = "The vault"
public = true
login = "confirm"
redirect_uris = ["https://app.test/callback"]
[[client]]
id = "leaving"
name = "With logout"
public = true
redirect_uris = ["https://app.test/callback"]
post_logout_redirect_uris = ["https://app.test/out"]
"#;

pub(crate) fn daemon() -> Daemon {
    Setup::default().tables(CLIENTS).start()
}

/// The client of this id among [`CLIENTS`].
pub(crate) fn client<'d>(daemon: &'d Daemon, id: &'static str) -> App<'d> {
    App { daemon, id, secret: None, redirect_uri: "https://app.test/callback" }
}

/// The cheap path stays cheap: nothing is set where nobody has a use for it.
#[test]
fn an_ambient_client_without_logout_sets_no_cookie() {
    let daemon = daemon();
    let mut alice = Visitor::new(App::public(&daemon), &ALICE);
    let reply = alice.authorize(&[]);
    assert_eq!(reply.header("set-cookie"), None);
    let claims = alice.claims(&reply);
    assert_eq!((&claims["acr"], claims.get("sid")), (&"urn:tsidecar:acr:ambient".into(), None));
}

#[test]
fn an_ordinary_visit_makes_the_session_silently() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "cookie"), &ALICE);
    let first = alice.authorize(&[]);
    assert_eq!(first.status, 302, "{}", first.show());
    let first = alice.claims(&first);
    assert_eq!(first["acr"], "urn:tsidecar:acr:ambient");
    assert_eq!(first["sid"].as_str().unwrap().len(), 22);
    daemon.at(500);
    // The session stays: no new cookie, the same `sid` and `auth_time`.
    for changes in
        [&[][..], &[("prompt", "none")], &[("max_age", "10000")], &[("prompt", "none"), ("max_age", "500")]]
    {
        let again = alice.authorize(changes);
        assert_eq!(again.header("set-cookie"), None, "{changes:?}");
        let again = alice.claims(&again);
        assert_eq!((&again["sid"], &again["auth_time"]), (&first["sid"], &first["auth_time"]), "{changes:?}");
        assert_ne!(again["iat"], first["iat"]);
    }
}

#[test]
fn without_a_cookie_nobody_is_signed_in() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "cookie"), &ALICE);
    assert_snapshot!(alice.authorize(&[("prompt", "none")]).show(), @r"
    302
    cache-control: no-store
    location: https://app.test/callback?error=login_required&error_description=the+person+must+sign+in%2C+and+prompt%3Dnone+allows+no+page&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    alice.authorize(&[]);
    let cookie = alice.cookie.clone().unwrap();
    assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
    for damaged in [&cookie[1..], &format!("{cookie}A"), "", &cookie.replace(&cookie[40..44], "AAAA")] {
        alice.cookie = Some(damaged.to_owned());
        assert_eq!(alice.authorize(&[("prompt", "none")]).redirected("error"), "login_required", "{damaged}");
    }
    // A damaged one is no obstacle: the next visit makes another.
    assert!(alice.authorize(&[]).header("set-cookie").is_some());
    assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
}

/// A cookie never names anybody: whois does.
#[test]
fn a_cookie_of_somebody_else_or_from_elsewhere_is_dropped() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "cookie"), &ALICE);
    let first = alice.authorize(&[]);
    let sid = alice.claims(&first)["sid"].clone();
    for who in [&BOB, &PHONE] {
        let mut other = Visitor::new(client(&daemon, "cookie"), who);
        other.cookie.clone_from(&alice.cookie);
        assert_eq!(other.authorize(&[("prompt", "none")]).redirected("error"), "login_required");
        let visit = other.authorize(&[]);
        let claims = other.claims(&visit);
        assert_eq!(claims["sub"], if who.address == BOB.address { "userid:1002" } else { "userid:1001" });
        assert_ne!(claims["sid"], sid);
    }
}

#[test]
fn a_session_ends_with_its_time_and_survives_a_restart() {
    let mut daemon = Setup::default().tables(CLIENTS).tables("[session]\nlifetime = \"1h\"").start();
    let cookie = {
        let mut alice = Visitor::new(client(&daemon, "cookie"), &ALICE);
        let reply = alice.authorize(&[]);
        assert!(reply.header("set-cookie").unwrap().contains("; Max-Age=3600; "), "{}", reply.show());
        alice.cookie
    };
    daemon.kill();
    daemon.relaunch();
    let mut alice = Visitor { cookie, ..Visitor::new(client(&daemon, "cookie"), &ALICE) };
    daemon.at(3_000);
    assert!(alice.authorize(&[("prompt", "none")]).redirect("code").is_some());
    daemon.at(3_601);
    assert_eq!(alice.authorize(&[("prompt", "none")]).redirected("error"), "login_required");
}

/// Browsers withhold the cookie from a post of another site: it is sent on with GET, which brings it.
#[test]
fn a_post_from_another_site_is_sent_on_with_its_cookie() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "cookie"), &ALICE);
    let first = alice.authorize(&[]);
    let first = alice.claims(&first);
    let post = |site: &str| {
        let request = Request::post("/authorize", &[]).header("Sec-Fetch-Site", site);
        let request = request.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document");
        Request { body: client(&daemon, "cookie").query(&[("state", "a&b")]).into_bytes(), ..request }
    };
    let sent_on = daemon.send(&ALICE, post("cross-site"));
    assert_eq!((sent_on.status, sent_on.header("set-cookie")), (303, None), "{}", sent_on.show());
    let location = sent_on.header("location").unwrap();
    assert!(location.starts_with("/authorize?response_type=code&"), "{location}");
    let done = alice.send(Request::get(location));
    assert_eq!(done.redirected("state"), "a&b");
    assert_eq!(alice.claims(&done)["sid"], first["sid"]);
    assert!(alice.send(post("same-origin")).redirect("code").is_some());
}

/// Nor does a frame of another site bring it: whoever signed out would be signed in again there, in a session that nobody can end.
#[test]
fn a_frame_that_hides_the_cookie_signs_nobody_in_who_has_sessions() {
    let daemon = daemon();
    let framed = |id: &'static str, site: &str| {
        let query = App { daemon: &daemon, ..client(&daemon, id) }.query(&[("prompt", "none")]);
        let request = Request::get(&format!("/authorize?{query}")).header("Sec-Fetch-Site", site);
        daemon.send(&ALICE, request.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "iframe"))
    };
    for id in ["leaving", "cookie"] {
        let reply = framed(id, "cross-site");
        assert_eq!(
            (reply.redirected("error").as_str(), reply.header("set-cookie")),
            ("login_required", None)
        );
    }
    assert!(framed("leaving", "same-site").redirect("code").is_some());
}

/// An ambient client that wants to know when sessions end has one; the network stays the authentication.
#[test]
fn an_ambient_client_with_logout_shares_the_session_of_the_browser() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "leaving"), &ALICE);
    let first = alice.authorize(&[("prompt", "none")]);
    assert!(first.header("set-cookie").is_some());
    let first = alice.claims(&first);
    daemon.at(100);
    let second = alice.authorize(&[]);
    assert_eq!(second.header("set-cookie"), None);
    let second = alice.claims(&second);
    assert_eq!(first["sid"], second["sid"]);
    assert_ne!(first["auth_time"], second["auth_time"]);
    alice.app = client(&daemon, "cookie");
    let other = alice.authorize(&[("prompt", "none")]);
    let other = alice.claims(&other);
    assert_eq!((&other["sid"], &other["auth_time"]), (&first["sid"], &first["auth_time"]));
}

/// Refreshed ID tokens keep what the sign-in was (OpenID Connect Core §12.2).
#[test]
fn a_refreshed_id_token_keeps_session_and_time() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "cookie"), &ALICE);
    let code = alice.confirm(&[("prompt", "login")]).redirected("code");
    let tokens = alice.app.redeem(&ALICE, &code, &[]);
    let (_, first) = crate::support::wire::jwt(&tokens.member("id_token"));
    assert_eq!(first["acr"], "urn:tsidecar:acr:confirmed");
    daemon.at(300);
    let refreshed = alice.app.refresh(&ALICE, &tokens.member("refresh_token"), &[]);
    let (_, second) = crate::support::wire::jwt(&refreshed.member("id_token"));
    for name in ["sid", "auth_time", "acr"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    assert_ne!(first["iat"], second["iat"]);
}
