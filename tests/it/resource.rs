//! The registry: names that clients use for a resource, and what is judged anew when a code or refresh token is shown.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{
    ALICE, App, BOB, CI, Daemon, Pairs, Request, Setup,
    browser::RESOURCE,
    wire::{jwt, shown},
};

/// A pattern with an exception, and a resource with an alias.
const TABLES: &str = r#"[[resource]]
uri = "https://*.tail.test/mcp"
aliases = ["https://*.tail.test"]
scopes = ["read", "write"]
default_scopes = ["read"]
clients = ["cli"]
servers = ["tag:ci"]
[[resource]]
uri = "https://vault.tail.test/mcp"
scopes = ["open"]
clients = ["web"]
[[resource]]
uri = "https://files.test/v1/"
name = "Files"
aliases = ["https://files.test", "urn:example:files"]
scopes = ["list"]
clients = ["*"]
access_token_lifetime = "2m""#;

fn daemon() -> Daemon {
    Setup::default().tables(TABLES).start()
}

/// The claims of an access token for a resource.
#[track_caller]
fn claims(app: &App, changes: &Pairs) -> Value {
    jwt(&app.login(&ALICE, changes).member("access_token")).1
}

/// Changes the configuration and waits until the daemon has taken it over.
fn reload(daemon: &Daemon, from: &str, to: &str) {
    let path = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    let marker = format!("marker{}", text.len());
    let client =
        format!("[[client]]\nid = \"{marker}\"\npublic = true\nredirect_uris = [\"https://m.test/\"]\n");
    std::fs::write(&path, text.replace(from, to) + "\n" + &client).unwrap();
    daemon.signal("HUP");
    let target =
        App::public(daemon).query(&[("client_id", marker.as_str()), ("redirect_uri", "https://m.test/")]);
    daemon.eventually("the configuration is taken over", || {
        daemon.send(&ALICE, Request::get(&format!("/authorize?{target}"))).status == 302
    });
}

#[test]
fn the_audience_is_the_resource_as_registered() {
    let daemon = daemon();
    let (cli, web) = (App::public(&daemon), App::confidential(&daemon));
    for (named, audience) in [
        (RESOURCE, RESOURCE),
        ("https://mcp.test/mcp/", RESOURCE),
        ("HTTPS://MCP.test:443/mcp", RESOURCE),
        // As the pattern spells it, not as it was named.
        ("https://notes.tail.test/mcp", "https://notes.tail.test/mcp"),
        ("https://Notes.tail.test:443/mcp/", "https://notes.tail.test/mcp"),
        ("https://notes.tail.test/", "https://notes.tail.test/mcp"),
        ("https://files.test/v1", "https://files.test/v1/"),
        ("https://files.test", "https://files.test/v1/"),
        ("urn:example:files", "https://files.test/v1/"),
    ] {
        assert_eq!(claims(&cli, &[("resource", named)])["aud"], audience, "{named}");
    }
    let all =
        claims(&cli, &[("resource", "https://notes.tail.test/mcp"), ("scope", "openid write list open foo")]);
    assert_snapshot!(shown(&all), @r#"
    {
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "aud": "https://notes.tail.test/mcp",
      "client_id": "cli",
      "exp": "[time]",
      "iat": "[time]",
      "auth_time": "[time]",
      "acr": "urn:tsidecar:acr:ambient",
      "jti": "[jti]",
      "scope": "write"
    }
    "#);
    // The exception goes before the pattern, with its own clients and scopes.
    let vault = ("resource", "https://vault.tail.test/mcp");
    assert_eq!(cli.authorize(&ALICE, &[vault]).redirected("error"), "invalid_target");
    assert_eq!(claims(&web, &[vault, ("scope", "open read")])["scope"], "open");
}

/// Never a prefix, never another host; what is refused is named, with what helps.
#[test]
fn what_is_not_known_is_refused_by_name() {
    let daemon = daemon();
    let app = App::public(&daemon);
    let refused = |named: &str| {
        let reply = app.authorize(&ALICE, &[("resource", named)]);
        assert_eq!(reply.redirected("error"), "invalid_target", "{named}: {}", reply.show());
        reply.redirected("error_description")
    };
    assert_snapshot!(refused("https://mcp.test/mcp/admin"), @"the resource https://mcp.test/mcp/admin is not known here, or not open to this client and person; an administrator adds it as a [[resource]], or to the resources of a rule");
    assert_snapshot!(refused("https://x.test/\"><script>\u{e4}\n"), @"the resource https://x.test/?><script>?? is not known here, or not open to this client and person; an administrator adds it as a [[resource]], or to the resources of a rule");
    let long = format!("https://x.test/{}", "y".repeat(300));
    assert!(refused(&long).contains("yyy... is not known here"));
    for other in [
        "https://mcp.test",
        "https://mcp.test/mcp2",
        "https://mcp.test/mcp#x",
        "https://a.b.tail.test/mcp",
        "https://tail.test/mcp",
        "https://*.tail.test/mcp",
        "https://notes.tail.test.evil.test/mcp",
        "https://notes.tail.test/mcp/x",
        "https://notes.tail.test/mcp?x",
        "http://notes.tail.test/mcp",
        "https://files.test/v1/x",
        "https://files.test/?x",
        "mcp",
        "*",
    ] {
        refused(other);
    }
    // At the token endpoint: what was not granted, though it is known.
    let code = app.code(&ALICE, &[("resource", RESOURCE)]);
    let reply = app.redeem(&ALICE, &code, &[("resource", "https://files.test/v1/")]);
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_target"));
    let said = reply.member("error_description");
    assert_snapshot!(said, @"the resource https://files.test/v1/ was not part of the authorization; name one that was, or authorize again");
    assert_eq!(app.redeem(&ALICE, &code, &[("resource", "https://mcp.test/mcp/")]).status, 200);
}

/// A45: a token for two resources has one audience and that one's scopes, whichever is asked for.
#[test]
fn one_resource_per_token() {
    let daemon = daemon();
    let app = App::public(&daemon);
    let notes = "https://notes.tail.test/mcp";
    let query = app.query(&[("resource", ""), ("scope", "openid read list")]);
    let target = format!("/authorize?{query}&resource=https://files.test&resource={notes}/");
    let code = daemon.send(&ALICE, Request::get(&target)).redirected("code");
    let login = app.redeem(&ALICE, &code, &[]);
    let of = |token: &str| {
        let claims = jwt(token).1;
        (
            claims["aud"].clone(),
            claims["scope"].clone(),
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        )
    };
    assert_eq!(of(&login.member("access_token")), (json!("https://files.test/v1/"), json!("list"), 120));
    assert_eq!(login.member("scope"), "openid list");
    let second = app.refresh(&ALICE, &login.member("refresh_token"), &[("resource", notes)]);
    assert_eq!(of(&second.member("access_token")), (json!(notes), json!("read"), 600));
    let third = app.refresh(&ALICE, &second.member("refresh_token"), &[]);
    assert_eq!(of(&third.member("access_token")).0, "https://files.test/v1/", "the first granted");
    // Nor at userinfo, where a token for a resource says nothing.
    assert_eq!(app.userinfo(&ALICE, &third.member("access_token")).error(), "invalid_token");
}

/// Whoever serves a pattern serves what it matches, and nothing else.
#[test]
fn servers_of_a_pattern_may_introspect() {
    let daemon = daemon();
    let app = App::public(&daemon);
    let active = |named: &str| {
        let token = app.login(&ALICE, &[("resource", named)]).member("access_token");
        daemon.send(&CI, Request::post("/introspect", &[("token", &token)])).json()
    };
    let notes = active("https://notes.tail.test/mcp");
    assert_eq!((&notes["active"], &notes["aud"]), (&json!(true), &json!("https://notes.tail.test/mcp")));
    assert_eq!(active("https://files.test"), json!({ "active": false }));
    assert_eq!(active(RESOURCE), json!({ "active": false }));
}

/// Everything is judged anew: the entry, the pattern, the client's right, the scopes.
#[test]
fn what_left_the_registry_is_refused() {
    let daemon = daemon();
    let app = App::public(&daemon);
    let notes: &Pairs = &[("resource", "https://notes.tail.test/mcp"), ("scope", "read write")];
    let mcp: &Pairs = &[("resource", RESOURCE), ("scope", "read write")];
    let narrowed = app.login(&ALICE, mcp).member("refresh_token");
    reload(
        &daemon,
        "scopes = [\"read\", \"write\"]\nclients = [\"cli\", \"web\"]",
        "scopes = [\"read\"]\nclients = [\"cli\", \"web\"]",
    );
    let reply = app.refresh(&ALICE, &narrowed, &[]);
    assert_eq!(
        (reply.member("scope"), jwt(&reply.member("access_token")).1["scope"].clone()),
        ("read".into(), json!("read"))
    );
    let [first, second] = [notes, mcp].map(|changes| app.login(&ALICE, changes).member("refresh_token"));
    let codes = [notes, mcp].map(|changes| app.code(&ALICE, changes));
    reload(&daemon, "https://*.tail.test", "https://*.other.test");
    reload(&daemon, "clients = [\"cli\", \"web\"]", "clients = [\"web\"]");
    for (code, token, uri) in
        [(&codes[0], &first, "https://notes.tail.test/mcp"), (&codes[1], &second, RESOURCE)]
    {
        for reply in [app.redeem(&ALICE, code, &[]), app.refresh(&ALICE, token, &[])] {
            assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_target"), "{uri}");
        }
        let reply = app.refresh(&ALICE, token, &[("resource", uri)]);
        assert_eq!(reply.error(), "invalid_target");
        assert!(
            reply.member("error_description").contains(&format!("{uri} is not known here")),
            "{}",
            reply.show()
        );
    }
    // Nothing was rotated or burned: what comes back works again.
    reload(&daemon, "https://*.other.test", "https://*.tail.test");
    assert_eq!(app.redeem(&ALICE, &codes[0], &[]).status, 200);
    assert_eq!(app.refresh(&ALICE, &first, &[]).status, 200);
}

/// A code stays under its limit: what does not fit is refused with the reason.
#[test]
fn a_code_holds_so_many_resources() {
    let daemon = daemon();
    let app = App::public(&daemon);
    let long = "n".repeat(512);
    let hosts = |length: usize, count: usize, nonce: &str| {
        let one = |place: usize| format!("&resource=https://{}{place}.tail.test/mcp", "h".repeat(length));
        let more: String = (0..count).map(one).collect();
        let query = app.query(&[("scope", "openid read"), ("resource", ""), ("nonce", nonce)]);
        daemon.send(&BOB, Request::get(&format!("/authorize?{query}{more}")))
    };
    let code = hosts(40, 8, "n").redirected("code");
    assert!((900..=1_500).contains(&code.len()), "{}", code.len());
    assert_eq!(app.redeem(&BOB, &code, &[]).status, 200);
    for refused in [hosts(1, 9, "n"), hosts(62, 8, &long)] {
        assert_eq!(refused.redirected("error"), "invalid_request", "{}", refused.show());
        assert!(refused.redirected("error_description").contains("too large"), "{}", refused.show());
    }
    assert_eq!(hosts(63, 1, "n").redirected("error"), "invalid_target", "no label is as long as that");
}
