//! `/register/{id}` (RFC 7592), what a registered client is good for, how long it lives, and what an administrator does with it.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::register::{OPEN, native, open, register, registration, web};
use crate::support::{
    ALICE, App, BOB, CHALLENGE, Daemon, Reply, Request, Setup, VERIFIER, Who,
    daemon::SECRET,
    tailnet::{INTERNET, PHONE},
    visitor::Visitor,
    wire::form,
};

const DAY: i64 = 86_400;

/// A registered client, as its program knows it.
pub(crate) struct Registered {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
    pub(crate) token: String,
    pub(crate) redirect_uri: String,
}

impl Registered {
    #[track_caller]
    pub(crate) fn new(daemon: &Daemon, who: &Who, metadata: &Value) -> Self {
        Self::of(&register(daemon, who, metadata))
    }

    fn of(reply: &Reply) -> Self {
        let json = reply.json();
        Self {
            id: reply.member("client_id"),
            secret: json["client_secret"].as_str().map(str::to_owned),
            token: reply.member("registration_access_token"),
            redirect_uri: json["redirect_uris"][0].as_str().unwrap().to_owned(),
        }
    }

    fn manage(&self, method: &str, body: Option<&Value>) -> Request {
        let mut request = Request::new(method, &format!("/register/{}", self.id)).bearer(&self.token);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json");
            request.body = body.to_string().into_bytes();
            let length = request.body.len().to_string();
            request = request.header("Content-Length", &length);
        }
        request
    }

    pub(crate) fn authorize(&self, daemon: &Daemon, who: &Who) -> Reply {
        self.authorize_with(daemon, who, &[])
    }

    fn authorize_with(&self, daemon: &Daemon, who: &Who, more: &[(&str, &str)]) -> Reply {
        daemon.send(who, self.authorization(more))
    }

    fn authorization(&self, more: &[(&str, &str)]) -> Request {
        let pairs = [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "openid"),
            ("state", "st4te"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let query = form(&[&pairs, more].concat());
        Request::get(&format!("/authorize?{query}"))
    }

    fn token_request(&self, pairs: &[(&str, &str)]) -> Request {
        match &self.secret {
            Some(secret) => Request::post("/token", pairs).basic(&self.id, secret),
            None => Request::post("/token", &[pairs, &[("client_id", &self.id)]].concat()),
        }
    }

    fn redeem(&self, daemon: &Daemon, who: &Who, code: &str) -> Reply {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", VERIFIER),
        ];
        daemon.send(who, self.token_request(&pairs))
    }

    fn refresh(&self, daemon: &Daemon, who: &Who, token: &str) -> Reply {
        daemon.send(who, self.token_request(&[("grant_type", "refresh_token"), ("refresh_token", token)]))
    }

    /// Zero clicks: it registered itself on this device.
    #[track_caller]
    fn login(&self, daemon: &Daemon, who: &Who) -> Reply {
        let code = self.authorize(daemon, who).redirected("code");
        let reply = self.redeem(daemon, who, &code);
        assert_eq!(reply.status, 200, "{}", reply.show());
        reply
    }
}

/// The secret is not told again; the rest is what the registration answered.
#[test]
fn a_client_reads_what_it_registered() {
    let daemon = open();
    let made = register(&daemon, &ALICE, &web());
    let client = Registered::of(&made);
    let read = daemon.send(&ALICE, client.manage("GET", None));
    assert_eq!((read.status, read.header("cache-control")), (200, Some("no-store")), "{}", read.show());
    let mut expected = made.json();
    for once in ["client_secret", "client_secret_expires_at"] {
        expected.as_object_mut().unwrap().remove(once).unwrap();
    }
    assert_eq!(read.json(), expected);
}

/// A wrong token, none, another client's, and an id that never was: the same 401, which says nothing of what there is.
#[test]
fn without_its_token_a_registration_is_closed() {
    let daemon = open();
    let (one, other) = (Registered::new(&daemon, &ALICE, &web()), Registered::new(&daemon, &ALICE, &web()));
    let path = format!("/register/{}", one.id);
    let dead = daemon.send(&ALICE, Request::get(&path).bearer(&other.token));
    assert_snapshot!(dead.show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Bearer realm="https://idp.tail.test", error="invalid_token"
    x-content-type-options: nosniff

    {
      "error": "invalid_token",
      "error_description": "the registration access token is not good for this client, or the client is gone"
    }
    "#);
    for method in ["GET", "PUT", "DELETE"] {
        for (path, token) in [(path.as_str(), &other.token), ("/register/abc", &one.token)] {
            let reply = daemon.send(&ALICE, Request::new(method, path).bearer(token));
            assert_eq!(reply.show(), dead.show(), "{method} {path}");
        }
        let none = daemon.send(&ALICE, Request::new(method, &path));
        assert_eq!((none.status, none.error().as_str()), (401, "invalid_token"));
        assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"https://idp.tail.test\""));
        let outside = daemon.send(&INTERNET, Request::new(method, &path).bearer(&one.token));
        assert_eq!((outside.status, outside.error().as_str()), (403, "access_denied"));
    }
    assert_eq!(daemon.send(&ALICE, one.manage("GET", None)).status, 200);
}

/// All of the metadata is replaced, by the same rules; id, token and secret stay.
#[test]
fn a_client_replaces_what_it_registered() {
    let daemon = open();
    let mut sent = web();
    sent["client_uri"] = "https://app.test/".into();
    let client = Registered::new(&daemon, &ALICE, &sent);
    let put = |body: Value| daemon.send(&ALICE, client.manage("PUT", Some(&body)));
    for (body, error) in [
        (json!({ "redirect_uris": ["javascript:x"] }), "invalid_redirect_uri"),
        (json!({ "client_name": "x" }), "invalid_client_metadata"),
        (
            json!({ "redirect_uris": ["https://app.test/cb"], "client_id": "other" }),
            "invalid_client_metadata",
        ),
        (
            json!({ "redirect_uris": ["https://app.test/cb"], "client_secret": "x" }),
            "invalid_client_metadata",
        ),
    ] {
        let reply = put(body);
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{}", reply.show());
    }
    let secret = client.secret.clone().unwrap();
    let fresh = json!({
        "client_id": client.id, "client_secret": secret, "client_name": "New", "redirect_uris": ["https://app.test/new"],
    });
    let reply = put(fresh);
    assert_eq!(reply.status, 200, "{}", reply.show());
    let json = reply.json();
    assert_eq!((&json["client_name"], &json["client_uri"]), (&"New".into(), &Value::Null));
    assert_eq!(
        (&json["client_secret"], json["client_id"].as_str()),
        (&Value::Null, Some(client.id.as_str()))
    );
    assert_eq!(json, daemon.send(&ALICE, client.manage("GET", None)).json());
    let asked = |secret: &str| {
        let request = Request::post("/revoke", &[("token", "x")]).basic(&client.id, secret);
        daemon.send(&ALICE, request).status
    };
    assert_eq!((asked(&secret), asked("wrong")), (200, 401), "the secret stays");

    // Public, the secret is gone; confidential again, there is a new one.
    let public =
        put(json!({ "redirect_uris": ["https://app.test/cb"], "token_endpoint_auth_method": "none" }));
    assert_eq!((public.status, public.json()["client_secret"].clone()), (200, Value::Null));
    assert_eq!(asked(&secret), 401);
    let again = put(web()).member("client_secret");
    assert_ne!(again, secret);
    assert_eq!((asked(&again), asked(&secret)), (200, 401));
}

/// The client is gone, and with it everything that was issued to it.
#[test]
fn a_client_removes_itself() {
    let daemon = open();
    let client = Registered::new(&daemon, &ALICE, &native());
    let tokens = client.login(&daemon, &ALICE);
    let unused = client.authorize(&daemon, &ALICE).redirected("code");
    let userinfo = |token: &str| daemon.send(&ALICE, Request::get("/userinfo").bearer(token)).status;
    assert_eq!(userinfo(&tokens.member("access_token")), 200);
    let reply = daemon.send(&ALICE, client.manage("DELETE", None));
    assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{}", reply.show());

    assert_eq!(daemon.send(&ALICE, client.manage("DELETE", None)).status, 401);
    assert_eq!(daemon.send(&ALICE, client.manage("GET", None)).status, 401);
    assert_eq!(userinfo(&tokens.member("access_token")), 401);
    for reply in [
        client.redeem(&daemon, &ALICE, &unused),
        client.refresh(&daemon, &ALICE, &tokens.member("refresh_token")),
    ] {
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "{}", reply.show());
    }
    assert_eq!(client.authorize(&daemon, &ALICE).status, 400, "a page that says so");
    let grants = daemon.run(&["grant", "list", "--client", &client.id, "--json"]);
    let grants: Value = serde_json::from_slice(&grants.stdout).unwrap();
    assert_eq!(grants["grants"][0]["revoked"], true, "{grants}");
}

/// A resource server is told at once, too.
#[test]
fn what_a_removed_client_holds_is_not_active() {
    let resource = "https://tools.test/mcp";
    let tables = format!(
        "{OPEN}[[resource]]\nuri = \"{resource}\"\nscopes = [\"use\"]\nclients = [\"*\"]\nservers = [\"web\"]\n"
    );
    let daemon = Setup::default().tables(&tables).start();
    let client = Registered::new(&daemon, &ALICE, &native());
    let code = client.authorize_with(&daemon, &ALICE, &[("resource", resource)]).redirected("code");
    let token = client.redeem(&daemon, &ALICE, &code).member("access_token");
    let active = || {
        let request = Request::post("/introspect", &[("token", &token)]).basic("web", SECRET);
        daemon.send(&ALICE, request).json()["active"].clone()
    };
    assert_eq!(active(), true);
    assert_eq!(daemon.send(&ALICE, client.manage("DELETE", None)).status, 204);
    assert_eq!(active(), false);
}

/// A33: a page in alice's browser registers, and then leads her to `/authorize`: it is a stranger. So is what alice registered for
/// bob, and for her other device.
#[test]
fn a_web_page_registers_a_stranger() {
    let daemon = open();
    let own = Registered::new(&daemon, &ALICE, &native());
    assert!(own.authorize(&daemon, &ALICE).redirect("code").is_some());
    for stranger in [&BOB, &PHONE] {
        assert_eq!(own.authorize(&daemon, stranger).redirect("code"), None);
    }
    for (name, value) in
        [("Origin", "https://evil.test"), ("Sec-Fetch-Site", "cross-site"), ("Origin", "null")]
    {
        let reply = daemon.send(&ALICE, registration(&native()).header(name, value));
        assert_eq!(reply.status, 201, "{}", reply.show());
        let page = Registered::of(&reply).authorize(&daemon, &ALICE);
        assert_eq!(page.redirect("code"), None, "{name}: {}", page.show());
    }
}

/// A34: registered on loopback, which is good for zero clicks, then led elsewhere; approved, then led elsewhere.
#[test]
fn a_change_ends_what_the_client_was_worth() {
    let daemon = open();
    let mut client = Registered::new(&daemon, &ALICE, &native());
    client.login(&daemon, &ALICE);
    let elsewhere = json!({
        "client_name": "Probe", "redirect_uris": ["https://evil.test/cb"], "token_endpoint_auth_method": "none",
    });
    assert_eq!(daemon.send(&ALICE, client.manage("PUT", Some(&elsewhere))).status, 200);
    client.redirect_uri = "https://evil.test/cb".to_owned();
    assert_eq!(client.authorize(&daemon, &ALICE).redirect("code"), None);

    // What was approved is told: it may be another thing than what was looked at.
    let approved = String::from_utf8(daemon.run(&["client", "approve", &client.id]).stdout).unwrap();
    assert!(approved.contains("Probe") && approved.contains("https://evil.test/cb"), "{approved}");
    client.login(&daemon, &ALICE);
    let renamed = json!({
        "client_name": "Grafana", "redirect_uris": ["https://evil.test/cb"], "token_endpoint_auth_method": "none",
    });
    assert_eq!(daemon.send(&ALICE, client.manage("PUT", Some(&renamed))).status, 200);
    assert_eq!(client.authorize(&daemon, &ALICE).redirect("code"), None);
    // As it was: the approval is for exactly that.
    assert_eq!(daemon.send(&ALICE, client.manage("PUT", Some(&elsewhere))).status, 200);
    client.login(&daemon, &ALICE);
    assert!(daemon.run(&["client", "disapprove", &client.id]).status.success());
    assert_eq!(client.authorize(&daemon, &ALICE).redirect("code"), None);
}

/// A26, A34: bob's approved client takes up the device grant, which needs no redirect URI, and sends alice a code. It is a stranger
/// again: only a device of her own may ask. So is one that drops what protects its tokens.
#[test]
fn an_approval_gives_no_power_that_was_not_there() {
    let daemon = open();
    let mut metadata = web();
    metadata["dpop_bound_access_tokens"] = true.into();
    let client = Registered::new(&daemon, &BOB, &metadata);
    assert!(daemon.run(&["client", "approve", &client.id]).status.success());
    assert!(client.authorize(&daemon, &ALICE).redirect("code").is_some());
    let put = |metadata: &Value| {
        let reply = daemon.send(&BOB, client.manage("PUT", Some(metadata)));
        assert_eq!(reply.status, 200, "{}", reply.show());
    };
    let mut phishing = metadata.clone();
    phishing["grant_types"] = json!(["authorization_code", "refresh_token", crate::device::GRANT]);
    put(&phishing);
    let device = Request::post("/device_authorization", &[("scope", "openid")]);
    let begun = daemon.send(&BOB, device.basic(&client.id, client.secret.as_deref().unwrap()));
    let entered = crate::device::enter(&daemon, &ALICE, &begun.member("user_code"));
    assert_eq!(entered.status, 403, "{}", entered.show());
    assert_eq!(client.authorize(&daemon, &ALICE).redirect("code"), None);
    // Looked at again, and approved with the grant: alice may allow it.
    assert!(daemon.run(&["client", "approve", &client.id]).status.success());
    assert_eq!(crate::device::enter(&daemon, &ALICE, &begun.member("user_code")).status, 200);
    put(&web());
    assert_eq!(client.authorize(&daemon, &ALICE).redirect("code"), None);
}

/// A34, the time between looking and approving: bob changes his client once the administrator has looked at it. The digest says so, and
/// nothing is approved; without one, the answer is what was approved, whole.
#[test]
fn an_administrator_approves_what_was_looked_at() {
    let daemon = open();
    let client = Registered::new(&daemon, &BOB, &web());
    let look = || {
        let output = daemon.run(&["client", "show", &client.id, "--json"]);
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        (shown["metadata"].as_str().unwrap().to_owned(), shown["approved"].clone())
    };
    let (looked_at, _) = look();
    let list = daemon.run(&["client", "list", "--json"]);
    assert!(String::from_utf8(list.stdout).unwrap().contains(&looked_at));
    let text = String::from_utf8(daemon.run(&["client", "show", &client.id]).stdout).unwrap();
    assert!(text.contains(&looked_at), "{text}");
    let elsewhere = json!({ "client_name": "App", "redirect_uris": ["https://evil.test/cb"] });
    assert_eq!(daemon.send(&BOB, client.manage("PUT", Some(&elsewhere))).status, 200);

    let other = Registered::new(&daemon, &BOB, &web());
    for digest in [looked_at.as_str(), &look().0[..16], "", "x"] {
        let refused = daemon.run(&["client", "approve", &client.id, digest]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains("Nothing is approved; look again"), "{said}");
    }
    let refused = daemon.run(&["client", "approve", &other.id, &look().0]);
    assert!(!refused.status.success(), "the digest is another client's");
    assert_eq!(look().1, false);

    let approved = daemon.run(&["client", "approve", &client.id, &look().0.to_uppercase()]);
    assert!(approved.status.success());
    assert_eq!(look().1, true);
    assert!(daemon.run(&["client", "disapprove", &client.id]).status.success());
    let approved = String::from_utf8(daemon.run(&["client", "approve", &client.id]).stdout).unwrap();
    for part in
        ["App", &client.id, "https://evil.test/cb", "authorization_code", "bob@github on bob-desk", &look().0]
    {
        assert!(approved.contains(part), "{part}: {approved}");
    }
    assert_eq!(look().1, true);
}

/// What an approval spared people ends with it: grants, and codes that nobody has redeemed yet, also when the client is approved again.
/// What a person has allowed is theirs to take back.
#[test]
fn what_rests_on_an_approval_ends_with_it() {
    let daemon = open();
    let client = Registered::new(&daemon, &BOB, &web());
    let mut phone = Visitor::new(App::public(&daemon), &PHONE);
    let page = phone.send(client.authorization(&[]));
    let allowed = phone.decide(&page, "allow").redirected("code");
    let allowed = client.redeem(&daemon, &PHONE, &allowed).member("refresh_token");
    let approve = || assert!(daemon.run(&["client", "approve", &client.id]).status.success());
    approve();
    let tokens = client.login(&daemon, &BOB);
    let waiting = client.authorize(&daemon, &BOB).redirected("code");
    let userinfo =
        || daemon.send(&BOB, Request::get("/userinfo").bearer(&tokens.member("access_token"))).status;
    assert_eq!(userinfo(), 200);
    daemon.at(5);
    let said = String::from_utf8(daemon.run(&["client", "disapprove", &client.id]).stdout).unwrap();
    assert!(said.contains("grants that ended with it: 1"), "{said}");
    let are_void = || {
        for reply in [
            client.refresh(&daemon, &BOB, &tokens.member("refresh_token")),
            client.redeem(&daemon, &BOB, &waiting),
        ] {
            assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"), "{}", reply.show());
        }
        assert_eq!(userinfo(), 401);
    };
    are_void();
    daemon.at(10);
    approve();
    are_void();
    client.login(&daemon, &BOB);
    assert_eq!(client.refresh(&daemon, &PHONE, &allowed).status, 200);
}

/// Confidential clients that registered themselves need PKCE, unless the configuration says otherwise: at once, after a reload.
#[test]
fn pkce_is_a_setting_of_all_registrations() {
    let daemon = open();
    let client = Registered::new(&daemon, &ALICE, &web());
    assert!(daemon.run(&["client", "approve", &client.id]).status.success());
    let query = form(&[
        ("response_type", "code"),
        ("client_id", &client.id),
        ("redirect_uri", &client.redirect_uri),
        ("scope", "openid"),
        ("nonce", "n0nce"),
    ]);
    let authorize = || daemon.send(&ALICE, Request::get(&format!("/authorize?{query}")));
    assert_eq!(authorize().redirected("error"), "invalid_request");
    let config = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[registration]\nrequire_pkce = false\n")).unwrap();
    daemon.signal("HUP");
    daemon.eventually("the reload", || authorize().redirect("code").is_some());
}

/// An administrator sees who registered what, and ends it.
#[test]
fn an_administrator_sees_and_removes_registrations() {
    let daemon = open();
    let client = Registered::new(&daemon, &ALICE, &native());
    let tokens = client.login(&daemon, &ALICE);
    let list = daemon.run(&["client", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let listed =
        list.as_array().unwrap().iter().find(|known| known["client_id"] == client.id.as_str()).unwrap();
    assert_eq!(listed["source"], "registration");
    assert_eq!(listed["registered_by"], "alice@example.com on alice-laptop.tail.test");
    assert_eq!(listed["approved"], false);
    let text = String::from_utf8(daemon.run(&["client", "show", &client.id]).stdout).unwrap();
    for part in ["alice@example.com on alice-laptop.tail.test", "last used", "not approved"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(daemon.run(&["client", "approve", &client.id]).status.success());
    let text = String::from_utf8(daemon.run(&["client", "show", &client.id]).stdout).unwrap();
    assert!(!text.contains("not approved"), "{text}");

    let rotated = daemon.run(&["client", "rotate-secret", &client.id]);
    assert!(!rotated.status.success());
    let said = String::from_utf8(rotated.stderr).unwrap();
    assert!(said.contains("registered itself") && said.contains("tsidecar client approve"), "{said}");
    assert!(daemon.run(&["client", "remove", &client.id]).status.success());
    let reply = client.refresh(&daemon, &ALICE, &tokens.member("refresh_token"));
    assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"));
    for command in [["client", "remove"], ["client", "approve"], ["client", "show"]] {
        let output = daemon.run(&[&command[..], &[&client.id]].concat());
        assert!(!output.status.success(), "{command:?}");
    }
}

/// One that was never used goes after a week; each token that is issued keeps it, and a client with a live grant never goes first.
#[test]
fn a_client_lives_from_its_last_use() {
    let daemon = Setup::default().tables(OPEN).start();
    let (unused, used) =
        (Registered::new(&daemon, &ALICE, &native()), Registered::new(&daemon, &ALICE, &native()));
    let mut refresh = used.login(&daemon, &ALICE).member("refresh_token");
    daemon.at(8 * DAY);
    assert_eq!(daemon.send(&ALICE, unused.manage("GET", None)).status, 401);
    for days in [29, 58, 87, 116, 145, 174] {
        daemon.at(days * DAY);
        let reply = used.refresh(&daemon, &ALICE, &refresh);
        assert_eq!(reply.status, 200, "{days}: {}", reply.show());
        refresh = reply.member("refresh_token");
    }
    daemon.at((174 + 89) * DAY);
    assert_eq!(daemon.send(&ALICE, used.manage("GET", None)).status, 200);
    daemon.at((174 + 92) * DAY);
    assert_eq!(daemon.send(&ALICE, used.manage("GET", None)).status, 401);
}

/// What was acknowledged survives `kill -9`.
#[test]
fn a_registration_survives() {
    let mut daemon = open();
    let client = Registered::new(&daemon, &ALICE, &native());
    let gone = Registered::new(&daemon, &ALICE, &native());
    assert_eq!(daemon.send(&ALICE, gone.manage("DELETE", None)).status, 204);
    daemon.kill();
    daemon.relaunch();
    client.login(&daemon, &ALICE);
    assert_eq!(daemon.send(&ALICE, gone.manage("GET", None)).status, 401);
}
