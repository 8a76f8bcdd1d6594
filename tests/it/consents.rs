//! What was allowed is seen and taken back: by the person at `/consents`, by an administrator, and what that ends (attacks A42, A49).

use std::time::SystemTime;

use insta::assert_snapshot;
use sha2::{Digest as _, Sha256};
use tsidecar_oauth::assurance::MetadataDigest;
use tsidecar_oauth::client::GrantType;
use tsidecar_oauth::consent::{Remembered, Wish};
use tsidecar_oauth::id::{ClientId, Subject};
use tsidecar_oauth::provenance::Registrar;
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::time::UnixTime;
use tsidecar_server::store::{DiskOptions, DiskStore, Store as _};

use crate::consent_page::daemon;
use crate::support::{
    ALICE, App, BOB, Daemon, Request, Setup,
    daemon::SECRET,
    strangers::{asks, consent, own, registered},
    tailnet::{INTERNET, PHONE},
    visitor::{ORIGIN, Visitor, form_token},
    wire::form,
};

const WEB: &str = "https://app.test/callback";

fn stranger(daemon: &Daemon) -> App<'_> {
    App { daemon, id: "webmcp", secret: None, redirect_uri: WEB }
}

/// Everything that a person got for a stranger.
struct Got {
    access: String,
    refresh: String,
    code: String,
    form: String,
}

fn get(daemon: &Daemon) -> Got {
    let mut alice = Visitor::new(stranger(daemon), &ALICE);
    let page = alice.authorize(&[]);
    let done = alice.decide(&page, "allow");
    let tokens = alice.app.redeem(&ALICE, &done.redirected("code"), &[]);
    let code = alice.authorize(&[]).redirected("code");
    let (access, refresh) = (tokens.member("access_token"), tokens.member("refresh_token"));
    Got { access, refresh, code, form: form_token(&page) }
}

fn introspect(daemon: &Daemon, token: &str) -> bool {
    let request = Request::post("/introspect", &[("token", token)]).basic("web", SECRET);
    daemon.send(&ALICE, request).json()["active"] == true
}

/// Nothing of it works any more, and the person is asked anew.
#[track_caller]
fn check_ended(daemon: &Daemon, got: &Got) {
    let app = stranger(daemon);
    assert_eq!(app.refresh(&ALICE, &got.refresh, &[]).error(), "invalid_grant");
    let redeemed = app.redeem(&ALICE, &got.code, &[]);
    assert_eq!((redeemed.status, redeemed.error()), (400, "invalid_grant".to_owned()));
    assert_eq!(app.userinfo(&ALICE, &got.access).status, 401);
    assert!(!introspect(daemon, &got.access) && !introspect(daemon, &got.refresh));
    let mut alice = Visitor::new(app, &ALICE);
    assert!(asks(&alice.authorize(&[])));
    // A page of before gives nothing again.
    let again = alice.send(consent(&got.form, "allow"));
    assert!(asks(&again) && again.text().contains("Something has changed since"), "{}", again.show());
    assert!(asks(&alice.authorize(&[])));
}

fn daemon_that_introspects() -> Daemon {
    crate::consent_page::setup().tables("[compat]\nintrospect_any_client = true").start()
}

/// A42: the code issued before it, the refresh token, the access token.
#[test]
fn an_administrator_withdraws() {
    let daemon = daemon_that_introspects();
    let got = get(&daemon);
    assert!(
        introspect(&daemon, &got.access) && stranger(&daemon).userinfo(&ALICE, &got.access).status == 200
    );
    let text = String::from_utf8(daemon.run(&["consent", "list"]).stdout).unwrap();
    assert!(
        text.starts_with("USER")
            && text.contains("userid:1001  webmcp  app.test")
            && text.contains("openid profile email groups"),
        "{text}"
    );
    daemon.at(5);
    let output = daemon.run(&["consent", "revoke", "--user", "userid:1001", "--client", "webmcp"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), text.as_str()),
        (Some(0), "1 consent is withdrawn, 1 grant is ended.\n")
    );
    check_ended(&daemon, &got);
    assert_eq!(
        String::from_utf8(daemon.run(&["consent", "list"]).stdout).unwrap(),
        "There is no such consent.\n"
    );
    let again = daemon.run(&["consent", "revoke", "--client", "webmcp", "--json"]);
    assert_eq!((again.status.code(), again.stdout), (Some(1), b"{\n  \"consents\": []\n}\n".to_vec()));
    assert!(daemon.log().contains("consent_withdrawn"));
    // It may be given again, for what comes from now on.
    daemon.at(10);
    let mut alice = Visitor::new(stranger(&daemon), &ALICE);
    let code = alice.allow(&[]).redirected("code");
    assert_eq!(alice.app.redeem(&ALICE, &code, &[]).status, 200);
    assert_eq!(alice.app.refresh(&ALICE, &got.refresh, &[]).error(), "invalid_grant");
}

/// On disk when it is answered.
#[test]
fn a_withdrawal_survives() {
    let mut daemon = daemon_that_introspects();
    let got = get(&daemon);
    daemon.at(5);
    let output = daemon.run(&["consent", "revoke", "--client", "webmcp"]);
    assert_eq!(output.status.code(), Some(0));
    daemon.kill();
    daemon.relaunch();
    check_ended(&daemon, &got);
}

#[test]
fn an_administrator_sees_what_people_have_allowed() {
    let daemon = daemon();
    get(&daemon);
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = daemon.run(&[&["consent", "list", "--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let mut all = json(&[]);
    let first = &mut all["consents"][0];
    let times = [first["used_at"].take(), first["allowed"][0]["at"].take()];
    assert!(times.iter().all(serde_json::Value::is_number));
    assert_eq!(
        all,
        serde_json::json!({"consents": [{
            "subject": "userid:1001",
            "client_id": "webmcp",
            "used_at": null,
            "allowed": [{"redirect_host": "app.test", "resources": [], "scope": "openid profile email groups", "at": null}],
        }]})
    );
    assert_eq!(
        json(&["--user", "userid:1001", "--client", "webmcp"])["consents"].as_array().unwrap().len(),
        1
    );
    // What is used is kept: that is written down once a day, and nobody waits for it.
    let used_at = || json(&[])["consents"][0]["used_at"].as_u64().unwrap();
    let before = used_at();
    daemon.at(2 * 86_400);
    assert!(Visitor::new(stranger(&daemon), &ALICE).authorize(&[]).redirect("code").is_some());
    daemon.eventually("the use is written down", || used_at() >= before + 2 * 86_400);
    for none in [["--user", "userid:1"], ["--client", "cli"]] {
        assert_eq!(json(&none), serde_json::json!({"consents": []}));
    }
}

#[test]
fn a_person_sees_what_they_have_allowed() {
    let daemon = daemon();
    get(&daemon);
    let page = daemon.send(&ALICE, Request::get("/consents"));
    assert_eq!(
        (page.status, page.header("cache-control"), page.header("x-frame-options")),
        (200, Some("no-store"), Some("DENY"))
    );
    let text = page.text();
    let body = text.split_once("<body>").unwrap().1.replace(&form_token(&page), "[form]");
    assert_snapshot!(body, @r#"

    <main>
    <h1>What you have allowed</h1>
    <p>You are Alice Äxample. Here are the applications that nobody has checked and that you have allowed to sign in as you. Whatever one of them has got ends when you withdraw that, and it has to ask you again.</p>
    <section>
    <h2><bdi>Web MCP</bdi> <span class="tag">unverified</span></h2>
    <p><small>webmcp</small></p>
    <dl>
    <dt>app.test</dt><dd>who you are, your name and picture, your e-mail address, your groups <small>(less than a minute ago)</small></dd>
    </dl>
    <form method="post" action="/consents">
    <input type="hidden" name="form" value="[form]">
    <div class="buttons"><button type="submit" id="withdraw-1">Withdraw</button></div>
    </form>
    </section>
    </main>
    </body>
    </html>
    "#);
    let nothing = daemon.send(&BOB, Request::get("/consents")).text();
    assert!(
        nothing.contains("<p id=\"none\">There is none.</p>") && !nothing.contains("webmcp"),
        "{nothing}"
    );
}

/// What was withdrawn is remembered for 400 days; it hides nothing that stands. And whoever has allowed more than a page shows is told.
#[test]
fn what_stands_is_not_hidden_behind_what_was_withdrawn() {
    let mut daemon = daemon();
    daemon.kill();
    let (alice, bob) = (Subject::user(1001), Subject::user(1002));
    // In the order of their records, so that the last one is behind all the others.
    let mut clients: Vec<_> = (0..201).map(|number| format!("app-{number}")).collect();
    clients.sort_by_key(|client| Sha256::digest(client));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let now = UnixTime::from_secs(now);
    let wish = Wish::new(MetadataDigest::from_bytes([1; 32]), "app.test", &[], &Scope::parse("openid"));
    let store = DiskStore::open(&daemon.path("state/db"), DiskOptions::default()).unwrap();
    let ids: Vec<_> = clients.iter().map(|client| ClientId::parse(client).unwrap()).collect();
    let all = [&alice, &bob].into_iter().flat_map(|person| ids.iter().map(move |id| (person, id)));
    let allowed: Vec<_> =
        all.map(|(person, id)| store.remember_consent(person, id, wish.clone(), now, now)).collect();
    for pending in allowed {
        assert_eq!(pending.wait().unwrap(), Remembered::Now);
    }
    let gone: Vec<_> = ids[..200].iter().map(|id| store.withdraw_consent(&alice, id, now)).collect();
    for pending in gone {
        assert!(pending.wait().unwrap());
    }
    store.close();
    drop(store);
    daemon.relaunch();
    let shown = |who| {
        let text = daemon.send(who, Request::get("/consents")).text();
        (text.matches("<h2>").count(), text.contains("<p id=\"more\">There may be more"), text)
    };
    let (count, more, text) = shown(&ALICE);
    assert!(count == 1 && !more && text.contains(&clients[200]), "{text}");
    let (count, more, text) = shown(&BOB);
    assert!(count == 200 && more && !text.contains(&clients[200]), "{count}");
}

#[test]
fn a_person_withdraws() {
    let daemon = daemon_that_introspects();
    let got = get(&daemon);
    let page = daemon.send(&ALICE, Request::get("/consents"));
    daemon.at(5);
    let done = daemon.send(&ALICE, own("/consents", &[("form", &form_token(&page))]));
    assert!(
        done.status == 200 && done.text().contains("webmcp can do nothing as you any more."),
        "{}",
        done.show()
    );
    assert!(done.text().contains("There is none."));
    check_ended(&daemon, &got);
    // Twice is once.
    assert_eq!(daemon.send(&ALICE, own("/consents", &[("form", &form_token(&page))])).status, 200);
}

/// A23, A49, design 14: nobody else's page, nobody else's form, nothing through Funnel.
#[test]
fn nobody_withdraws_for_somebody_else() {
    let daemon = daemon();
    let got = get(&daemon);
    let token = form_token(&daemon.send(&ALICE, Request::get("/consents")));
    for (name, value) in [
        ("Origin", "null"),
        ("Origin", "https://evil.test"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Dest", "iframe"),
        ("Sec-Fetch-Mode", "cors"),
    ] {
        let request = own("/consents", &[("form", &token)]).without(name).header(name, value);
        let reply = daemon.send(&ALICE, request);
        assert_eq!((reply.status, reply.header("location")), (403, None), "{name}: {value}");
    }
    let bare = own("/consents", &[("form", &token)]).without("Origin").without("Sec-Fetch-Site");
    assert_eq!(daemon.send(&ALICE, bare).status, 403);
    for who in [&BOB, &PHONE] {
        let reply = daemon.send(who, own("/consents", &[("form", &token)]));
        assert_eq!(reply.status, 400, "{}", reply.show());
        assert!(reply.text().contains("Nothing was done."));
    }
    for bad in ["", "x", &got.form, &token[1..]] {
        assert_eq!(daemon.send(&ALICE, own("/consents", &[("form", bad)])).status, 400);
    }
    for request in [Request::get("/consents"), own("/consents", &[("form", &token)])] {
        let outside = daemon.send(&INTERNET, request);
        assert!(outside.status == 403 && !outside.text().contains("webmcp"), "{}", outside.show());
    }
    let framed = Request::get("/consents")
        .header("Sec-Fetch-Site", "cross-site")
        .header("Sec-Fetch-Mode", "navigate")
        .header("Sec-Fetch-Dest", "iframe");
    assert_eq!(daemon.send(&ALICE, framed).status, 403);
    let query =
        Request::post(&format!("/consents?{}", form(&[("form", &token)])), &[]).header("Origin", ORIGIN);
    assert_eq!(daemon.send(&ALICE, query).status, 400);
    assert_eq!(stranger(&daemon).refresh(&ALICE, &got.refresh, &[]).status, 200, "and nothing has ended");
    // An hour later the page is stale.
    daemon.at(3_601);
    assert_eq!(daemon.send(&ALICE, own("/consents", &[("form", &token)])).status, 400);
}

/// The grant of a device (RFC 8628) of a client that nobody vouches for: only the person's own device may ask (A26), the page says that
/// nobody has checked it, and what it got is theirs to take back, codes that are not yet redeemed included.
#[test]
fn a_device_of_a_stranger_is_allowed_and_withdrawn() {
    let mut client = registered("tv", "TV", &["http://127.0.0.1/callback"], Registrar::Page);
    client.spec.grant_types =
        vec![GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::DeviceCode];
    let daemon = Setup::default().registered(client).start();
    let begin = |who| {
        let reply = daemon
            .send(who, Request::post("/device_authorization", &[("client_id", "tv"), ("scope", "openid")]));
        (reply.member("device_code"), reply.member("user_code"))
    };
    let poll = |code: &str| {
        let pairs = [("grant_type", crate::device::GRANT), ("device_code", code), ("client_id", "tv")];
        daemon.send(&PHONE, Request::post("/token", &pairs))
    };
    let enter = |user: &str| daemon.send(&ALICE, own("/device", &[("user_code", user)]));
    let allow = |user: &str| {
        let page = enter(user);
        daemon.send(&ALICE, own("/device", &[("form", &form_token(&page)), ("answer", "allow")]))
    };
    let foreign = enter(&begin(&BOB).1);
    assert_eq!(foreign.status, 403, "{}", foreign.show());
    let (code, user) = begin(&PHONE);
    let text = enter(&user).text();
    assert!(
        text.contains(
            "<p class=\"warn\" id=\"unverified\"><strong>Nobody has checked this application.</strong>"
        ),
        "{text}"
    );
    assert!(text.contains("(unverified, tv)"), "{text}");
    assert_eq!(allow(&user).status, 200);
    let refresh = poll(&code).member("refresh_token");
    // It is among what she has allowed, and spares no page: not of another device, not of a redirect.
    let listed = daemon.send(&ALICE, Request::get("/consents"));
    assert!(listed.text().contains("<dt>By a code</dt><dd>who you are"), "{}", listed.show());
    let app = App { daemon: &daemon, id: "tv", secret: None, redirect_uri: "http://127.0.0.1:7/callback" };
    assert!(asks(&Visitor::new(app, &ALICE).authorize(&[("scope", "openid")])));
    let (waiting, user) = begin(&PHONE);
    assert_eq!(allow(&user).status, 200);
    let open = form_token(&enter(&begin(&PHONE).1));
    daemon.at(5);
    let done = daemon.send(&ALICE, own("/consents", &[("form", &form_token(&listed))]));
    assert!(done.text().contains("tv can do nothing as you any more."), "{}", done.show());
    assert_eq!(app.refresh(&PHONE, &refresh, &[]).error(), "invalid_grant");
    assert_eq!(poll(&waiting).error(), "invalid_grant");
    // A page that was open when she took it back gives nothing again.
    let old = daemon.send(&ALICE, own("/device", &[("form", &open), ("answer", "allow")]));
    assert!(old.status == 400 && old.text().contains("This page was too old."), "{}", old.show());
    assert!(daemon.send(&ALICE, Request::get("/consents")).text().contains("There is none."));
}

/// A client of an administrator is called by no such name, and needs no consent.
#[test]
fn a_device_of_an_approved_client_is_not_called_unverified() {
    let daemon = crate::device::setup().start();
    let begun = crate::device::begin_tv(&daemon, &PHONE);
    let page = daemon.send(&ALICE, own("/device", &[("user_code", &begun.user_code)]));
    assert!(page.status == 200 && !page.text().contains("unverified"), "{}", page.show());
    let allowed = daemon.send(&ALICE, own("/device", &[("form", &form_token(&page)), ("answer", "allow")]));
    assert_eq!(allowed.status, 200);
    assert!(daemon.send(&ALICE, Request::get("/consents")).text().contains("There is none."));
}
