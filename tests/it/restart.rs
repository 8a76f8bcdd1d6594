//! What was answered is durable: `kill -9` at any moment, then the same folder again.

use crate::support::{ALICE, App, Daemon, Request};

#[test]
fn a_used_code_stays_used() {
    let mut daemon = Daemon::new();
    let code = App::public(&daemon).code(&ALICE, &[]);
    let fresh = App::public(&daemon).code(&ALICE, &[]);
    let login = App::public(&daemon).redeem(&ALICE, &code, &[]);
    assert_eq!(login.status, 200);
    daemon.kill();
    daemon.relaunch();
    let app = App::public(&daemon);
    assert_eq!(app.redeem(&ALICE, &fresh, &[]).status, 200, "a code is sealed, so it survives");
    assert_eq!(app.redeem(&ALICE, &code, &[]).error(), "invalid_grant");
    assert_eq!(app.refresh(&ALICE, &login.member("refresh_token"), &[]).error(), "invalid_grant");
}

#[test]
fn keys_and_tokens_survive() {
    let mut daemon = Daemon::new();
    let keys = |daemon: &Daemon| daemon.send(&ALICE, Request::get("/.well-known/jwks.json")).body;
    let before = keys(&daemon);
    let login = App::public(&daemon).login(&ALICE, &[]);
    daemon.kill();
    daemon.relaunch();
    assert_eq!(keys(&daemon), before);
    let app = App::public(&daemon);
    assert_eq!(app.userinfo(&ALICE, &login.member("access_token")).status, 200);
    assert_eq!(app.refresh(&ALICE, &login.member("refresh_token"), &[]).status, 200);
}

/// A6: the grace answer and the revocation are the same after a restart.
#[test]
fn rotation_and_revocation_survive() {
    let mut daemon = Daemon::new();
    let app = App::public(&daemon);
    let (first, revoked) =
        (app.login(&ALICE, &[]).member("refresh_token"), app.login(&ALICE, &[]).member("refresh_token"));
    let second = app.refresh(&ALICE, &first, &[]).member("refresh_token");
    let other = app.refresh(&ALICE, &revoked, &[]).member("refresh_token");
    let last = app.refresh(&ALICE, &other, &[]).member("refresh_token");
    assert_eq!(app.refresh(&ALICE, &revoked, &[]).error(), "invalid_grant");
    daemon.kill();
    daemon.relaunch();
    let app = App::public(&daemon);
    assert_eq!(app.refresh(&ALICE, &first, &[]).member("refresh_token"), second);
    assert_eq!(app.refresh(&ALICE, &last, &[]).error(), "invalid_grant");
}

/// A loop of the same through the whole stack; the store's own loop of 200 cycles is in `tests/durability`.
#[test]
fn no_acknowledged_refresh_is_lost_over_many_kills() {
    let mut daemon = Daemon::new();
    let mut token = App::public(&daemon).login(&ALICE, &[]).member("refresh_token");
    for round in 0..10 {
        for _ in 0..=(round % 3) {
            let reply = App::public(&daemon).refresh(&ALICE, &token, &[]);
            assert_eq!(reply.status, 200, "round {round}: {}", reply.show());
            token = reply.member("refresh_token");
        }
        daemon.kill();
        daemon.relaunch();
    }
    assert_eq!(App::public(&daemon).refresh(&ALICE, &token, &[]).status, 200);
}

#[test]
fn it_drains_when_asked_to_stop() {
    let mut daemon = Daemon::new();
    let token = App::public(&daemon).login(&ALICE, &[]).member("refresh_token");
    daemon.signal("TERM");
    assert!(daemon.ended().success(), "{}", daemon.log());
    daemon.relaunch();
    assert_eq!(App::public(&daemon).refresh(&ALICE, &token, &[]).status, 200);
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused() {
    let daemon = Daemon::new();
    let output = daemon.run(&["serve"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another") || said.contains("already"), "{said}");
    assert_eq!(App::public(&daemon).login(&ALICE, &[]).status, 200);
}
