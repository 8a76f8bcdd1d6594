//! One test per line of the attack list (`reference/attacks.md` part 1) that applies to what is built, against the real binary.
//!
//! Lines that are cases of another file are not repeated here:
//!
//! | Line | Attack | Where it is tried |
//! |---|---|---|
//! | A1 | redeem another client's code | here |
//! | A2 | redeem late, twice, twice in parallel | here; late: `it/token.rs` `a_code_lives_for_a_minute` |
//! | A3 | wrong client authentication first | here |
//! | A4 | PKCE left out, weakened, added | here; parameters: `it/authorize.rs` `each_error_has_its_code` |
//! | A5 | refresh as another client | here; after changes of the tailnet: `it/flow_refresh.rs` |
//! | A6 | parallel refreshes | here, `it/refresh_races.rs`; replay: `it/flow_refresh.rs`; after a restart: `it/restart.rs` |
//! | A7 | storage error while writing | store suite (`store/conformance.rs`) and `tests/durability` |
//! | A8 | redirect URI tricks | here |
//! | A9 | every parameter twice | here |
//! | A10 | unknown client, bad redirect | `it/authorize.rs` `pages_for_people_where_a_redirect_would_be_unsafe` |
//! | A11 | XSS in reflected strings | here; in forms of `form_post`: `it/form_post.rs` `a_state_cannot_break_out` |
//! | A12 | forged headers, other local users | `it/trust.rs`, and through the real serve `tests/tailnet` |
//! | A13 | Funnel | `it/trust.rs` `funnel_reaches_public_endpoints_only`, `it/discovery.rs` `the_internet_is_told_…`; through the real serve `tests/tailnet`: `test_funnel.py`, `test_hosted.py` |
//! | A14 | addresses and users mixed up | `it/trust.rs` `nothing_is_remembered_of_an_address`, `it/flow_code.rs` |
//! | A15 | fetching for clients (SSRF): private addresses, rebinding, redirects, bombs, slow hosts | `outbound/tests.rs`; addresses: `tsidecar-oauth` `address.rs`; nothing that a request names: `it/outbound.rs`; documents: `it/cimd.rs` `nothing_is_fetched_from_where_strangers_have_no_business` |
//! | A16 | a document of another `client_id`, changed between authorization and redemption, another host shown than used | `it/cimd.rs` `a_document_that_describes_no_client`, `a_document_that_changes_between_authorization_and_redemption`; rules: `tsidecar-oauth` `cimd.rs` |
//! | A17 | client assertions: audience, life, replay, algorithms, foreign keys | `it/private_key_jwt.rs`; for the client itself: `it/client_credentials.rs` `by_a_key_of_its_own`; keys and JWS: `tsidecar-oauth` `jose/` |
//! | A18 | token exchange by whom, of what, for what, beyond scope and life | `it/exchange.rs` `which_tokens_are_refused`, `which_callers_and_targets_are_refused`, `what_comes_out_reaches_no_further`; rules: `tsidecar-oauth` `token/exchange` |
//! | A19 | others' tokens, altered tokens | `it/introspect.rs` `everybody_else_learns_nothing`, `it/revoke.rs` `not_another_clients_tokens`, `tsidecar-oauth` `issued.rs`, `seal.rs` |
//! | A20 | ID token as access token and the reverse | `it/introspect.rs` `everybody_else_learns_nothing`, `it/userinfo.rs` `only_tokens_without_a_resource_are_taken` |
//! | A21 | claims of rules over the protocol's | `it/policy.rs` `reserved_claims_are_left_out_and_reported` |
//! | A23 | a hostile page sends the browser to `/authorize` for a client of its own | `it/consent.rs` `a_stranger_is_allowed_once`, `ones_own_registration_is_no_stranger`; forged answers: `it/consent_page.rs`, `it/consents.rs` |
//! | A24 | mix-up without `iss`, CORS with credentials, `Origin: null` | `it/cors.rs`; `iss`: `it/authorize.rs`; `Origin: null` at our forms: `it/confirm_page.rs`, `it/device.rs`, `it/consent_page.rs`, `it/consents.rs` |
//! | A25 | logout by an old or foreign hint, open redirect after it | `it/logout.rs`; rules: `tsidecar-oauth` `logout.rs` |
//! | A26 | user code guessed, device code twice, polls, a client that may not, a stranger's link | here; one by one: `it/device.rs` |
//! | A27 | parser bombs | `it/limits.rs` |
//! | A28 | logs | `it/log_leak.rs` |
//! | A30 | damaged keys, clock that jumps | here; disk: `tests/durability` |
//! | A31 | tailscaled restarts, hangs, denies, is renamed | `it/trust.rs`, `it/flow_refresh.rs` |
//! | A32 | tags of other nodes and tailnets, routers | `it/workload.rs` `nobody_else_is_a_workload`, `a_token_lives_with_its_node`; people: `it/trust.rs` |
//! | A33 | a web page on a tagged node asks for its token | `it/workload.rs` `nobody_else_is_a_workload`; a page that registers a client: `it/register_manage.rs` `a_web_page_registers_a_stranger`; public clients: `it/flow_refresh.rs` |
//! | A34 | metadata that changes after a consent or an approval | `it/consent.rs` `a_change_of_the_client_asks_again`, `it/register_manage.rs` `a_change_ends_what_the_client_was_worth`; rules: `tsidecar-oauth` `assurance.rs` |
//! | A35 | SSH, TCP forwards, shared origin | `it/trust.rs` `not_while_…` |
//! | A36 | admin socket as target of serve | `it/trust.rs` `the_admin_socket_is_closed_to_tailscaled` |
//! | A37 | proxy sockets, unknown callers | `it/services.rs`; no workload by a proxy: `identity.rs` `a_proxy_brings_people_only` |
//! | A38 | a tenant of a trusted host whose redirect leads elsewhere | `it/consent_documents.rs` `trust_in_a_host_ends_where_it_leads_away`, `it/cimd.rs` `a_tenant_of_a_trusted_host_is_a_stranger`, `a_hosted_client_redeems_through_funnel`; rules: `tsidecar-oauth` `assurance.rs` |
//! | A39 | public client's refresh token elsewhere | here; both inside the grace time: `it/refresh_races.rs` |
//! | A40 | invited `admin@other.example` | `it/policy.rs` `bare_user_names_are_for_our_own_domain` |
//! | A41 | richer listener at refresh | `it/services.rs` `a_grant_keeps_the_destination_of_its_listener` |
//! | A42 | code issued before its client, or the consent, was withdrawn, code and refresh token used again | `tsidecar-oauth` `token/code.rs`; consent: `it/consents.rs`, store suite `a_withdrawn_consent_stops_codes_and_refreshes`, `store/interleavings.rs` `an_open_page_brings_no_withdrawn_consent_back`; reuse: `it/introspect.rs` |
//! | A43 | one sealed kind for another | here; keys and nonces: `tsidecar-oauth` `seal.rs` |
//! | A45 | a resource's token elsewhere, one token for two resources, a registered client as a resource's server | `it/userinfo.rs`, `it/client_credentials.rs` `the_resource_decides_the_scope`, `it/resource.rs`, `it/exchange.rs` `a_registered_client_is_no_server_of_a_resource` |
//! | A46 | `prompt=login` and `max_age=0` answered without a person | `it/prompt.rs`; rules: `tsidecar-oauth` `authorize/prompt.rs` |
//! | A47 | a pod behind a tagged egress router | `it/workload.rs` `nobody_else_is_a_workload`, `the_rule_names_the_nodes` |
//! | A48 | 404 before the first netmap | `it/trust.rs` `a_404_before_the_first_map_burns_nothing` |
//! | A49 | double click, frames, background requests, forms of others | `it/confirm_page.rs`, `it/consent_page.rs`, `it/consents.rs`, `it/device.rs`, `it/cors.rs`, `it/logout.rs`; pages: `web/ask.rs`, `web/consent.rs` |
//! | A50 | client id and subject `userid:5` | here, and `it/workload.rs`; rules: `it/policy.rs` |
//! | A51 | a stranger's broken request, whose error would lead to a page of theirs; schemes | `it/consent.rs` `we_are_no_redirector_for_strangers`; schemes: `tsidecar-oauth` `uri.rs`, `cimd.rs` |
//! | A52 | a document that lists `none` beside `private_key_jwt`; one that is taken away | `it/consent_documents.rs` `trust_in_a_host_ends_where_it_leads_away`, `it/cimd.rs` `a_client_with_keys_proves_itself_and_its_grants_remember_that`, `it/cimd_withdrawn.rs` |
//! | A53 | IPv4 inside IPv6, special blocks, the host's own addresses | `outbound/tests.rs`; blocks: `tsidecar-oauth` `address.rs` |

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Barrier, thread};

use crate::device;
use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Setup, VERIFIER,
    browser::RESOURCE,
    daemon::SECRET,
    tailnet::{INTERNET, NOBODY, PHONE},
    wire::form,
};

/// Sends the same request from many threads at the same moment.
fn at_once(daemon: &Daemon, request: &Request, times: usize) -> Vec<Reply> {
    let barrier = Barrier::new(times);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..times)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    daemon.send(&ALICE, request.clone())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a01_code_of_another_client() {
    let daemon = Daemon::new();
    let (public, confidential) = (App::public(&daemon), App::confidential(&daemon));
    let code = public.code(&ALICE, &[]);
    let thief = App { redirect_uri: public.redirect_uri, ..confidential };
    assert_eq!(thief.redeem(&ALICE, &code, &[]).error(), "invalid_grant");
    assert_eq!(public.redeem(&ALICE, &code, &[]).error(), "invalid_grant", "the code is dead");
    assert!(daemon.log().contains("another client"), "{}", daemon.log());
    let code = confidential.code(&ALICE, &[]);
    let login = confidential.redeem(&ALICE, &code, &[]);
    assert_eq!(public.redeem(&ALICE, &code, &[]).error(), "invalid_grant");
    let token = login.member("refresh_token");
    assert_eq!(
        confidential.refresh(&ALICE, &token, &[]).error(),
        "invalid_grant",
        "and what it gave is revoked"
    );
}

#[test]
fn a02_code_used_twice() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let code = app.code(&ALICE, &[]);
    let first = app.redeem(&ALICE, &code, &[]);
    assert_eq!(app.redeem(&ALICE, &code, &[]).error(), "invalid_grant");
    assert_eq!(app.refresh(&ALICE, &first.member("refresh_token"), &[]).error(), "invalid_grant");
    assert_eq!(app.userinfo(&ALICE, &first.member("access_token")).error(), "invalid_token");
}

#[test]
fn a02_code_used_twice_at_once() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    for _ in 0..5 {
        let code = app.code(&ALICE, &[]);
        let replies = at_once(&daemon, &app.redemption(&code, &[]), 8);
        let winners: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert_eq!(winners.len(), 1);
        let token = winners[0].member("refresh_token");
        assert_eq!(app.refresh(&ALICE, &token, &[]).error(), "invalid_grant");
    }
}

/// One by one in `it/device.rs`: guesses, a second redemption, polls, a client that may not, a stranger's link.
#[test]
fn a26_device_code_redeemed_at_once() {
    let daemon = device::setup().start();
    let app = device::tv(&daemon);
    for _ in 0..3 {
        let begun = device::begin_tv(&daemon, &ALICE);
        assert_eq!(device::press(&daemon, &ALICE, &begun.user_code, "allow").status, 200);
        let poll = [("grant_type", device::GRANT), ("device_code", begun.device_code.as_str())];
        let replies = at_once(&daemon, &app.token_request(&poll, &[]), 8);
        let winners: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert_eq!(winners.len(), 1);
        let token = winners[0].member("refresh_token");
        assert_eq!(app.refresh(&ALICE, &token, &[]).error(), "invalid_grant");
    }
}

/// Go clients probe Basic first, then post.
#[test]
fn a03_wrong_authentication_burns_nothing() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let code = app.code(&ALICE, &[]);
    let wrong = App { secret: Some("wrong-wrong-wrong-wrong-wrong-wrong-wrong"), ..app };
    for _ in 0..3 {
        assert_eq!(wrong.redeem(&ALICE, &code, &[]).status, 401);
        assert_eq!(App { secret: None, ..app }.redeem(&ALICE, &code, &[]).status, 401);
    }
    let login = app.redeem(&ALICE, &code, &[]);
    assert_eq!(login.status, 200);
    let token = login.member("refresh_token");
    assert_eq!(wrong.refresh(&ALICE, &token, &[]).status, 401);
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200);
}

#[test]
fn a04_pkce_cannot_be_weakened() {
    let daemon = Daemon::new();
    let (public, confidential) = (App::public(&daemon), App::confidential(&daemon));
    let bare = [("code_challenge", ""), ("code_challenge_method", "")];
    assert_eq!(public.authorize(&ALICE, &bare).redirected("error"), "invalid_request");
    for method in ["plain", "PLAIN", "s256", "S512", ""] {
        let changes = [("code_challenge", VERIFIER), ("code_challenge_method", method)];
        assert_eq!(public.authorize(&ALICE, &changes).redirected("error"), "invalid_request", "{method:?}");
    }
    let challenged = confidential.code(&ALICE, &[]);
    assert_eq!(confidential.redeem(&ALICE, &challenged, &[("code_verifier", "")]).error(), "invalid_grant");
    let unchallenged = confidential.code(&ALICE, &bare);
    assert_eq!(confidential.redeem(&ALICE, &unchallenged, &[]).error(), "invalid_grant");
}

#[test]
fn a05_refresh_as_another_client() {
    let daemon = Daemon::new();
    let (public, confidential) = (App::public(&daemon), App::confidential(&daemon));
    let token = public.login(&ALICE, &[]).member("refresh_token");
    assert_eq!(confidential.refresh(&ALICE, &token, &[]).error(), "invalid_grant");
    let other = confidential.login(&ALICE, &[]).member("refresh_token");
    assert_eq!(public.refresh(&ALICE, &other, &[]).error(), "invalid_grant");
    assert_eq!(confidential.refresh(&ALICE, &other, &[]).status, 200, "the rightful one is not harmed");
}

/// The disabled and the removed client, at redemption, refresh and userinfo, by reload of the file.
#[test]
fn a05_client_gone() {
    let daemon = Setup::default()
        .tables("[[client]]\nid = \"leaving\"\nname = \"Leaving\"\npublic = true\nredirect_uris = [\"http://127.0.0.1/callback\"]")
        .start();
    let app = App { id: "leaving", ..App::public(&daemon) };
    let login = app.login(&ALICE, &[]);
    let code = app.code(&ALICE, &[]);
    let path = daemon.path("tsidecar.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.split("[[client]]\nid = \"leaving\"").next().unwrap()).unwrap();
    daemon.signal("HUP");
    daemon.eventually("the client is gone", || app.authorize(&ALICE, &[]).header("location").is_none());
    assert_eq!(app.redeem(&ALICE, &code, &[]).error(), "invalid_client");
    assert_eq!(app.refresh(&ALICE, &login.member("refresh_token"), &[]).error(), "invalid_client");
    assert_eq!(app.userinfo(&ALICE, &login.member("access_token")).error(), "invalid_token");
}

#[test]
fn a06_parallel_refreshes_get_one_successor() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let mut token = app.login(&ALICE, &[]).member("refresh_token");
    for _ in 0..5 {
        let replies = at_once(&daemon, &app.renewal(&token, &[]), 8);
        let mut next: Vec<_> = replies.iter().map(|reply| reply.member("refresh_token")).collect();
        next.dedup();
        assert_eq!(next.len(), 1, "one successor for all");
        token = next.remove(0);
    }
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200);
}

/// None of these is `https://app.test/callback`.
const WEB: &[&str] = &[
    "https://app.test/callback@evil.test",
    "https://app.test@evil.test/callback",
    "https://evil.test/callback",
    "https://app.test.evil.test/callback",
    "https://APP.test/callback",
    "https://app.test./callback",
    "https://app.test/callback/",
    "https://app.test/Callback",
    "https://app.test/callback?x=1",
    "https://app.test/callback?",
    "https://app.test/callback#x",
    "https://app.test/callback#",
    "https://app.test:443/callback",
    "https://app.test:8443/callback",
    "https://app.test/x/../callback",
    "https://app.test/./callback",
    "https://app.test/%63allback",
    "https://app.test%2fcallback",
    "https://app.test\\callback",
    "https://app.test/callback\t",
    "https://app.test/callback\n",
    " https://app.test/callback",
    "https://äpp.test/callback",
    "http://app.test/callback",
    "//app.test/callback",
    "/callback",
    "javascript:alert(1)",
    "data:text/html,x",
    "https://app.test/other",
    "https://app.test/other?keep=2",
];

/// None of these is `http://127.0.0.1:PORT/callback` or `com.example.app:/callback`.
const NATIVE: &[&str] = &[
    "http://localhost/callback",
    "http://[::1]/callback",
    "http://127.0.0.2/callback",
    "http://127.1/callback",
    "http://2130706433/callback",
    "http://127.0.0.1:80@evil.test/callback",
    "http://127.0.0.1.evil.test/callback",
    "http://127.0.0.1:x/callback",
    "http://127.0.0.1:99999/callback",
    "http://127.0.0.1:8080/callback/..",
    "https://127.0.0.1/callback",
    "http://127.0.0.1/",
    "com.example.app:/callback2",
    "com.example.app://callback",
    "COM.example.app:/callback",
    "com.example:/callback",
];

#[test]
fn a08_redirect_uri_tricks() {
    let daemon = Daemon::new();
    let refused = |app: App, redirect_uri: &str| {
        let reply = app.authorize(&ALICE, &[("redirect_uri", redirect_uri)]);
        assert_eq!((reply.status, reply.header("location")), (400, None), "{redirect_uri:?}");
    };
    for redirect_uri in WEB {
        refused(App::confidential(&daemon), redirect_uri);
    }
    for redirect_uri in NATIVE {
        refused(App::public(&daemon), redirect_uri);
    }
    let nul =
        daemon.send(&ALICE, Request::get(&format!("/authorize?{}%00", App::public(&daemon).query(&[]))));
    assert_eq!(nul.header("location"), None);
}

#[test]
fn a09_every_parameter_twice() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let query = app.query(&[]);
    let base: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    for (name, value) in &base {
        for second in [value.as_str(), "other"] {
            let more = form(&[(name.as_str(), second)]);
            let reply = daemon.send(&ALICE, Request::get(&format!("/authorize?{query}&{more}")));
            assert_eq!((reply.status, reply.header("location")), (400, None), "{name}");
        }
    }
    let code = app.code(&ALICE, &[]);
    let good = app.redemption(&code, &[]);
    for name in ["grant_type", "code", "redirect_uri", "code_verifier", "client_id", "unknown", "scope"] {
        let more = form(&[(name, "x"), (name, "x")]);
        let body = [&good.body[..], b"&", more.as_bytes()].concat();
        let reply = daemon.send(&ALICE, Request { body, ..good.clone() });
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_request"), "{name}");
        let in_query = Request { target: format!("/token?{}", form(&[(name, "x")])), ..good.clone() };
        if name != "unknown" {
            assert_eq!(daemon.send(&ALICE, in_query).error(), "invalid_request", "{name} in the query");
        }
    }
    assert_eq!(daemon.send(&ALICE, good).status, 200, "the code is still good");
    let twice = app.authorize(&ALICE, &[("resource", RESOURCE)]);
    assert!(twice.redirect("code").is_some());
}

#[test]
fn a11_nothing_reflected_is_markup() {
    const EVIL: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'";
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let mut pages = vec![daemon.send(&ALICE, Request::get(&format!("/{}", form(&[("x", EVIL)]))))];
    for name in
        ["client_id", "redirect_uri", "state", "scope", "response_type", "resource", "nonce", "prompt"]
    {
        pages.push(app.authorize(&ALICE, &[(name, EVIL)]));
        pages.push(app.authorize(&ALICE, &[(name, EVIL), ("redirect_uri", "https://evil.test/")]));
        pages.push(app.authorize(&INTERNET, &[(name, EVIL)]));
        pages.push(app.authorize(&BOB, &[("client_id", "nobodys"), (name, EVIL)]));
        pages.push(app.authorize(&NOBODY, &[(name, EVIL)]));
    }
    for page in pages {
        let text = page.text();
        assert!(!text.contains("<script") && !text.contains("<img"), "{}", page.show());
        for (name, value) in &page.headers {
            assert!(
                !value.contains('<') && !value.contains('"') || name == "www-authenticate",
                "{name}: {value}"
            );
        }
        if page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            let policy = page.header("content-security-policy").expect("a policy on every page");
            assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
            assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        }
    }
}

/// A damaged or missing key stops the start with a clear message; it is never replaced.
#[test]
fn a30_no_key_is_made_silently() {
    let mut daemon = Daemon::new();
    let token = App::public(&daemon).login(&ALICE, &[]).member("refresh_token");
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    let keys = files(&daemon.path("state/keys"));
    assert!(keys.len() >= 2, "{keys:?}");
    for key in keys {
        let good = fs::read(&key).unwrap();
        for damage in [good[..good.len() / 2].to_vec(), Vec::new()] {
            fs::write(&key, damage).unwrap();
            refuses_to_start(&daemon, &key);
        }
        fs::remove_file(&key).unwrap();
        refuses_to_start(&daemon, &key);
        fs::write(&key, good).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    }
    daemon.relaunch();
    assert_eq!(App::public(&daemon).refresh(&ALICE, &token, &[]).status, 200);
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn refuses_to_start(daemon: &Daemon, key: &std::path::Path) {
    let output = daemon.run(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{}: {said}", key.display());
    assert!(said.contains("key"), "{}: {said}", key.display());
}

/// A clock that went back by more than an hour: outstanding codes die, tokens go on.
#[test]
fn a30_clock_steps_back() {
    let mut daemon = Daemon::new();
    daemon.at(10_000);
    let login = App::public(&daemon).login(&ALICE, &[]);
    let code = App::public(&daemon).code(&ALICE, &[]);
    daemon.kill();
    daemon.at(0);
    daemon.relaunch();
    let app = App::public(&daemon);
    assert_eq!(app.redeem(&ALICE, &code, &[]).error(), "invalid_grant");
    assert_eq!(app.refresh(&ALICE, &login.member("refresh_token"), &[]).status, 200);
    assert_eq!(app.login(&ALICE, &[]).status, 200);
}

#[test]
fn a39_a_public_clients_refresh_token_stays_at_its_place() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[]).member("refresh_token");
    for elsewhere in [&BOB, &PHONE, &INTERNET, &NOBODY] {
        assert_eq!(app.refresh(elsewhere, &token, &[]).error(), "invalid_grant", "{elsewhere:?}");
    }
    let next = app.refresh(&ALICE, &token, &[]).member("refresh_token");
    for elsewhere in [&BOB, &PHONE, &INTERNET] {
        assert_eq!(app.refresh(elsewhere, &token, &[]).error(), "invalid_grant", "the grace: {elsewhere:?}");
    }
    assert_eq!(app.refresh(&ALICE, &token, &[]).member("refresh_token"), next, "the grace at its place");
    assert_eq!(app.refresh(&ALICE, &next, &[]).status, 200);
    // Redeemed outside, it works outside only.
    let code = app.code(&ALICE, &[]);
    let outside = app.redeem(&INTERNET, &code, &[]).member("refresh_token");
    assert_eq!(app.refresh(&ALICE, &outside, &[]).error(), "invalid_grant");
    assert_eq!(app.refresh(&INTERNET, &outside, &[]).status, 200);
}

#[test]
fn a43_one_kind_of_token_for_another() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let code = app.code(&ALICE, &[]);
    let login = app.login(&ALICE, &[]);
    let kinds = [code, login.member("access_token"), login.member("refresh_token"), login.member("id_token")];
    let bare: Vec<String> = kinds
        .iter()
        .map(|text| text.trim_start_matches("tsat_").trim_start_matches("tsrt_").into())
        .collect();
    for (n, text) in kinds.iter().chain(&bare).enumerate() {
        for prefix in ["", "tsat_", "tsrt_"] {
            let shown = format!("{prefix}{text}");
            if shown != kinds[0] {
                assert_eq!(
                    app.redeem(&ALICE, &shown, &[]).error(),
                    "invalid_grant",
                    "{n} {prefix} as a code"
                );
            }
            if shown != kinds[1] {
                assert_eq!(app.userinfo(&ALICE, &shown).status, 401, "{n} {prefix} as an access token");
            }
            if shown != kinds[2] {
                assert_eq!(
                    app.refresh(&ALICE, &shown, &[]).error(),
                    "invalid_grant",
                    "{n} {prefix} as a refresh token"
                );
            }
        }
    }
    // A19: shortened, lengthened, altered.
    for (name, good) in [("refresh_token", &kinds[2]), ("access_token", &kinds[1])] {
        for changed in [
            &good[..good.len() - 1],
            &format!("{good}A"),
            &format!("{good}="),
            &good.to_uppercase(),
            &good.replacen("ts", "Ts", 1),
        ] {
            let refused = match name {
                "refresh_token" => app.refresh(&ALICE, changed, &[]).error() == "invalid_grant",
                _ => app.userinfo(&ALICE, changed).status == 401,
            };
            assert!(refused, "{name}");
        }
    }
    assert_eq!(app.refresh(&ALICE, &kinds[2], &[]).status, 200);
}

/// Tokens and codes of another tsidecar, with its own keys.
#[test]
fn a43_tokens_of_another_installation() {
    let (one, mut two) = (Daemon::new(), Daemon::new());
    two.signal("TERM");
    assert!(two.ended().success());
    fs::remove_dir_all(two.path("state")).unwrap();
    two.relaunch();
    let (here, there) = (App::public(&one), App::public(&two));
    let (code, login) = (there.code(&ALICE, &[]), there.login(&ALICE, &[]));
    assert_eq!(here.redeem(&ALICE, &code, &[]).error(), "invalid_grant");
    assert_eq!(here.refresh(&ALICE, &login.member("refresh_token"), &[]).error(), "invalid_grant");
    assert_eq!(here.userinfo(&ALICE, &login.member("access_token")).error(), "invalid_token");
}

#[test]
fn a50_client_ids_that_look_like_people() {
    for id in ["userid:5", "tag:ci"] {
        let daemon = Setup::default().unready().start();
        let path = daemon.path("tsidecar.toml");
        let more = format!(
            "[[client]]\nid = \"{id}\"\nname = \"x\"\npublic = true\nredirect_uris = [\"http://127.0.0.1/\"]\n"
        );
        fs::write(&path, fs::read_to_string(&path).unwrap() + &more).unwrap();
        let output = daemon.run(&["check-config"]);
        let said = format!("{output:?}");
        assert!(!output.status.success() && said.contains(id.split(':').next().unwrap()), "{said}");
    }
    let daemon = Daemon::new();
    let request = Request::post(
        "/token",
        &[("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", "userid:1001")],
    );
    assert_eq!(daemon.send(&ALICE, request).error(), "invalid_client");
    let basic = Request::post("/token", &[("grant_type", "refresh_token"), ("refresh_token", "x")])
        .basic("userid:1001", SECRET);
    assert_eq!(daemon.send(&ALICE, basic).error(), "invalid_client");
}
