//! `tsidecar grant`: an administrator sees what was granted, and ends it.

use std::process::Output;

use serde_json::Value;

use crate::support::{ALICE, App, BOB, Daemon};

fn json(output: &Output) -> Value {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The grants that a filter names.
fn listed(daemon: &Daemon, filter: &[&str]) -> Vec<Value> {
    let output = daemon.run(&[&["grant", "list", "--json"], filter].concat());
    assert_eq!(output.status.code(), Some(0));
    json(&output)["grants"].as_array().unwrap().clone()
}

#[test]
fn an_administrator_lists_and_ends_grants() {
    let mut daemon = Daemon::new();
    let (public, confidential) = (App::public(&daemon), App::confidential(&daemon));
    let (public_id, confidential_id) = (public.id, confidential.id);
    let [first, second] = [(); 2].map(|()| public.login(&ALICE, &[]).member("refresh_token"));
    let third = confidential.login(&ALICE, &[]).member("refresh_token");
    let bob = public.login(&BOB, &[]).member("refresh_token");

    assert_eq!(listed(&daemon, &[]).len(), 4);
    let of_bob = listed(&daemon, &["--client", public_id]).into_iter().find(|grant| {
        let subject = grant["subject"].as_str().unwrap();
        listed(&daemon, &["--user", subject]).len() == 1
    });
    let of_bob = of_bob.unwrap();
    let [subject, device, id] = ["subject", "device", "id"].map(|name| of_bob[name].as_str().unwrap());
    assert_eq!(listed(&daemon, &["--device", device]), std::slice::from_ref(&of_bob));
    let text = String::from_utf8(daemon.run(&["grant", "list", "--user", subject]).stdout).unwrap();
    assert!(text.starts_with("GRANT ID") && text.contains(id) && text.contains("ends in 30d"), "{text}");

    // By id: this one and no other.
    let output = daemon.run(&["grant", "revoke", id, "nothing", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let expected =
        serde_json::json!({ "revoked": [id], "already": [], "unknown": ["nothing"], "unreadable": [] });
    assert_eq!(json(&output), expected);
    assert_eq!(public.refresh(&BOB, &bob, &[]).error(), "invalid_grant");
    let first = public.refresh(&ALICE, &first, &[]).member("refresh_token");
    let third = confidential.refresh(&ALICE, &third, &[]).member("refresh_token");
    assert_eq!(listed(&daemon, &["--user", subject])[0]["revoked"], true);

    // By filter: all of a person at a client. The end is on disk when the command has ended.
    let all = listed(&daemon, &["--client", confidential_id]);
    let alice = all[0]["subject"].as_str().unwrap();
    let output = daemon.run(&["grant", "revoke", "--user", alice, "--client", public_id]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"2 grants are revoked.\n"[..]));
    let again = daemon.run(&["grant", "revoke", "--user", alice, "--client", public_id]);
    assert_eq!((again.status.code(), &*again.stdout), (Some(0), &b"0 grants are revoked.\n"[..]));
    let audited = |log: &str| log.lines().filter(|line| line.contains("by=\"administrator\"")).count();
    assert_eq!(audited(&daemon.log()), 3);
    daemon.kill();
    daemon.relaunch();
    let (public, confidential) = (App::public(&daemon), App::confidential(&daemon));
    assert_eq!(public.refresh(&ALICE, &first, &[]).error(), "invalid_grant");
    assert_eq!(public.refresh(&ALICE, &second, &[]).error(), "invalid_grant");
    assert_eq!(confidential.refresh(&ALICE, &third, &[]).status, 200);
}
