//! Client credentials (RFC 6749 §4.4, SEP-1046): a client gets tokens for itself, by its secret or its key, and nothing else.
//!
//! Tagged nodes, which need neither, are in `workload.rs`.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tsidecar_oauth::jose::VerifyAlgorithm;

use crate::private_key_jwt::{Signer, TYPE};
use crate::support::{
    ALICE, App, BOB, CHALLENGE, Daemon, Pairs, Reply, Request, Setup,
    daemon::{SECRET, secret_digest},
    proof::Prover,
    tailnet::{INTERNET, PHONE},
    wire::jwt,
};

pub(crate) const RESOURCE: &str = "https://api.test/v1";
pub(crate) const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// `robot` may act for itself, `server` is the resource.
fn setup() -> Setup {
    let digest = secret_digest();
    Setup::default().tables(&format!(
        r#"[[client]]
id = "robot"
name = "Robot"
secret_sha256 = "{digest}"
grant_types = ["client_credentials"]
[[client]]
id = "server"
name = "Resource server"
secret_sha256 = "{digest}"
grant_types = ["client_credentials"]
[[resource]]
uri = "{RESOURCE}"
scopes = ["read", "write", "admin"]
default_scopes = ["read"]
clients = ["robot", "signer", "cli", "web"]
servers = ["server"]"#
    ))
}

fn request(more: &Pairs) -> Request {
    Request::post("/token", &[&[GRANT], more].concat())
}

/// The robot asks, from the internet: where it is makes no difference.
fn ask(daemon: &Daemon, more: &Pairs) -> Reply {
    daemon.send(&INTERNET, request(more).basic("robot", SECRET))
}

#[track_caller]
fn token(daemon: &Daemon, more: &Pairs) -> String {
    let reply = ask(daemon, more);
    assert_eq!(reply.status, 200, "{}", reply.show());
    reply.member("access_token")
}

fn told(daemon: &Daemon, id: &str, token: &str) -> Value {
    daemon.send(&BOB, Request::post("/introspect", &[("token", token)]).basic(id, SECRET)).json()
}

#[test]
fn a_client_gets_a_token_for_a_resource() {
    let daemon = setup().start();
    let reply = ask(&daemon, &[("resource", RESOURCE), ("scope", "openid write nonsense")]);
    assert_snapshot!(reply.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    pragma: no-cache
    x-content-type-options: nosniff

    {
      "access_token": "[JWT]",
      "token_type": "Bearer",
      "expires_in": 600,
      "scope": "write"
    }
    "#);
    // RFC 9068 §2.2: the client is the subject, and nobody was authenticated.
    let token = reply.member("access_token");
    let (header, claims) = jwt(&token);
    let known = |name: &str| claims[name].clone();
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(
        claims,
        json!({"iss": "https://idp.tail.test", "sub": "robot", "client_id": "robot", "aud": RESOURCE, "scope": "write",
            "exp": known("exp"), "iat": known("iat"), "jti": known("jti")})
    );
    assert_eq!(known("exp").as_u64().unwrap() - known("iat").as_u64().unwrap(), 600);
    let told = told(&daemon, "server", &token);
    assert_eq!(
        told,
        json!({"active": true, "iss": "https://idp.tail.test", "sub": "robot", "client_id": "robot", "aud": RESOURCE,
            "scope": "write", "token_type": "Bearer", "exp": known("exp"), "iat": known("iat"), "jti": known("jti")})
    );
    // No person's token, wherever it is shown.
    assert_eq!(daemon.send(&ALICE, Request::get("/userinfo").bearer(&token)).error(), "invalid_token");
}

/// Without a resource the token is the client's own affair: opaque, and about nobody.
#[test]
fn without_a_resource_it_is_opaque() {
    let daemon = setup().start();
    let reply = ask(&daemon, &[("scope", "openid profile")]);
    assert_snapshot!(reply.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    pragma: no-cache
    x-content-type-options: nosniff

    {
      "access_token": "[opaque]",
      "token_type": "Bearer",
      "expires_in": 600,
      "scope": ""
    }
    "#);
    let token = reply.member("access_token");
    let facts = told(&daemon, "robot", &token);
    assert_eq!(
        (&facts["sub"], &facts["aud"], &facts["scope"]),
        (&json!("robot"), &json!("robot"), &json!(""))
    );
    assert_eq!(facts.get("username").or(facts.get("auth_time")).or(facts.get("acr")), None);
    assert_eq!(told(&daemon, "server", &token), json!({ "active": false }));
    let userinfo = daemon.send(&ALICE, Request::get("/userinfo").bearer(&token));
    assert_eq!((userinfo.status, userinfo.error().as_str()), (403, "insufficient_scope"));
}

/// RFC 8707, A45: one token, one resource, its scopes alone.
#[test]
fn the_resource_decides_the_scope() {
    let daemon = setup().start();
    let scope = |more: &Pairs| ask(&daemon, &[&[("resource", RESOURCE)], more].concat()).member("scope");
    assert_eq!(scope(&[]), "read", "its default");
    assert_eq!(scope(&[("scope", "openid offline_access")]), "read");
    assert_eq!(scope(&[("scope", "admin read")]), "admin read");
    assert_eq!(
        jwt(&token(&daemon, &[("resource", "https://api.test/v1/")])).1["aud"],
        RESOURCE,
        "as registered"
    );
    for more in [
        &[("resource", "https://unknown.test")][..],
        // Of others: this client is not among its `clients`.
        &[("resource", "https://mcp.test/mcp")],
        &[("resource", RESOURCE), ("resource", "https://mcp.test/mcp")],
        &[("resource", "no URI")],
    ] {
        let reply = ask(&daemon, more);
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_target"), "{more:?}");
    }
    assert_snapshot!(ask(&daemon, &[("resource", "https://unknown.test")]).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_target",
      "error_description": "the resource https://unknown.test is not known here, or not open to this client and person; an administrator adds it as a [[resource]], or to the resources of a rule"
    }
    "#);
}

/// Every other refusal; none of them leaves anything behind.
#[test]
fn who_may_not_gets_nothing() {
    let daemon = setup().start();
    assert_snapshot!(daemon.send(&ALICE, App::public(&daemon).token_request(&[GRANT], &[])).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "unauthorized_client",
      "error_description": "this client may not use this grant_type"
    }
    "#);
    let error = |request: Request| {
        let reply = daemon.send(&ALICE, request);
        (reply.status, reply.error())
    };
    let refused = |request: Request, status: u16, code: &str| {
        assert_eq!(error(request), (status, code.to_owned()), "{code}");
    };
    // A client for people only, and the robot as one.
    refused(App::confidential(&daemon).token_request(&[GRANT], &[]), 400, "unauthorized_client");
    let code = [("grant_type", "authorization_code"), ("code", "x")];
    refused(Request::post("/token", &code).basic("robot", SECRET), 400, "unauthorized_client");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    refused(Request::post("/token", &refresh).basic("robot", SECRET), 400, "unauthorized_client");
    // Without proof, with a wrong one, with two, as somebody else.
    let named = ("client_id", "robot");
    refused(request(&[named]), 401, "invalid_client");
    refused(request(&[]), 401, "invalid_client");
    refused(
        request(&[named, ("client_secret", "wrong-wrong-wrong-wrong-wrong-wrong-wrong")]),
        401,
        "invalid_client",
    );
    refused(request(&[]).basic("robot", "wrong"), 401, "invalid_client");
    refused(request(&[("client_secret", SECRET)]).basic("robot", SECRET), 400, "invalid_request");
    refused(request(&[("client_id", "server")]).basic("robot", SECRET), 400, "invalid_request");
    refused(request(&[("client_id", "userid:1001"), ("client_secret", SECRET)]), 401, "invalid_client");
    // The request itself.
    refused(Request::post("/token", &[]).basic("robot", SECRET), 400, "invalid_request");
    refused(request(&[GRANT]).basic("robot", SECRET), 400, "invalid_request");
    refused(request(&[("scope", "read"), ("scope", "write")]).basic("robot", SECRET), 400, "invalid_request");
    let query = Request::post("/token?grant_type=client_credentials", &[]).basic("robot", SECRET);
    refused(query, 400, "invalid_request");
    assert_eq!(daemon.send(&ALICE, Request::get("/token").basic("robot", SECRET)).status, 405);
    let posted = ask(&daemon, &[]);
    assert_eq!(posted.status, 200, "{}", posted.show());
    let body = request(&[named, ("client_secret", SECRET), ("resource", RESOURCE)]);
    assert_eq!(daemon.send(&ALICE, body).status, 200, "in the body, too");
    let grants = daemon.run(&["grant", "list", "--json"]);
    let grants: Value = serde_json::from_slice(&grants.stdout).unwrap();
    let grants = grants["grants"].as_array().unwrap();
    // Alice has signed in once, so that the daemon was known to be ready.
    assert_eq!(grants.iter().filter(|grant| grant["client_id"] != "cli").count(), 2, "{grants:?}");
}

/// Such a client signs nobody in.
#[test]
fn it_has_no_way_to_sign_anybody_in() {
    let daemon = setup().start();
    let query = format!(
        "/authorize?response_type=code&client_id=robot&redirect_uri=https://robot.test/cb&code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    let page = daemon.send(&ALICE, Request::get(&query));
    assert_eq!((page.status, page.header("location")), (400, None));
    let push = [("response_type", "code"), ("redirect_uri", "https://robot.test/cb")];
    let pushed = daemon.send(&ALICE, Request::post("/par", &push).basic("robot", SECRET));
    assert_eq!(pushed.status, 400, "{}", pushed.show());
    let device = daemon.send(&ALICE, Request::post("/device_authorization", &[]).basic("robot", SECRET));
    assert_eq!((device.status, device.error().as_str()), (400, "unauthorized_client"));
}

/// A17: by `private_key_jwt` (RFC 7523); the assertion is good once, and nothing about it may be wrong.
#[test]
fn by_a_key_of_its_own() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let keys = signer.jwks();
    let entry = r#"[[client]]
id = "signer"
name = "Signer"
jwks_file = "{dir}/signer.jwks.json"
grant_types = ["client_credentials"]"#;
    let daemon = setup().file("signer.jwks.json", &keys).tables(entry).start();
    let ask = |assertion: &str| {
        let proof =
            [("client_assertion_type", TYPE), ("client_assertion", assertion), ("resource", RESOURCE)];
        daemon.send(&INTERNET, request(&proof))
    };
    let assertion = signer.assertion("once");
    let reply = ask(&assertion);
    assert_eq!(reply.status, 200, "{}", reply.show());
    let access = reply.member("access_token");
    assert_eq!(jwt(&access).1["sub"], "signer");
    assert!(reply.json().get("refresh_token").is_none());
    assert_eq!(ask(&assertion).error(), "invalid_client", "shown before");
    let (now, claims) = (crate::support::proof::now(), |jti: &str| signer.claims(jti));
    let with = |jti: &str, changes: Value| crate::support::proof::changed(claims(jti), &changes);
    let other = Signer::new("signer", VerifyAlgorithm::Es256);
    for (what, assertion) in [
        ("wrong aud", signer.sign(&signer.header(), &with("a", json!({ "aud": "https://other.test" })))),
        ("no exp", signer.sign(&signer.header(), &with("b", json!({ "exp": null })))),
        ("no jti", signer.sign(&signer.header(), &with("c", json!({ "jti": null })))),
        ("far exp", signer.sign(&signer.header(), &with("d", json!({ "exp": now + 90_000 })))),
        ("other sub", signer.sign(&signer.header(), &with("e", json!({ "sub": "robot" })))),
        ("alg none", signer.sign(&json!({ "alg": "none", "kid": "k1" }), &claims("f"))),
        ("alg HS256", signer.sign(&json!({ "alg": "HS256", "kid": "k1" }), &claims("g"))),
        ("another key", other.assertion("h")),
    ] {
        let reply = ask(&assertion);
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (401, "invalid_client"),
            "{what}: {}",
            reply.show()
        );
    }
    // The same proof at introspection and revocation of its own tokens.
    let at = |path: &str, jti: &str| {
        let assertion = signer.assertion(jti);
        let proof = [("client_assertion_type", TYPE), ("client_assertion", &assertion), ("token", &access)];
        daemon.send(&INTERNET, Request::post(path, &proof))
    };
    assert_eq!(at("/introspect", "i").json()["active"], true);
    assert_eq!(at("/revoke", "j").status, 200);
    assert_eq!(at("/introspect", "k").json(), json!({ "active": false }));
}

/// A resource server that proves itself by its key asks about the tokens of people for it, and for none of another resource.
#[test]
fn a_resource_server_with_a_key_introspects() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let entry = r#"[[client]]
id = "signer"
name = "Signer"
jwks_file = "{dir}/signer.jwks.json"
grant_types = ["client_credentials"]
[[resource]]
uri = "https://signed.test/mcp"
scopes = ["read"]
clients = ["cli"]
servers = ["signer"]"#;
    let daemon = setup().file("signer.jwks.json", &signer.jwks()).tables(entry).start();
    let alices = |resource: &str| {
        let wish = [("resource", resource), ("scope", "openid read")];
        App::public(&daemon).login(&ALICE, &wish).member("access_token")
    };
    let told = |token: &str, assertion: &str| {
        let proof = [("client_assertion_type", TYPE), ("client_assertion", assertion), ("token", token)];
        daemon.send(&INTERNET, Request::post("/introspect", &proof))
    };
    let (token, assertion) = (alices("https://signed.test/mcp"), signer.assertion("once"));
    let facts = told(&token, &assertion).json();
    assert_eq!(
        (&facts["active"], &facts["sub"], &facts["client_id"], &facts["aud"], &facts["scope"]),
        (
            &json!(true),
            &json!("userid:1001"),
            &json!("cli"),
            &json!("https://signed.test/mcp"),
            &json!("read")
        ),
        "{facts}"
    );
    let replayed = told(&token, &assertion);
    assert_eq!((replayed.status, replayed.error().as_str()), (401, "invalid_client"), "shown before");
    let other = Signer::new("signer", VerifyAlgorithm::Es256).assertion("other");
    assert_eq!(told(&token, &other).error(), "invalid_client", "another key");
    let elsewhere = told(&alices(RESOURCE), &signer.assertion("elsewhere"));
    assert_eq!((elsewhere.status, elsewhere.json()), (200, json!({ "active": false })));
}

/// RFC 9449: bound to a key as every other token.
#[test]
fn a_token_is_bound_to_a_key() {
    let daemon = setup().start();
    let key = Prover::new();
    let asked = request(&[("resource", RESOURCE)]).basic("robot", SECRET);
    let reply = daemon.send(&INTERNET, key.prove(asked, &json!({})));
    assert_eq!((reply.status, reply.member("token_type").as_str()), (200, "DPoP"));
    let token = reply.member("access_token");
    assert_eq!(jwt(&token).1["cnf"], json!({ "jkt": key.jkt() }));
    let told = told(&daemon, "server", &token);
    assert_eq!((&told["cnf"]["jkt"], &told["token_type"]), (&json!(key.jkt()), &json!("DPoP")));
    let old = request(&[]).basic("robot", SECRET);
    let reply = daemon.send(&INTERNET, key.prove(old, &json!({ "iat": 1 })));
    assert_eq!(reply.error(), "invalid_dpop_proof");
}

/// The client ends its own tokens; nobody else does, and an administrator may.
#[test]
fn tokens_end_with_their_grant() {
    let mut daemon = setup().start();
    let to = |more| token(&daemon, more);
    let (first, second) = (to(&[("resource", RESOURCE)]), to(&[("resource", RESOURCE)]));
    let third = to(&[]);
    let revoke = |id: &str, token: &str| {
        daemon.send(&ALICE, Request::post("/revoke", &[("token", token)]).basic(id, SECRET))
    };
    assert_eq!(revoke("server", &first).error(), "invalid_grant", "another client's");
    assert_eq!(told(&daemon, "server", &first)["active"], true);
    assert_eq!((revoke("robot", &first).status, revoke("robot", &first).status), (200, 200));
    assert_eq!(told(&daemon, "server", &first), json!({ "active": false }));
    assert_eq!(told(&daemon, "server", &second)["active"], true, "a grant of its own");
    let list = daemon.run(&["grant", "list", "--client", "robot"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.lines().filter(|line| line.contains("itself")).count(), 3, "{list}");
    let output = daemon.run(&["grant", "revoke", "--user", "robot"]);
    assert_eq!(&*output.stdout, b"2 grants are revoked.\n");
    assert_eq!(told(&daemon, "robot", &third), json!({ "active": false }));
    // On disk before it was answered, all of it.
    let fourth = token(&daemon, &[("resource", RESOURCE)]);
    daemon.kill();
    daemon.relaunch();
    assert_eq!(told(&daemon, "server", &fourth)["active"], true);
    assert_eq!(told(&daemon, "server", &second), json!({ "active": false }));
    daemon.at(601);
    assert_eq!(told(&daemon, "server", &fourth), json!({ "active": false }));
}

/// Neither tailscaled nor anybody's device has a say.
#[test]
fn a_client_that_is_switched_off_ends_them_and_the_tailnet_does_not() {
    let daemon = setup().start();
    let access = token(&daemon, &[("resource", RESOURCE)]);
    daemon.tailscaled.change(|script| script.peers.retain(|node| node.name != "alice-laptop"));
    assert_eq!(told(&daemon, "server", &access)["active"], true);
    let path = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("name = \"Robot\"", "name = \"Robot\"\ndisabled = true")).unwrap();
    daemon.signal("HUP");
    let active = || told(&daemon, "server", &access)["active"] == true;
    daemon.eventually("its tokens are inactive", || !active());
    assert_eq!(ask(&daemon, &[]).error(), "invalid_client");
}

/// Back-channel logout is about people: a client that wants to be told hears nothing of its own tokens, and keeps them.
#[test]
fn nobody_is_told_of_their_end() {
    let digest = secret_digest();
    let daemon = Setup::default()
        .tables(&format!(
            r#"[[client]]
id = "both"
name = "For people and itself"
secret_sha256 = "{digest}"
redirect_uris = ["https://both.test/callback"]
grant_types = ["authorization_code", "refresh_token", "client_credentials"]
backchannel_logout_uri = "https://both.test/logout""#
        ))
        .start();
    let access = daemon.send(&ALICE, request(&[]).basic("both", SECRET)).member("access_token");
    let revocation = Request::post("/revoke", &[("token", &access)]).basic("both", SECRET);
    assert_eq!(daemon.send(&ALICE, revocation).status, 200);
    assert!(daemon.log().contains("event=\"grant_revoked\"") && !daemon.log().contains("event=\"logout"));
    let access = daemon.send(&ALICE, request(&[]).basic("both", SECRET)).member("access_token");
    let app = App { id: "both", redirect_uri: "https://both.test/callback", ..App::confidential(&daemon) };
    app.login(&PHONE, &[]);
    // The review that ends a grant of a device that has left looks at all grants of the client.
    daemon.change(&PHONE, |script| script.peers.retain(|node| node.addresses[0] != PHONE.address));
    let mut clock = 0;
    daemon.eventually("the device has left", || {
        clock += 1;
        daemon.at(clock);
        daemon.log().contains("event=\"grant_withdrawn\"")
    });
    assert_eq!(told(&daemon, "both", &access)["active"], true);
    assert_eq!(daemon.log().matches("event=\"grant_withdrawn\"").count(), 1);
}

/// SEP-1046: what the metadata must list.
#[test]
fn the_metadata_lists_it() {
    let daemon = Daemon::new();
    let metadata = daemon.send(&INTERNET, Request::get("/.well-known/oauth-authorization-server")).json();
    let lists = |name: &str, value: &str| {
        let values = metadata[name].as_array().unwrap_or_else(|| panic!("no {name}"));
        assert!(values.iter().any(|known| known == value), "{name}: {values:?}");
    };
    lists("grant_types_supported", "client_credentials");
    for method in ["client_secret_basic", "client_secret_post", "private_key_jwt"] {
        lists("token_endpoint_auth_methods_supported", method);
        lists("introspection_endpoint_auth_methods_supported", method);
        lists("revocation_endpoint_auth_methods_supported", method);
    }
    lists("token_endpoint_auth_signing_alg_values_supported", "ES256");
}
