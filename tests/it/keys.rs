//! Keys over time: published, active, retired, gone; by the clock, by command, and through `kill -9`.

use std::{thread, time::Duration};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use insta::assert_snapshot;
use serde_json::Value;
use sha2::{Digest as _, Sha512};
use tsidecar_oauth::jose::{Jws, PublicKeys, Typ, VerifyAlgorithm};

use crate::support::{ALICE, App, Daemon, Request, Setup, wire::jwt};

const DAY: i64 = 86_400;

/// The published key set.
fn key_set(daemon: &Daemon) -> String {
    daemon.send(&ALICE, Request::get("/.well-known/jwks.json")).text()
}

/// Verifies an ID token with a key set, as a relying party does.
#[track_caller]
fn verify(token: &str, key_set: &str) {
    let keys = PublicKeys::parse(key_set).unwrap();
    let allowed = [VerifyAlgorithm::Rs256, VerifyAlgorithm::EdDsa];
    Jws::parse(token).unwrap().verify(&keys, &allowed, Typ::Required(&["JWT"])).unwrap();
}

/// The key ids of the published key set.
fn published(daemon: &Daemon) -> Vec<String> {
    let jwks: Value = serde_json::from_str(&key_set(daemon)).unwrap();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let output = daemon.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `kid` of every key of a kind in a state.
fn listed(daemon: &Daemon, kind: &str, state: &str) -> Vec<String> {
    let keys = json(daemon, &["keys", "list"]);
    let fits = |key: &&Value| key["kind"] == kind && key["state"] == state;
    keys.as_array().unwrap().iter().filter(fits).map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The `kid` of a new ID token.
fn signs(daemon: &Daemon) -> String {
    kid(&App::public(daemon).login(&ALICE, &[]).member("id_token"))
}

fn kid(token: &str) -> String {
    jwt(token).0["kid"].as_str().unwrap().to_owned()
}

/// Moves the clock and has the daemon look at it.
#[track_caller]
fn at(daemon: &Daemon, seconds: i64, what: &str, yes: impl Fn() -> bool) {
    daemon.at(seconds);
    daemon.signal("HUP");
    daemon.eventually(what, yes);
}

#[test]
fn nobody_notices_a_rotation() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let first = signs(&daemon);
    at(&daemon, 89 * DAY, "the next key is published", || !listed(&daemon, "RS256", "next").is_empty());
    let next = listed(&daemon, "RS256", "next").remove(0);
    assert_eq!(signs(&daemon), first, "it does not sign yet");
    // What a relying party keeps from here on.
    let cached = key_set(&daemon);

    daemon.at(90 * DAY - 30);
    let (before, code) = (app.login(&ALICE, &[]), app.code(&ALICE, &[]));
    assert_eq!(kid(&before.member("id_token")), first);
    let sealing = listed(&daemon, "sealing", "active");
    at(&daemon, 90 * DAY, "the next key is active", || listed(&daemon, "RS256", "active") == [next.as_str()]);
    let after = app.login(&ALICE, &[]);
    assert_eq!(kid(&after.member("id_token")), next);
    // A key set from before the rotation verifies what is signed after it, and the other way round.
    verify(&after.member("id_token"), &cached);
    verify(&before.member("id_token"), &key_set(&daemon));

    // What the retired sealing key made works: code, access token, refresh token.
    assert_eq!(listed(&daemon, "sealing", "retired"), sealing);
    assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
    assert_eq!(app.userinfo(&ALICE, &before.member("access_token")).status, 200);
    at(&daemon, 98 * DAY, "the retired key is gone", || !published(&daemon).contains(&first));
    assert_eq!(listed(&daemon, "sealing", "retired"), sealing);
    daemon.at(119 * DAY);
    let renewed = app.refresh(&ALICE, &before.member("refresh_token"), &[]);
    assert_eq!((renewed.status, kid(&renewed.member("id_token"))), (200, next));
    assert_eq!(app.refresh(&ALICE, &renewed.member("refresh_token"), &[]).status, 200);
}

/// The daemon looks at the clock by itself.
#[test]
fn keys_rotate_without_being_asked() {
    let daemon = Daemon::new();
    daemon.at(91 * DAY);
    daemon.eventually("the next keys are published", || published(&daemon).len() == 4);
    assert!(daemon.log().contains("a key was made"));
}

/// A daemon that was away for longer than a key lives publishes the next one first, too.
#[test]
fn a_start_after_a_long_time_publishes_before_it_signs() {
    let mut daemon = Daemon::new();
    let first = signs(&daemon);
    daemon.kill();
    daemon.at(300 * DAY);
    daemon.relaunch();
    assert_eq!(signs(&daemon), first);
    assert_eq!(published(&daemon).len(), 4);
}

#[test]
fn a_rotation_survives_kill_9() {
    let mut daemon = Daemon::new();
    let app = App::public(&daemon);
    let mut tokens = vec![app.login(&ALICE, &[]).member("refresh_token")];
    for round in 0..12_u64 {
        thread::scope(|scope| {
            let command: &[&str] =
                if round % 2 == 0 { &["keys", "rotate", "--now"] } else { &["keys", "rotate"] };
            let daemon = &daemon;
            scope.spawn(move || daemon.run(command));
            // Making RSA keys takes a while; the files follow one by one.
            thread::sleep(Duration::from_millis(25 * round));
            daemon.signal("KILL");
        });
        daemon.ended();
        daemon.relaunch();
        for kind in ["RS256", "ES256", "sealing"] {
            assert_eq!(listed(&daemon, kind, "active").len(), 1, "{kind} in round {round}");
            assert!(listed(&daemon, kind, "next").len() <= 1, "{kind} in round {round}");
        }
        assert!(published(&daemon).contains(&signs(&daemon)));
        let app = App::public(&daemon);
        for token in &tokens {
            assert_eq!(app.refresh(&ALICE, token, &[]).status, 200, "round {round}");
        }
        tokens = vec![app.login(&ALICE, &[]).member("refresh_token")];
    }
}

#[test]
fn a_compromised_signing_key_goes_at_once() {
    let mut daemon = Daemon::new();
    let lost = signs(&daemon);
    let done = json(&daemon, &["keys", "rotate", "--compromised", &lost]);
    assert_eq!(
        (&done["changes"][0]["change"], &done["changes"][1]["change"]),
        (&"made".into(), &"removed".into())
    );
    assert!(!published(&daemon).contains(&lost));
    let new = signs(&daemon);
    assert!(new != lost && published(&daemon).contains(&new));
    assert!(!daemon.path(&format!("state/keys/signing/{lost}.json")).exists());
    daemon.kill();
    daemon.relaunch();
    assert_eq!(signs(&daemon), new);
}

#[test]
fn everything_of_a_compromised_sealing_key_is_void() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let (login, code) = (app.login(&ALICE, &[]), app.code(&ALICE, &[]));
    let lost = listed(&daemon, "sealing", "active").remove(0);
    let output = daemon.run(&["keys", "rotate", "--compromised", &lost]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let void = format!("Codes, sessions, access tokens and refresh tokens that {lost} made are void.");
    assert!(output.status.success() && said.contains(&void), "{said}");
    assert_eq!(app.redeem(&ALICE, &code, &[]).error(), "invalid_grant");
    assert_eq!(app.refresh(&ALICE, &login.member("refresh_token"), &[]).error(), "invalid_grant");
    assert_eq!(app.userinfo(&ALICE, &login.member("access_token")).error(), "invalid_token");
    assert_eq!(app.login(&ALICE, &[]).status, 200);
}

/// Leaves out what differs from run to run: ages below a day, the width of columns.
fn ages(text: &str) -> String {
    let short = |cell: &str| {
        let number = cell.strip_suffix(['s', 'm', 'h']);
        let is_age = number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()));
        if is_age { "now".to_owned() } else { cell.to_owned() }
    };
    // The ready state was made at the beginning of this run.
    let text = text.replace("in 89d", "in 90d");
    let cells = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(short).collect::<Vec<_>>().join("  ")
    };
    text.lines().map(cells).collect::<Vec<_>>().join("\n")
}

#[test]
fn commands_say_what_they_do() {
    let daemon = Daemon::new();
    let run = |arguments: &[&str]| {
        let output = daemon.run(arguments);
        let text = [output.stdout, output.stderr].concat();
        let mut text = format!("{}\n{}", output.status.code().unwrap(), String::from_utf8(text).unwrap());
        let keys = json(&daemon, &["keys", "list"]);
        for (place, key) in keys.as_array().unwrap().iter().enumerate() {
            let kid = key["kid"].as_str().unwrap();
            text = text.replace(kid, &format!("{place:0>width$}", width = kid.len()));
        }
        text
    };
    let told = [
        run(&["keys", "rotate", "--kind", "ES256"]),
        run(&["keys", "rotate", "--kind", "ES256"]),
        run(&["keys", "rotate", "--kind", "ES256", "--now"]),
        run(&["keys", "rotate", "--kind", "EdDSA"]),
        run(&["keys", "rotate", "--compromised", "nothing"]),
    ];
    assert_snapshot!(ages(&told.join("\n--\n")), @r#"
    0
    ES256 key 0000000000000002 was made, published now and used in 1d.

    KEY ID  FOR  STATE  AGE  THEN
    0000000000000000  RS256  active  now  retired in 90d
    0000000000000001  ES256  active  now  retired in 1d
    0000000000000002  ES256  next  now  active in 1d
    00000003  sealing  active  now  retired in 90d

    --
    0
    Nothing to do: the next keys are published already.

    KEY ID  FOR  STATE  AGE  THEN
    0000000000000000  RS256  active  now  retired in 90d
    0000000000000001  ES256  active  now  retired in 1d
    0000000000000002  ES256  next  now  active in 1d
    00000003  sealing  active  now  retired in 90d

    --
    0
    ES256 key 0000000000000001 was activated.
    ES256 key 0000000000000002 was retired.
    Relying parties that keep the key set refuse new tokens until they fetch it again: most do so at once, all within a day.

    KEY ID  FOR  STATE  AGE  THEN
    0000000000000000  RS256  active  now  retired in 90d
    0000000000000001  ES256  active  now  retired in 90d
    0000000000000002  ES256  retired  now  gone in 7d
    00000003  sealing  active  now  retired in 90d

    --
    1
    tsidecar: there is no EdDSA key: no client or resource asks for one, nor does [keys] algorithms

    --
    1
    tsidecar: there is no key "nothing"; `tsidecar keys list` shows them
    "#);
    assert_eq!(daemon.run(&["keys", "rotate", "--compromised", "x", "--now"]).status.code(), Some(2));
    assert_eq!(daemon.run(&["keys", "rotate", "--kind", "HS256"]).status.code(), Some(2));
}

fn algorithms(daemon: &Daemon) -> Value {
    let metadata = daemon.send(&ALICE, Request::get("/.well-known/openid-configuration")).json();
    metadata["id_token_signing_alg_values_supported"].clone()
}

const EDDSA: &str = r#"[[client]]
id = "modern"
name = "Modern"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
id_token_signed_response_alg = "EdDSA""#;

#[test]
fn an_eddsa_key_is_made_for_whoever_asks() {
    let mut daemon = Setup::default().tables(EDDSA).start();
    assert_eq!(algorithms(&daemon), serde_json::json!(["RS256", "ES256", "EdDSA"]));
    let login = App { id: "modern", ..App::public(&daemon) }.login(&ALICE, &[]);
    let token = login.member("id_token");
    assert_eq!(jwt(&token).0["alg"], "EdDSA");
    verify(&token, &key_set(&daemon));
    // Ed25519 has no hash of its own; everybody takes SHA-512 (oauth4webapi, jose, pyjwt).
    let digest = Sha512::digest(login.member("access_token"));
    assert_eq!(jwt(&token).1["at_hash"], Base64UrlUnpadded::encode_string(&digest[..32]));
    let before = published(&daemon);
    assert_eq!(before.len(), 3);
    daemon.kill();
    daemon.relaunch();
    assert_eq!(published(&daemon), before, "it is made once");
}

#[test]
fn an_eddsa_key_comes_and_goes_with_a_reload() {
    let daemon = Daemon::new();
    assert_eq!(algorithms(&daemon), serde_json::json!(["RS256", "ES256"]));
    let path = daemon.path("tsidecar.toml");
    let plain = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{plain}\n{EDDSA}\n")).unwrap();
    daemon.signal("HUP");
    daemon.eventually("EdDSA is offered", || algorithms(&daemon).as_array().unwrap().len() == 3);
    // The key is there a moment before the client that asked for it.
    let app = App { id: "modern", ..App::public(&daemon) };
    daemon.eventually("the client is known", || app.authorize(&ALICE, &[]).redirect("code").is_some());
    let token = app.login(&ALICE, &[]).member("id_token");
    std::fs::write(&path, plain).unwrap();
    daemon.signal("HUP");
    daemon.eventually("EdDSA is not offered", || algorithms(&daemon).as_array().unwrap().len() == 2);
    assert!(published(&daemon).contains(&kid(&token)), "what it signed can be verified until it has expired");
}

#[test]
fn an_eddsa_key_is_made_for_a_stored_client() {
    let daemon = Daemon::new();
    let add = ["client", "add", "--id", "modern", "--redirect-uri", "http://127.0.0.1/callback", "--public"];
    json(&daemon, &[&add[..], &["--id-token-alg", "EdDSA"]].concat());
    let token = App { id: "modern", ..App::public(&daemon) }.login(&ALICE, &[]).member("id_token");
    assert_eq!(jwt(&token).0["alg"], "EdDSA");
    assert_eq!(algorithms(&daemon), serde_json::json!(["RS256", "ES256", "EdDSA"]));
}

#[test]
fn algorithms_of_the_configuration_have_a_key() {
    let daemon = Setup::default().tables("[keys]\nalgorithms = [\"RS256\", \"ES256\", \"EdDSA\"]").start();
    assert_eq!(listed(&daemon, "EdDSA", "active").len(), 1);
    assert_eq!(algorithms(&daemon), serde_json::json!(["RS256", "ES256", "EdDSA"]));
}
