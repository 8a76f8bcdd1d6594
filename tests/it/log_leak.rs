//! Item 14: drives every flow at the most talkative level and asserts that no secret stands in the log.

use crate::support::{
    ALICE, App, BOB, CHALLENGE, CI, Daemon, Request, Setup, VERIFIER,
    browser::RESOURCE,
    daemon::SECRET,
    tailnet::{INTERNET, NOBODY, through_serve},
};

const STATE: &str = "state-nobody-may-log-7f3a";
const NONCE: &str = "nonce-nobody-may-log-7f3b";

/// Every flow and every kind of failure; returns what must not be in the log.
fn drive(daemon: &Daemon) -> Vec<String> {
    let mut secrets: Vec<String> =
        [SECRET, VERIFIER, STATE, NONCE, "wrong-secret-nobody-may-log"].map(str::to_owned).into();
    let changes = [("state", STATE), ("nonce", NONCE)];
    for app in [App::public(daemon), App::confidential(daemon)] {
        for resource in ["", RESOURCE] {
            let changes = [&changes[..], &[("resource", resource)]].concat();
            let code = app.code(&ALICE, &changes);
            let first = app.redeem(&ALICE, &code, &[]);
            let second = app.refresh(&ALICE, &first.member("refresh_token"), &[]);
            // The grace answer, the reuse of the code, a wrong client, a wrong verifier, the reuse of a token.
            app.refresh(&ALICE, &first.member("refresh_token"), &[]);
            app.userinfo(&ALICE, &second.member("access_token"));
            let other = app.code(&ALICE, &changes);
            app.redeem(&ALICE, &other, &[("code_verifier", &VERIFIER.replace('d', "e"))]);
            App::confidential(daemon).redeem(&BOB, &other, &[]);
            App { secret: Some("wrong-secret-nobody-may-log"), ..App::confidential(daemon) }.redeem(
                &ALICE,
                &other,
                &[],
            );
            app.redeem(&ALICE, &code, &[]);
            app.refresh(&BOB, &second.member("refresh_token"), &[]);
            app.userinfo(&ALICE, &second.member("access_token"));
            secrets.extend([code, other]);
            for reply in [&first, &second] {
                secrets.extend(["access_token", "refresh_token", "id_token"].map(|name| reply.member(name)));
            }
        }
    }
    secrets.extend(carried(daemon, &changes));
    refusals(daemon, &changes);
    secrets
}

/// Requests that are pushed, answers that come in forms.
fn carried(daemon: &Daemon, changes: &crate::support::Pairs) -> Vec<String> {
    let app = App::confidential(daemon);
    let changes = [changes, &[("response_mode", "form_post")]].concat();
    let uri = app.push(&changes);
    let page = app.visit(&uri, &[]);
    // Again, and pushed by somebody who does not know the secret, and what cannot be pushed.
    app.visit(&uri, &[]);
    let wrong = App { secret: Some("wrong-secret-nobody-may-log"), ..app };
    daemon.send(&ALICE, wrong.pushing(&changes));
    daemon.send(&ALICE, app.pushing(&[&changes[..], &[("resource", "x")]].concat()));
    daemon.send(&ALICE, app.pushing(&[&changes[..], &[("request", STATE)]].concat()));
    app.authorize(&ALICE, &[&changes[..], &[("request", NONCE)]].concat());
    vec![uri, crate::form_post::field(&page, "code")]
}

fn refusals(daemon: &Daemon, changes: &crate::support::Pairs) {
    let app = App::public(daemon);
    for who in [&BOB, &CI, &INTERNET, &NOBODY] {
        app.authorize(who, changes);
    }
    for more in [
        ("prompt", "login"),
        ("client_id", "unknown"),
        ("redirect_uri", "https://evil.test"),
        ("resource", "x"),
    ] {
        app.authorize(&ALICE, &[changes, &[more]].concat());
    }
    let query = app.query(changes);
    let unforwarded = Request::get(&format!("/authorize?{query}")).header("Host", "localhost");
    daemon.raw(&unforwarded);
    let mismatch = through_serve(&ALICE, Request::get(&format!("/authorize?{query}")))
        .without("Tailscale-User-Login")
        .header("Tailscale-User-Login", "bob@github");
    daemon.raw(&mismatch);
    daemon.send(&ALICE, Request::get(&format!("/token?code={STATE}&client_secret={SECRET}")));
    daemon.send(&ALICE, Request::get(&format!("/userinfo?access_token={STATE}")));
    daemon.send(&ALICE, Request::get(&format!("/nothing?{query}")).header("Cookie", STATE));
}

fn assert_clean(daemon: &Daemon, secrets: &[String]) {
    let log = daemon.log();
    assert!(log.contains("userid:1001"), "the log says who signed in:\n{log}");
    for secret in secrets {
        assert!(!log.contains(secret.as_str()), "the log holds {secret:?}");
        // A part of it is as bad: the middle of a token, say.
        let middle = secret.len() / 2;
        if let Some(part) = secret.get(middle.saturating_sub(12)..middle + 12) {
            assert!(!log.contains(part), "the log holds a part of {secret:?}");
        }
    }
    for never in ["Basic ", "Bearer ", CHALLENGE, "BEGIN PRIVATE KEY"] {
        assert!(!log.contains(never), "the log holds {never:?}");
    }
}

#[test]
fn no_secret_in_the_text_log() {
    let daemon = Daemon::new();
    let secrets = drive(&daemon);
    assert_clean(&daemon, &secrets);
}

#[test]
fn no_secret_in_the_json_log() {
    let daemon = Setup::default().json_log().start();
    let secrets = drive(&daemon);
    assert_clean(&daemon, &secrets);
    for line in daemon.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "not JSON: {line}");
    }
}

/// A28: names with newlines and escape sequences stay on their line.
#[test]
fn names_cannot_forge_lines() {
    let daemon = Daemon::new();
    daemon.change(&ALICE, |script| {
        script.peer_mut(ALICE.address).unwrap().user.name = "Alice\nERROR forged line \u{1b}[31m".to_owned();
    });
    App::public(&daemon).login(&ALICE, &[]);
    daemon.send(&ALICE, Request::get("/nothing%0aERROR%20forged"));
    App::public(&daemon).authorize(&ALICE, &[("client_id", "x\nERROR forged")]);
    let log = daemon.log();
    assert!(!log.lines().any(|line| line.starts_with("ERROR forged")), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}
