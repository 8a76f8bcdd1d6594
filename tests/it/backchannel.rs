//! Back-channel logout: who is told, with which token, how often, and that no crash loses it.

use serde_json::{Value, json};
use tsidecar_oauth::jose::{Jws, PublicKeys, Typ, VerifyAlgorithm};

use crate::support::{
    ALICE, App, BOB, Daemon, Request, Setup,
    daemon::SECRET,
    host::Host,
    tailnet::PHONE,
    wire::{jwt, shown},
};

/// A client that is told at `/logout` of the host.
pub(crate) fn told(host: &Host, id: &str, more: &str) -> String {
    let url = host.url(&format!("/{id}/logout"));
    let digest = {
        use sha2::{Digest as _, Sha256};
        format!("{:x}", Sha256::digest(SECRET))
    };
    format!(
        "[[client]]\nid = \"{id}\"\nsecret_sha256 = \"{digest}\"\nredirect_uris = [\"https://app.test/callback\"]\n\
         backchannel_logout_uri = \"{url}\"\n{more}\n"
    )
}

fn app<'d>(daemon: &'d Daemon, id: &'static str) -> App<'d> {
    App { id, ..App::confidential(daemon) }
}

fn start(host: &Host, clients: &[String]) -> Daemon {
    Setup::default().tables(&host.tables()).tables(&clients.concat()).start()
}

/// Ends a grant: its code is shown a second time. Returns the ID token.
fn end_by_replay(app: &App, who: &crate::support::Who) -> String {
    let code = app.code(who, &[]);
    let tokens = app.redeem(who, &code, &[]);
    assert_eq!(tokens.status, 200, "{}", tokens.show());
    assert_eq!(app.redeem(who, &code, &[]).error(), "invalid_grant");
    tokens.member("id_token")
}

/// The logout token in a request to the host.
pub(crate) fn token(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
    let fields: Vec<_> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!(fields.len(), 1, "{body}");
    assert_eq!(fields[0].0, "logout_token");
    fields[0].1.clone()
}

/// Verifies a logout token with the published keys, as the client does (Back-Channel Logout §2.6).
pub(crate) fn verified(daemon: &Daemon, token: &str, algorithm: VerifyAlgorithm) -> Value {
    let published = daemon.send(&ALICE, Request::get("/.well-known/jwks.json")).text();
    let keys = PublicKeys::parse(&published).unwrap();
    let jws = Jws::parse(token).unwrap();
    jws.verify(&keys, &[algorithm], Typ::Required(&["logout+jwt"])).unwrap();
    jwt(token).1
}

/// Every claim of Back-Channel Logout §2.4, and none more.
#[test]
fn a_client_is_told_when_a_grant_of_its_is_revoked() {
    let host = Host::start();
    host.answer("/rp/logout", 200, "text/plain", "");
    let daemon = start(&host, &[told(&host, "rp", "")]);
    let id_token = jwt(&end_by_replay(&app(&daemon, "rp"), &ALICE)).1;
    let requests = host.requests(1);
    assert!(requests[0].starts_with("POST /rp/logout HTTP/1.1\r\n"), "{}", requests[0]);
    let token = token(&requests[0]);
    let claims = verified(&daemon, &token, VerifyAlgorithm::Rs256);
    assert_eq!(claims["sub"], id_token["sub"]);
    assert_eq!(claims["sid"], id_token["sid"]);
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert_eq!(exp - iat, 120);
    assert!(claims["jti"].as_str().unwrap().len() >= 16);
    let mut fixed = claims.clone();
    fixed.as_object_mut().unwrap().remove("sid");
    insta::assert_snapshot!(shown(&fixed), @r#"
    {
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "aud": "rp",
      "iat": "[time]",
      "exp": "[time]",
      "jti": "[jti]",
      "events": {
        "http://schemas.openid.net/event/backchannel-logout": {}
      }
    }
    "#);
    assert_eq!(jwt(&token).0["typ"], json!("logout+jwt"));
    daemon.eventually("the audit trail says so", || daemon.log().contains("event=\"logout_told\""));
    // It is said once.
    daemon.at(7_200);
    end_by_replay(&app(&daemon, "rp"), &BOB);
    assert_eq!(host.requests(2).len(), 2);
}

/// The token has the algorithm of the client's ID tokens.
#[test]
fn the_token_is_signed_as_the_clients_id_tokens_are() {
    let host = Host::start();
    host.answer("/rp/logout", 204, "text/plain", "");
    let daemon = start(&host, &[told(&host, "rp", "id_token_signed_response_alg = \"ES256\"")]);
    end_by_replay(&app(&daemon, "rp"), &ALICE);
    let token = token(&host.requests(1)[0]);
    verified(&daemon, &token, VerifyAlgorithm::Es256);
}

/// 5 s, 30 s, 2 min, 10 min, then hours: a fresh token each time, and the end after a day.
#[test]
fn what_fails_is_tried_again_and_given_up_after_a_day() {
    let host = Host::start();
    host.answer("/rp/logout", 503, "text/plain", "");
    let daemon = start(&host, &[told(&host, "rp", "")]);
    end_by_replay(&app(&daemon, "rp"), &ALICE);
    let mut tokens = vec![token(&host.requests(1)[0])];
    let put_off = |times: usize| daemon.log().matches("event=\"logout_put_off\"").count() >= times;
    let mut clock = 0;
    for (number, pause) in [5, 30, 120, 600, 3_600, 3_600].into_iter().enumerate() {
        daemon.eventually("the attempt is written down", || put_off(number + 1));
        clock += pause + 2;
        daemon.at(clock);
        tokens.push(token(&host.requests(number + 2)[number + 1]));
    }
    let jtis: std::collections::BTreeSet<_> =
        tokens.iter().map(|token| jwt(token).1["jti"].as_str().unwrap().to_owned()).collect();
    assert_eq!(jtis.len(), tokens.len());
    let times: Vec<_> = tokens.iter().map(|token| jwt(token).1["iat"].as_u64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    daemon.eventually("the attempt is written down", || put_off(7));
    daemon.at(86_401);
    host.requests(8);
    daemon.eventually("it is given up", || daemon.log().contains("event=\"logout_given_up\""));
    daemon.at(2 * 86_400);
    end_by_replay(&app(&daemon, "rp"), &BOB);
    let requests = host.requests(9);
    assert_eq!(jwt(&token(&requests[8])).1["sub"], "userid:1002");
    assert_eq!(requests.len(), 9);
}

/// Back-Channel Logout §2.8: 400 is an answer, and asking again would bring the same.
#[test]
fn a_client_that_refuses_is_not_asked_again() {
    let host = Host::start();
    host.answer("/rp/logout", 400, "application/json", "{\"error\":\"invalid_request\"}");
    let daemon = start(&host, &[told(&host, "rp", "")]);
    end_by_replay(&app(&daemon, "rp"), &ALICE);
    daemon.eventually("it is given up", || daemon.log().contains("event=\"logout_given_up\""));
    daemon.at(100_000);
    end_by_replay(&app(&daemon, "rp"), &BOB);
    assert_eq!(host.requests(2).len(), 2);
}

/// The job is part of the change that ended the grant: a crash in between loses nothing.
#[test]
fn kill_9_between_the_end_of_a_grant_and_its_delivery_loses_nothing() {
    let host = Host::start();
    let mut daemon = start(&host, &[told(&host, "rp", "")]);
    end_by_replay(&app(&daemon, "rp"), &ALICE);
    // Whether an attempt was begun or not.
    daemon.kill();
    host.answer("/rp/logout", 200, "text/plain", "");
    let before = host.requests(0).len();
    daemon.at(10);
    daemon.relaunch();
    let requests = host.requests(before + 1);
    assert_eq!(jwt(&token(requests.last().unwrap())).1["sub"], "userid:1001");
    daemon.eventually("it is done", || daemon.log().contains("event=\"logout_told\""));
    // And is not done again.
    daemon.kill();
    daemon.relaunch();
    end_by_replay(&app(&daemon, "rp"), &BOB);
    assert_eq!(host.requests(before + 2).len(), before + 2);
}

/// Other clients, and those that do not want to know, hear nothing.
#[test]
fn only_the_client_of_the_grant_is_told() {
    let host = Host::start();
    for path in ["/one/logout", "/two/logout"] {
        host.answer(path, 200, "text/plain", "");
    }
    let daemon = start(&host, &[told(&host, "one", ""), told(&host, "two", "")]);
    app(&daemon, "two").login(&ALICE, &[]);
    end_by_replay(&App::confidential(&daemon), &ALICE);
    end_by_replay(&app(&daemon, "one"), &ALICE);
    let requests = host.requests(1);
    assert!(requests[0].starts_with("POST /one/logout "), "{}", requests[0]);
    assert_eq!(requests.len(), 1);
}

/// A client that leaves the files is told at the address that it had.
#[test]
fn a_client_that_is_removed_or_switched_off_hears_of_it() {
    let host = Host::start();
    for path in ["/gone/logout", "/off/logout", "/stays/logout"] {
        host.answer(path, 200, "text/plain", "");
    }
    let clients = ["gone", "off", "stays"].map(|id| told(&host, id, ""));
    let daemon = start(&host, &clients);
    for id in ["gone", "off", "stays"] {
        app(&daemon, id).login(&ALICE, &[]);
    }
    let file = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(&clients[0], "").replace(&clients[1], &told(&host, "off", "disabled = true"));
    std::fs::write(&file, text).unwrap();
    daemon.signal("HUP");
    let requests = host.requests(2);
    let mut paths: Vec<_> = requests.iter().map(|request| request.split(' ').nth(1).unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/gone/logout", "/off/logout"]);
    verified(&daemon, &token(&requests[0]), VerifyAlgorithm::Rs256);
}

/// A device that leaves the tailnet: told once it has been gone for half a minute; the person's other devices stay.
#[test]
fn a_device_that_leaves_the_tailnet_is_told_of() {
    let host = Host::start();
    host.answer("/rp/logout", 200, "text/plain", "");
    let daemon = start(&host, &[told(&host, "rp", "")]);
    let app = app(&daemon, "rp");
    app.login(&ALICE, &[]);
    let phone = jwt(&app.login(&PHONE, &[]).member("id_token")).1;
    daemon.change(&PHONE, |script| script.peers.retain(|node| node.addresses[0] != PHONE.address));
    // Not at once: tailscaled may be about to say something else.
    let mut clock = 0;
    daemon.eventually("the client is told", || {
        clock += 1;
        daemon.at(clock);
        !host.requests(0).is_empty()
    });
    assert!(clock >= 30, "after {clock} s");
    let requests = host.requests(1);
    assert_eq!(jwt(&token(&requests[0])).1["sid"], phone["sid"]);
    assert!(daemon.log().contains("event=\"grant_withdrawn\""));
    assert_eq!(requests.len(), 1);
}

/// The same an hour later, to a client without refresh tokens, whose access token has expired.
#[test]
fn a_device_that_leaves_later_is_told_of_to_a_client_without_refresh_tokens() {
    let host = Host::start();
    host.answer("/rp/logout", 200, "text/plain", "");
    let daemon = start(&host, &[told(&host, "rp", "grant_types = [\"authorization_code\"]")]);
    let phone = jwt(&app(&daemon, "rp").login(&PHONE, &[]).member("id_token")).1;
    let mut clock = 3_600;
    daemon.at(clock);
    daemon.change(&PHONE, |script| script.peers.retain(|node| node.addresses[0] != PHONE.address));
    daemon.eventually("the client is told", || {
        clock += 1;
        daemon.at(clock);
        !host.requests(0).is_empty()
    });
    assert_eq!(jwt(&token(&host.requests(1)[0])).1["sid"], phone["sid"]);
}

/// A tailscaled that goes away and comes back with a whole new map logs nobody out.
#[test]
fn a_tailscaled_that_starts_again_logs_nobody_out() {
    let host = Host::start();
    host.answer("/rp/logout", 200, "text/plain", "");
    let daemon = start(&host, &[told(&host, "rp", "")]);
    let app = app(&daemon, "rp");
    let tokens = app.login(&ALICE, &[]);
    let peers = daemon.tailscaled.script().peers.clone();
    daemon.change(&ALICE, |script| script.peers.clear());
    daemon.change(&ALICE, |script| script.peers = peers);
    daemon.at(4_000);
    daemon.settle(&ALICE);
    daemon.at(8_000);
    daemon.settle(&ALICE);
    assert_eq!(app.refresh(&ALICE, &tokens.member("refresh_token"), &[]).status, 200);
    assert_eq!(host.requests(0), [""; 0]);
}

/// Somebody who is taken out of a client's `allow` is signed out of it.
#[test]
fn a_person_who_is_no_longer_admitted_is_told_of() {
    let host = Host::start();
    host.answer("/rp/logout", 200, "text/plain", "");
    let both = "allow = { users = [\"alice@example.com\", \"bob@github\"] }";
    let daemon = start(&host, &[told(&host, "rp", both)]);
    let app = app(&daemon, "rp");
    app.login(&ALICE, &[]);
    app.login(&BOB, &[]);
    let file = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(both, "allow = { users = [\"alice@example.com\"] }")).unwrap();
    daemon.signal("HUP");
    let mut clock = 0;
    daemon.eventually("the client is told", || {
        clock += 1;
        daemon.at(clock);
        !host.requests(0).is_empty()
    });
    let requests = host.requests(1);
    assert_eq!(jwt(&token(&requests[0])).1["sub"], "userid:1002");
    assert_eq!(requests.len(), 1);
}

/// The client itself gives a token up: it is told all the same, and once.
#[test]
fn a_grant_that_is_revoked_by_its_client_is_told_of() {
    let host = Host::start();
    host.answer("/rp/logout", 200, "text/plain", "");
    let daemon = start(&host, &[told(&host, "rp", "")]);
    let app = app(&daemon, "rp");
    let tokens = app.login(&ALICE, &[]);
    let refresh_token = tokens.member("refresh_token");
    let request = Request::post("/revoke", &[("token", &refresh_token)]).basic("rp", SECRET);
    for _ in 0..2 {
        assert_eq!(daemon.send(&ALICE, request.clone()).status, 200);
    }
    assert_eq!(jwt(&token(&host.requests(1)[0])).1["sub"], "userid:1001");
    assert_eq!(host.requests(1).len(), 1);
}
