//! Token exchange (RFC 8693): a gateway that was called with alice's token gets one for the next service.

use insta::assert_snapshot;
use serde_json::json;

use crate::register::{OPEN, register};
use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Setup,
    daemon::{SECRET, secret_digest},
    tailnet::INTERNET,
    wire::{form, jwt},
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const GATEWAY: &str = "https://gateway.test/mcp";
const UPSTREAM: &str = "https://upstream.test/mcp";
const THIRD: &str = "https://third.test/mcp";
const VAULT: &str = "https://vault.test/";

fn setup() -> Setup {
    let digest = secret_digest();
    let client = |id: &str, more: &str| {
        format!(
            "[[client]]\nid = \"{id}\"\nname = \"{id}\"\nsecret_sha256 = \"{digest}\"\n\
             grant_types = [\"client_credentials\", \"{GRANT}\"]\n{more}\n"
        )
    };
    let resource = |uri: &str, clients: &str, servers: &str, more: &str| {
        format!(
            "[[resource]]\nuri = \"{uri}\"\nscopes = [\"read\", \"write\"]\nclients = {clients}\nservers = {servers}\n{more}\n"
        )
    };
    Setup::default().tables(
        &[
            client("gateway", ""),
            client("upstream", ""),
            client("third", ""),
            client("stranger", ""),
            client("closed", "allow = { users = [\"bob@example.com\"] }"),
            resource(GATEWAY, r#"["cli", "gateway", "closed"]"#, r#"["gateway", "closed"]"#, ""),
            resource(UPSTREAM, r#"["gateway", "closed", "upstream"]"#, r#"["upstream"]"#, ""),
            resource(THIRD, r#"["upstream", "third"]"#, r#"["third"]"#, ""),
            resource(VAULT, r#"["*"]"#, "[]", ""),
            format!(
                "[[exchange]]\ncallers = [\"gateway\"]\nto = [\"{VAULT}\"]\nusers = [\"alice@example.com\"]\nscopes = [\"write\"]\n"
            ),
        ]
        .concat(),
    )
}

/// Alice's token for the gateway, with the scope `read`.
fn token_of_alice(daemon: &Daemon) -> String {
    App::public(daemon)
        .login(&ALICE, &[("resource", GATEWAY), ("scope", "openid read")])
        .member("access_token")
}

fn ask(client: &str, pairs: &[(&str, &str)]) -> Request {
    let base = [("grant_type", GRANT), ("subject_token_type", ACCESS)];
    let kept = base.iter().filter(|(name, _)| pairs.iter().all(|(other, _)| other != name));
    let all: Vec<_> = kept.chain(pairs).copied().filter(|(_, value)| !value.is_empty()).collect();
    Request::post("/token", &all).basic(client, SECRET)
}

fn exchanged(daemon: &Daemon, client: &str, pairs: &[(&str, &str)]) -> Reply {
    daemon.send(&BOB, ask(client, pairs))
}

/// A client's own token, by which it acts.
fn actor(daemon: &Daemon, client: &str) -> String {
    let request = Request::post("/token", &[("grant_type", "client_credentials")]);
    daemon.send(&BOB, request.basic(client, SECRET)).member("access_token")
}

fn is_active(daemon: &Daemon, client: &str, token: &str) -> bool {
    let reply = daemon.send(&BOB, Request::post("/introspect", &[("token", token)]).basic(client, SECRET));
    reply.json()["active"].as_bool().unwrap()
}

#[test]
fn a_gateway_gets_a_token_for_the_next_service() {
    let daemon = setup().start();
    let alice = token_of_alice(&daemon);
    let reply = exchanged(&daemon, "gateway", &[("subject_token", &alice), ("resource", UPSTREAM)]);
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
      "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
      "token_type": "Bearer",
      "expires_in": 600,
      "scope": "read"
    }
    "#);
    let (header, claims) = jwt(&reply.member("access_token"));
    assert_eq!(header["typ"], "at+jwt");
    let members: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["iss", "sub", "aud", "client_id", "exp", "iat", "auth_time", "acr", "jti", "scope"];
    assert_eq!(members, expected, "an impersonation has no act: {claims}");
    assert_eq!(claims["sub"], "userid:1001");
    assert_eq!(claims["aud"], UPSTREAM);
    assert_eq!(claims["client_id"], "gateway");
    assert_eq!(claims["scope"], "read");
    let told = daemon.send(
        &BOB,
        Request::post("/introspect", &[("token", &reply.member("access_token"))]).basic("upstream", SECRET),
    );
    assert_snapshot!(told.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "active": true,
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "client_id": "gateway",
      "aud": "https://upstream.test/mcp",
      "scope": "read",
      "exp": "[time]",
      "iat": "[time]",
      "token_type": "Bearer",
      "jti": "[jti]",
      "username": "alice@example.com",
      "auth_time": "[time]",
      "acr": "urn:tsidecar:acr:ambient"
    }
    "#);
}

/// RFC 8693 §4.1: the person stays the subject, the gateway stands in `act`, and whoever acted before inside it.
#[test]
fn a_delegation_names_who_acts() {
    let daemon = setup().start();
    let (alice, gateway) = (token_of_alice(&daemon), actor(&daemon, "gateway"));
    let acting = [("actor_token", gateway.as_str()), ("actor_token_type", ACCESS)];
    let reply = exchanged(
        &daemon,
        "gateway",
        &[&[("subject_token", alice.as_str()), ("audience", UPSTREAM)], acting.as_slice()].concat(),
    );
    let token = reply.member("access_token");
    let (_, claims) = jwt(&token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("userid:1001"), &json!("gateway")));
    assert_eq!(claims["act"], json!({ "sub": "gateway", "client_id": "gateway" }));
    let told =
        daemon.send(&BOB, Request::post("/introspect", &[("token", &token)]).basic("upstream", SECRET));
    assert_eq!(told.json()["act"], claims["act"]);
    assert_eq!(told.json()["username"], "alice@example.com");
    let again = exchanged(
        &daemon,
        "gateway",
        &[&[("subject_token", token.as_str()), ("resource", UPSTREAM)], acting.as_slice()].concat(),
    );
    assert_eq!(again.error(), "invalid_request", "the token is not for the gateway: {}", again.show());
}

/// Lifetimes never grow, scopes only by a rule.
#[test]
fn what_comes_out_reaches_no_further() {
    let daemon = setup().start();
    let alice = token_of_alice(&daemon);
    daemon.at(400);
    let run = |pairs: &[(&str, &str)]| {
        exchanged(&daemon, "gateway", &[&[("subject_token", alice.as_str())], pairs].concat())
    };
    let reply = run(&[("resource", UPSTREAM)]);
    let expires_in = reply.json()["expires_in"].as_u64().unwrap();
    assert!((100..=200).contains(&expires_in), "{}", reply.show());
    assert_eq!(jwt(&reply.member("access_token")).1["exp"], jwt(&alice).1["exp"]);
    assert_eq!(run(&[("resource", UPSTREAM), ("scope", "read write")]).error(), "invalid_scope");
    assert_eq!(run(&[("resource", UPSTREAM), ("scope", "read openid x")]).member("scope"), "read");
    assert_eq!(run(&[("resource", VAULT)]).member("scope"), "write", "by a rule");
    assert_eq!(run(&[("resource", VAULT), ("scope", "read")]).error(), "invalid_scope");
    daemon.at(601);
    assert_eq!(run(&[("resource", UPSTREAM)]).error(), "invalid_request");
}

/// What becomes of a good exchange of alice's token by a client, with changes.
fn refused(daemon: &Daemon, alice: &str, client: &str, changes: &[(&str, &str)]) -> String {
    let base = [("subject_token", alice), ("resource", UPSTREAM)];
    let kept = base.iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    let pairs: Vec<_> = kept.chain(changes).copied().collect();
    let reply = exchanged(daemon, client, &pairs);
    assert_eq!(reply.status, 400, "{client} {changes:?} {}", reply.show());
    reply.error()
}

/// A18, A45: foreign tokens, other kinds of tokens, malformed requests.
#[test]
fn which_tokens_are_refused() {
    let daemon = setup().start();
    let login = App::public(&daemon).login(&ALICE, &[("resource", GATEWAY), ("scope", "openid read")]);
    let alice = login.member("access_token");
    let opaque = App::public(&daemon).login(&ALICE, &[]).member("access_token");
    let (own, other) = (actor(&daemon, "gateway"), actor(&daemon, "closed"));
    let (id_token, refresh) = (login.member("id_token"), login.member("refresh_token"));
    let altered = format!("{alice}A");
    let acting = ("actor_token_type", ACCESS);
    let cases: &[&[(&str, &str)]] = &[
        &[("subject_token", "")],
        &[("subject_token_type", "")],
        &[("resource", "")],
        &[("subject_token", &id_token)],
        &[("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")],
        &[("requested_token_type", "urn:ietf:params:oauth:token-type:saml2")],
        &[("subject_token", &refresh)],
        &[("subject_token", &altered)],
        &[("subject_token", &opaque)],
        &[("subject_token", &own)],
        &[("actor_token", &own)],
        &[acting],
        &[("actor_token", &other), acting],
        &[("actor_token", &alice), acting],
    ];
    for changes in cases {
        assert_eq!(refused(&daemon, &alice, "gateway", changes), "invalid_request", "{changes:?}");
    }
}

/// A18: callers that are not the audience, targets that are not open to the caller or for the person.
#[test]
fn which_callers_and_targets_are_refused() {
    let daemon = setup().start();
    let alice = token_of_alice(&daemon);
    let of_bob = [("resource", GATEWAY), ("scope", "read")];
    let bob = App::public(&daemon).login(&BOB, &of_bob).member("access_token");
    for client in ["stranger", "upstream"] {
        assert_eq!(refused(&daemon, &alice, client, &[]), "invalid_request", "{client}");
    }
    assert_eq!(refused(&daemon, &alice, "closed", &[]), "invalid_target", "alice may not use it");
    let cases: &[&[(&str, &str)]] = &[
        &[("resource", "https://unknown.test/")],
        &[("audience", GATEWAY)],
        &[("subject_token", &bob), ("resource", VAULT)],
    ];
    for changes in cases {
        assert_eq!(refused(&daemon, &alice, "gateway", changes), "invalid_target", "{changes:?}");
    }
    let public = form(&[
        ("grant_type", GRANT),
        ("client_id", "cli"),
        ("subject_token", &alice),
        ("subject_token_type", ACCESS),
        ("resource", UPSTREAM),
    ]);
    let mut request = Request::post("/token", &[]);
    request.body = public.into_bytes();
    assert_eq!(daemon.send(&BOB, request).error(), "unauthorized_client");
    let wrong = ask("gateway", &[("subject_token", &alice), ("resource", UPSTREAM)]).without("Authorization");
    assert_eq!(daemon.send(&BOB, wrong.basic("gateway", "wrong")).status, 401);
}

/// A45: who registered itself claims in its metadata to be a resource's server: it is told nothing of the resource's tokens, and
/// exchanges none, though it may have the grant.
#[test]
fn a_registered_client_is_no_server_of_a_resource() {
    let daemon = setup().tables(OPEN).start();
    let alice = token_of_alice(&daemon);
    let claims = json!({
        "client_name": "gateway", "redirect_uris": [GATEWAY], "client_uri": GATEWAY, "resource": GATEWAY, "servers": ["gateway"],
        "client_id": "gateway", "token_endpoint_auth_method": "client_secret_basic", "grant_types": ["authorization_code", GRANT],
    });
    let answer = register(&daemon, &BOB, &claims);
    let (id, secret) = (answer.member("client_id"), answer.member("client_secret"));
    assert_ne!(id, "gateway");
    let told = Request::post("/introspect", &[("token", alice.as_str())]);
    let told = daemon.send(&BOB, told.basic(&id, &secret));
    assert_eq!((told.status, told.json()), (200, json!({ "active": false })));
    let pairs = [("subject_token", alice.as_str()), ("resource", UPSTREAM)];
    let request = ask("gateway", &pairs).without("Authorization").basic(&id, &secret);
    let refused = daemon.send(&BOB, request);
    assert_eq!((refused.status, refused.error().as_str()), (400, "invalid_request"), "{}", refused.show());
    assert_eq!(
        refused.body,
        exchanged(&daemon, "stranger", &pairs).body,
        "as every client that is none of its servers"
    );
    assert!(is_active(&daemon, "gateway", &alice));
    assert_eq!(exchanged(&daemon, "gateway", &pairs).status, 200, "the server itself");
}

/// The result dies with its parent; revoking it ends only itself. Introspection and further exchanges know at once.
#[test]
fn it_dies_with_its_parent_and_not_the_other_way_round() {
    let daemon = setup().start();
    let login = App::public(&daemon).login(&ALICE, &[("resource", GATEWAY), ("scope", "openid read")]);
    let alice = login.member("access_token");
    let run = || exchanged(&daemon, "gateway", &[("subject_token", &alice), ("resource", UPSTREAM)]);
    let (first, second) = (run().member("access_token"), run().member("access_token"));
    assert!(is_active(&daemon, "upstream", &first) && is_active(&daemon, "upstream", &second));
    let revoke = |token: &str| Request::post("/revoke", &[("token", token)]);
    assert_eq!(daemon.send(&BOB, revoke(&first).basic("gateway", SECRET)).status, 200);
    assert!(!is_active(&daemon, "upstream", &first) && is_active(&daemon, "upstream", &second));
    assert!(is_active(&daemon, "gateway", &alice));
    let by_client =
        Request::post("/revoke", &[("token", &login.member("refresh_token")), ("client_id", "cli")]);
    assert_eq!(daemon.send(&ALICE, by_client).status, 200);
    assert!(!is_active(&daemon, "upstream", &second) && !is_active(&daemon, "gateway", &alice));
    assert_eq!(run().error(), "invalid_request");
}

/// Identity is asked, never remembered: the device of the person is gone.
#[test]
fn the_person_is_asked_for_by_whois() {
    let daemon = setup().start();
    let alice = token_of_alice(&daemon);
    daemon.change(&ALICE, |script| script.peers.retain(|node| node.addresses[0] != ALICE.address));
    let reply = exchanged(&daemon, "gateway", &[("subject_token", &alice), ("resource", UPSTREAM)]);
    assert_eq!(reply.status, 400, "{}", reply.show());
}

/// Hosted gateways: a caller that proves itself may exchange from anywhere, as every machine endpoint.
#[test]
fn a_gateway_outside_of_the_tailnet() {
    let daemon = setup().start();
    let alice = token_of_alice(&daemon);
    let request = ask("gateway", &[("subject_token", &alice), ("resource", UPSTREAM)]);
    assert_eq!(daemon.send(&INTERNET, request).status, 200);
}

/// RFC 8693 §4.4: a resource says who alone may act with its tokens; tokens and introspection tell.
#[test]
fn who_may_act_is_said_and_held_to() {
    let tables = |may_act: &str| {
        format!(
            "[[client]]\nid = \"gateway\"\nname = \"Gateway\"\nsecret_sha256 = \"{digest}\"\ngrant_types = [\"{GRANT}\"]\n\
             [[resource]]\nuri = \"{GATEWAY}\"\nscopes = [\"read\"]\nclients = [\"cli\"]\nservers = [\"gateway\"]\nmay_act = \"{may_act}\"\n\
             [[resource]]\nuri = \"{UPSTREAM}\"\nscopes = [\"read\"]\nclients = [\"gateway\"]\n",
            digest = secret_digest()
        )
    };
    for (may_act, status) in [("gateway", 200), ("other", 400)] {
        let daemon = Setup::default().tables(&tables(may_act)).start();
        let alice = token_of_alice(&daemon);
        assert_eq!(jwt(&alice).1["may_act"], json!({ "sub": may_act }));
        let told = Request::post("/introspect", &[("token", &alice)]).basic("gateway", SECRET);
        assert_eq!(daemon.send(&BOB, told).json()["may_act"], json!({ "sub": may_act }));
        let reply = exchanged(&daemon, "gateway", &[("subject_token", &alice), ("resource", UPSTREAM)]);
        assert_eq!(reply.status, status, "{}", reply.show());
    }
}

/// RFC 8693 §4.1 over several hops: nested, the newest outermost, four deep at most; all of it falls with the first grant.
#[test]
fn a_chain_of_services_is_nested_and_falls_as_a_whole() {
    let daemon = setup().start();
    let login = App::public(&daemon).login(&ALICE, &[("resource", GATEWAY), ("scope", "openid read")]);
    let hop = |client: &str, token: &str, target: &str| {
        let own = actor(&daemon, client);
        let acting = [("actor_token", own.as_str()), ("actor_token_type", ACCESS)];
        let subject = [("subject_token", token), ("resource", target)];
        exchanged(&daemon, client, &[subject, acting].concat())
    };
    let first = hop("gateway", &login.member("access_token"), UPSTREAM).member("access_token");
    let second = hop("upstream", &first, THIRD).member("access_token");
    let upstream = json!({ "sub": "upstream", "client_id": "upstream" });
    let mut act = upstream.clone();
    act["act"] = json!({ "sub": "gateway", "client_id": "gateway" });
    assert_eq!(jwt(&second).1["act"], act);
    let told = Request::post("/introspect", &[("token", &second)]).basic("third", SECRET);
    assert_eq!(daemon.send(&BOB, told).json()["act"], act);
    // To itself, without an actor: third and fourth exchange; there is no fifth.
    let again = |token: &str| exchanged(&daemon, "third", &[("subject_token", token), ("resource", THIRD)]);
    let fourth = again(&again(&second).member("access_token")).member("access_token");
    assert_eq!(jwt(&fourth).1["act"], act, "nobody who acted is forgotten");
    assert_eq!(again(&fourth).error(), "invalid_request");
    assert!(is_active(&daemon, "third", &fourth));
    let revoke = Request::post("/revoke", &[("token", &login.member("refresh_token")), ("client_id", "cli")]);
    assert_eq!(daemon.send(&ALICE, revoke).status, 200);
    for token in [&second, &fourth] {
        assert!(!is_active(&daemon, "third", token), "a descendant outlives the first grant");
    }
}

/// A busy gateway makes thousands: they do not stand in the way of what is looked for among the person's own grants.
#[test]
fn what_a_gateway_gets_is_not_among_the_persons_grants() {
    let daemon = setup().start();
    let alice = token_of_alice(&daemon);
    for _ in 0..300 {
        let reply = exchanged(&daemon, "gateway", &[("subject_token", &alice), ("resource", UPSTREAM)]);
        assert_eq!(reply.status, 200, "{}", reply.show());
    }
    let more = [("resource", GATEWAY), ("scope", "write")];
    let step_up = App::public(&daemon).login(&ALICE, &more);
    assert_eq!(step_up.member("scope"), "write read", "what was granted before is kept");
}
