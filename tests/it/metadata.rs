//! What the metadata lists is what the server does: each entry is tried at the running server, and one that is not listed is
//! refused. A new entry without a trial of its own fails. That each endpoint is named is a test of the router; logout tokens and
//! their sessions are tried in `backchannel.rs`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tsidecar_oauth::jose::{ClientKey, VerifyAlgorithm};

use crate::cimd::Publisher;
use crate::device;
use crate::private_key_jwt::{Signer, TYPE};
use crate::support::{
    ALICE, App, Daemon, Reply, Request, Setup,
    daemon::{SECRET, secret_digest},
    proof::Prover,
    wire::{form, jwt},
};

const ISSUER: &str = "https://idp.tail.test";

fn metadata(daemon: &Daemon) -> Value {
    daemon.send(&ALICE, Request::get("/.well-known/openid-configuration")).json()
}

/// The entries of a list.
#[track_caller]
fn listed(metadata: &Value, name: &str) -> Vec<String> {
    let entries = metadata[name].as_array().unwrap_or_else(|| panic!("no {name}"));
    entries.iter().map(|entry| entry.as_str().unwrap().to_owned()).collect()
}

/// Tries each entry of a list, and some that are not in it.
#[track_caller]
fn each(metadata: &Value, name: &str, others: &[&str], accepted: impl Fn(&str) -> bool) {
    let entries = listed(metadata, name);
    for entry in &entries {
        assert!(accepted(entry), "{name} lists {entry}");
    }
    for other in others {
        assert!(!entries.iter().any(|entry| entry == other) && !accepted(other), "{name}: {other}");
    }
}

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A service that asks for itself, and for those who call it.
fn machine() -> String {
    let resource = |uri: &str, clients: &str| {
        format!(
            "[[resource]]\nuri = \"{uri}\"\nscopes = [\"read\"]\nclients = [\"{clients}\"]\nservers = [\"machine\"]\n"
        )
    };
    format!(
        "[[client]]\nid = \"machine\"\nname = \"Machine\"\nsecret_sha256 = \"{}\"\n\
         grant_types = [\"client_credentials\", \"{EXCHANGE}\"]\n{}{}",
        secret_digest(),
        resource("https://machine.test", "cli"),
        resource("https://next.test", "machine")
    )
}

#[test]
fn requests_and_grants() {
    let daemon = device::setup().tables(&machine()).start();
    let (metadata, app) = (metadata(&daemon), App::confidential(&daemon));
    let of_machine = |pairs: &[(&str, &str)]| {
        let reply = daemon.send(&ALICE, Request::post("/token", pairs).basic("machine", SECRET));
        assert_eq!(reply.status, 200, "{}", reply.show());
        true
    };
    let has_code = |reply: &Reply| reply.redirect("code").is_some();
    each(&metadata, "response_types_supported", &["token", "id_token", "code id_token", "none"], |entry| {
        has_code(&app.authorize(&ALICE, &[("response_type", entry)]))
    });
    each(&metadata, "response_modes_supported", &["fragment", "jwt", "web_message"], |entry| {
        let reply = app.authorize(&ALICE, &[("response_mode", entry)]);
        has_code(&reply) || (entry == "form_post" && reply.text().contains("name=\"code\""))
    });
    each(&metadata, "code_challenge_methods_supported", &["plain", "S512", ""], |entry| {
        has_code(&app.authorize(&ALICE, &[("code_challenge_method", entry)]))
    });
    each(&metadata, "scopes_supported", &["phone", "address"], |entry| {
        app.login(&ALICE, &[("scope", entry)]).member("scope") == entry
    });
    let others = ["password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer"];
    each(&metadata, "grant_types_supported", &others, |entry| match entry {
        "authorization_code" => app.login(&ALICE, &[]).status == 200,
        "refresh_token" => {
            let token = app.login(&ALICE, &[]).member("refresh_token");
            app.refresh(&ALICE, &token, &[]).status == 200
        }
        device::GRANT => {
            let begun = device::begin_tv(&daemon, &ALICE);
            device::poll(&daemon, &ALICE, &begun.device_code).error() == "authorization_pending"
        }
        "client_credentials" => of_machine(&[("grant_type", entry), ("resource", "https://next.test")]),
        EXCHANGE => {
            let changes = [("resource", "https://machine.test"), ("scope", "read")];
            let token = App::public(&daemon).login(&ALICE, &changes).member("access_token");
            of_machine(&[
                ("grant_type", entry),
                ("subject_token", &token),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("resource", "https://next.test"),
            ])
        }
        _ => {
            let reply = daemon.send(&ALICE, app.token_request(&[("grant_type", entry)], &[]));
            assert_eq!(reply.error(), "unsupported_grant_type");
            false
        }
    });
}

/// `acr_values` are a wish (OpenID Connect Core §3.1.2.1): what is not listed is never what the ID token says.
#[test]
fn acr_subjects_and_switches() {
    let daemon = Daemon::new();
    let (metadata, app) = (metadata(&daemon), App::confidential(&daemon));
    each(&metadata, "acr_values_supported", &["urn:mace:incommon:iap:silver", "0"], |entry| {
        let reply = app.authorize(&ALICE, &[("acr_values", entry)]);
        match reply.redirect("code") {
            Some(code) => jwt(&app.redeem(&ALICE, &code, &[]).member("id_token")).1["acr"] == entry,
            // A person must confirm: it/confirm_page.rs presses the button.
            None => reply.status == 200 && entry.ends_with(":confirmed"),
        }
    });
    let login = app.login(&ALICE, &[("scope", "openid"), ("claims", r#"{"userinfo":{"email":null}}"#)]);
    let subject = |login: &Reply| jwt(&login.member("id_token")).1["sub"].clone();
    let is_same = subject(&login) == subject(&App::public(&daemon).login(&ALICE, &[]));
    assert_eq!(
        metadata["subject_types_supported"],
        if is_same { json!(["public"]) } else { json!(["pairwise"]) }
    );
    let email = app.userinfo(&ALICE, &login.member("access_token")).json().get("email").is_some();
    assert_eq!(metadata["claims_parameter_supported"], email);
    let answered = app.authorize(&ALICE, &[]);
    let iss = answered.redirect("iss").as_deref() == Some(ISSUER);
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], iss);
    let needs_push = answered.redirect("code").is_none();
    assert_eq!(metadata["require_pushed_authorization_requests"], needs_push);
    let by_name = app.authorize(&ALICE, &[("request_uri", "https://app.test/request.jwt")]);
    let fetches = by_name.redirect("error").as_deref() != Some("request_uri_not_supported");
    assert_eq!(metadata["request_uri_parameter_supported"], fetches);
}

/// Whether a client may be known by its document: on, and switched off.
#[test]
fn documents_of_clients() {
    let publisher = Publisher::new();
    for (setup, supported) in [(publisher.setup(), true), (publisher.setup_with("cimd = false"), false)] {
        let daemon = setup.start();
        let signs_in = publisher.app(&daemon).authorize(&ALICE, &[]).redirect("code").is_some();
        assert_eq!(signs_in, supported);
        assert_eq!(metadata(&daemon)["client_id_metadata_document_supported"], supported);
    }
}

/// A request that shows nothing of use: whether it is refused with 401 shows whether the client was believed.
fn shown(path: &str, pairs: &[(&str, &str)]) -> Request {
    let base = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("token", "x")];
    let base = if path == "/token" { &base[..2] } else { &base[2..] };
    Request::post(path, &[base, pairs].concat())
}

const ENDPOINTS: [(&str, &str); 3] =
    [("/token", "token"), ("/introspect", "introspection"), ("/revoke", "revocation")];

#[test]
fn methods_of_authentication() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon = signer.register(Setup::default(), "").start();
    let metadata = metadata(&daemon);
    let all = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none", "client_secret_jwt"];
    for (path, name) in ENDPOINTS {
        let name = format!("{name}_endpoint_auth_methods_supported");
        let others: Vec<_> = all
            .into_iter()
            .filter(|method| !listed(&metadata, &name).iter().any(|known| known == method))
            .collect();
        each(&metadata, &name, &others, |method| {
            let (id, assertion) = (signer.id, signer.assertion(&format!("{name} {method}")));
            let request = match method {
                "client_secret_basic" => shown(path, &[]).basic("web", SECRET),
                "client_secret_post" => shown(path, &[("client_id", "web"), ("client_secret", SECRET)]),
                "none" => shown(path, &[("client_id", "cli")]),
                "private_key_jwt" => shown(
                    path,
                    &[("client_id", id), ("client_assertion_type", TYPE), ("client_assertion", &assertion)],
                ),
                "client_secret_jwt" => {
                    let header = json!({ "alg": "HS256" });
                    let assertion = signer.sign(&header, &signer.claims("by a secret"));
                    shown(
                        path,
                        &[
                            ("client_id", id),
                            ("client_assertion_type", TYPE),
                            ("client_assertion", &assertion),
                        ],
                    )
                }
                other => panic!("no trial for {other}"),
            };
            daemon.send(&ALICE, request).status != 401
        });
    }
}

const SIGNERS: [&str; 4] = ["rs", "ps", "es", "ed"];

#[test]
fn algorithms_of_clients() {
    let signers: Vec<_> =
        SIGNERS.into_iter().zip(VerifyAlgorithm::ALL).map(|(id, alg)| Signer::new(id, alg)).collect();
    let daemon = signers.iter().fold(Setup::default(), |setup, signer| signer.register(setup, "")).start();
    let metadata = metadata(&daemon);
    // An algorithm that is none of ours is written over a good signature.
    let of = |alg: &str| {
        let algorithm = VerifyAlgorithm::parse(alg).unwrap_or(VerifyAlgorithm::Rs256);
        signers.iter().find(|signer| signer.key.algorithm() == algorithm).unwrap()
    };
    let others = ["none", "HS256", "RS384", "RS512", "ES384", "ES256K"];
    for (path, name) in ENDPOINTS {
        let name = format!("{name}_endpoint_auth_signing_alg_values_supported");
        each(&metadata, &name, &others, |alg| {
            let signer = of(alg);
            let header = json!({ "alg": alg, "kid": "k1" });
            let assertion = signer.sign(&header, &signer.claims(&format!("{name} {alg}")));
            let pairs =
                [("client_id", signer.id), ("client_assertion_type", TYPE), ("client_assertion", &assertion)];
            daemon.send(&ALICE, shown(path, &pairs)).status != 401
        });
    }
    each(&metadata, "request_object_signing_alg_values_supported", &others, |alg| {
        let signer = of(alg);
        let object = signer.sign(&json!({ "alg": alg, "kid": "k1" }), &signer.request(&json!({})));
        let query = form(&[("client_id", signer.id), ("request", &object)]);
        daemon.send(&ALICE, Request::get(&format!("/authorize?{query}"))).redirect("code").is_some()
    });
    assert_eq!(metadata["request_parameter_supported"], true);
    let app = App::public(&daemon);
    each(&metadata, "dpop_signing_alg_values_supported", &others, |alg| {
        let key = Prover(ClientKey::generate(of(alg).key.algorithm()).unwrap());
        let proof = key.proof_with("POST", "/token", &json!({ "alg": alg }), &json!({}));
        let code = app.code(&ALICE, &[]);
        let reply = daemon.send(&ALICE, app.redemption(&code, &[]).header("DPoP", &proof));
        reply.status == 200 && reply.member("token_type") == "DPoP"
    });
}

/// Every algorithm that the metadata says we sign with, for a client that asks for it; and no other one can be asked for.
#[test]
fn algorithms_of_ours() {
    let tables = ["RS256", "ES256", "EdDSA"].map(|alg| {
        format!(
            "[[client]]\nid = \"{alg}\"\npublic = true\nredirect_uris = [\"http://127.0.0.1/callback\"]\n\
             id_token_signed_response_alg = \"{alg}\"\nuserinfo_signed_response_alg = \"{alg}\""
        )
    });
    let daemon = Setup::default().tables(&tables.join("\n")).start();
    let metadata = metadata(&daemon);
    let ids = ["RS256", "ES256", "EdDSA", "PS256", "HS256", "none"];
    let login = |alg: &str| {
        let id = *ids.iter().find(|id| **id == alg).unwrap_or_else(|| panic!("no trial for {alg}"));
        let app = App { id, ..App::public(&daemon) };
        app.authorize(&ALICE, &[]).redirect("code").map(|code| (app, app.redeem(&ALICE, &code, &[])))
    };
    let others = ["PS256", "HS256", "none"];
    each(&metadata, "id_token_signing_alg_values_supported", &others, |alg| {
        login(alg).is_some_and(|(_, login)| jwt(&login.member("id_token")).0["alg"] == alg)
    });
    each(&metadata, "userinfo_signing_alg_values_supported", &others, |alg| {
        login(alg).is_some_and(|(app, login)| {
            let userinfo = app.userinfo(&ALICE, &login.member("access_token"));
            jwt(&userinfo.text()).0["alg"] == alg
        })
    });
    for alg in others {
        for option in ["--id-token-alg", "--userinfo-alg"] {
            let added = daemon.run(&[
                "client",
                "add",
                "--public",
                "--redirect-uri",
                "http://127.0.0.1/callback",
                option,
                alg,
            ]);
            assert!(!added.status.success(), "{option} {alg}");
        }
    }
}

/// Claims of ID tokens and userinfo are listed, all but those of capability rules; and everything listed is issued.
#[test]
fn claims() {
    // Sessions have a sid.
    let client = "[[client]]\nid = \"seated\"\nname = \"Seated\"\npublic = true\nlogin = \"session\"\n\
                  redirect_uris = [\"http://127.0.0.1/callback\"]";
    for (tables, more) in [("", 0), ("[compat]\ntsidp_claims = true", 7)] {
        let daemon = Setup::default().tables(client).tables(tables).start();
        let (metadata, app) = (metadata(&daemon), App { id: "seated", ..App::public(&daemon) });
        let login = app.login(&ALICE, &[]);
        let userinfo = app.userinfo(&ALICE, &login.member("access_token")).json();
        let id_token = jwt(&login.member("id_token")).1;
        let issued: BTreeSet<String> = [id_token, userinfo]
            .iter()
            .flat_map(|claims| claims.as_object().unwrap().keys().cloned())
            .filter(|name| name != "team")
            .collect();
        let names = listed(&metadata, "claims_supported");
        assert_eq!(names.len(), 17 + more);
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), issued, "{tables}");
    }
}
