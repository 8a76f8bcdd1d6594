//! Clients whose document is taken away, or whose host fails (attack A52; design section 6).

use serde_json::json;

use crate::cimd::{LATER, PATH, Publisher, UNKNOWN, look_again, stays};
use crate::support::{ALICE, Request};

const ENDED: &str = "event=\"document_ended\"";

fn introspection(token: &str) -> Request {
    Request::post("/introspect", &[("token", token)]).basic("web", crate::support::daemon::SECRET)
}

/// From the first 404 on nobody gets anything; ten seconds later it is for good, also when the document comes back, also after a
/// restart.
#[test]
fn a_document_that_is_taken_away_ends_its_grants() {
    let publisher = Publisher::new();
    let any_client = "[compat]\nintrospect_any_client = true\n";
    let mut daemon = publisher.setup().tables(any_client).start();
    let (access, refresh) = {
        let app = publisher.app(&daemon);
        let answer = app.login(&ALICE, &[]);
        (answer.member("access_token"), answer.member("refresh_token"))
    };
    publisher.host.answer(PATH, 404, "text/plain", "");
    look_again(&daemon);
    {
        let app = publisher.app(&daemon);
        let refused = app.refresh(&ALICE, &refresh, &[]);
        assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"));
        assert_eq!(refused.header("retry-after"), Some("10"));
        stays(&app.authorize(&ALICE, &[]), 503, LATER);
        assert_eq!(app.userinfo(&ALICE, &access).status, 503);
        assert_eq!(daemon.send(&ALICE, introspection(&access)).status, 503);
        assert!(!daemon.log().contains(ENDED));

        daemon.eventually("its grants are ended", || daemon.log().contains(ENDED));
        stays(&app.authorize(&ALICE, &[]), 400, UNKNOWN);
        let refused = app.refresh(&ALICE, &refresh, &[]);
        assert_eq!((refused.status, refused.error().as_str()), (401, "invalid_client"));
        assert_eq!(app.userinfo(&ALICE, &access).status, 401);
        assert_eq!(daemon.send(&ALICE, introspection(&access)).json(), json!({ "active": false }));
    }
    publisher.publish(&json!({}));
    daemon.at(1);
    daemon.kill();
    daemon.relaunch();
    let app = publisher.app(&daemon);
    let refused = app.refresh(&ALICE, &refresh, &[]);
    assert_eq!((refused.status, refused.error().as_str()), (400, "invalid_grant"), "{}", refused.show());
    assert_eq!(app.userinfo(&ALICE, &access).status, 401);
    // Its people come back when it does.
    let again = app.login(&ALICE, &[]);
    assert_eq!(app.refresh(&ALICE, &again.member("refresh_token"), &[]).status, 200);
}

/// A host that is published anew answers 404 for a moment, and nobody has to sign in again.
#[test]
fn a_document_that_is_away_for_a_moment_ends_nothing() {
    let publisher = Publisher::new();
    let daemon = publisher.setup().start();
    let app = publisher.app(&daemon);
    let refresh = app.login(&ALICE, &[]).member("refresh_token");
    publisher.host.answer(PATH, 410, "text/plain", "");
    look_again(&daemon);
    assert_eq!(app.refresh(&ALICE, &refresh, &[]).status, 503);
    publisher.publish(&json!({}));
    look_again(&daemon);
    let refreshed = app.refresh(&ALICE, &refresh, &[]);
    assert_eq!(refreshed.status, 200, "{}", refreshed.show());
    assert!(!daemon.log().contains(ENDED));
}

/// Any other failure is no word of the client: the last good copy counts, and after a restart there is none.
#[test]
fn a_host_that_fails_changes_nothing_for_a_day() {
    let publisher = Publisher::new();
    let mut daemon = publisher.setup().start();
    let refresh = {
        let app = publisher.app(&daemon);
        let mut refresh = app.login(&ALICE, &[]).member("refresh_token");
        for (status, body) in [(500, String::new()), (302, String::new()), (200, "<html>".to_owned())] {
            publisher.host.answer(PATH, status, "application/json", &body);
            look_again(&daemon);
            app.code(&ALICE, &[]);
            let refreshed = app.refresh(&ALICE, &refresh, &[]);
            assert_eq!(refreshed.status, 200, "{status}: {}", refreshed.show());
            refresh = refreshed.member("refresh_token");
        }
        refresh
    };
    publisher.host.answer(PATH, 500, "text/plain", "");
    daemon.kill();
    daemon.relaunch();
    let app = publisher.app(&daemon);
    stays(&app.authorize(&ALICE, &[]), 503, LATER);
    assert_eq!(app.refresh(&ALICE, &refresh, &[]).error(), "temporarily_unavailable");
    publisher.publish(&json!({}));
    look_again(&daemon);
    let refreshed = app.refresh(&ALICE, &refresh, &[]);
    assert_eq!(refreshed.status, 200, "nothing was burned: {}", refreshed.show());
}
