//! The whole way through the real hop: a browser's request, the code, tokens, userinfo.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tsidecar_server::demo::{Party, Scheme, ServeHop, Visitor};

use crate::support::{ALICE, App, BOB, Daemon, daemon::SECRET, wire::jwt};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn party(address: SocketAddr, confidential: bool) -> Party {
    let redirect_uri = if confidential { "https://app.test/callback" } else { "http://127.0.0.1:9/callback" };
    Party {
        issuer: "https://idp.tail.test".to_owned(),
        address,
        client_id: if confidential { "web" } else { "cli" }.to_owned(),
        client_secret: confidential.then(|| SECRET.to_owned()),
        redirect_uri: redirect_uri.to_owned(),
        resource: None,
    }
}

/// D4: alice and bob in turn over the same pooled connections, public and confidential.
#[test]
fn two_people_share_the_pooled_connections_of_serve() {
    let daemon = Daemon::new();
    let hop = ServeHop::new(daemon.path("serve.sock"), Scheme::Https).unwrap();
    let script = daemon.tailscaled.script();
    let doors: Vec<_> = script.peers[..2]
        .iter()
        .map(|node| (node.user.id, hop.listen(ANY, Visitor::on(node).unwrap()).unwrap()))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..4 {
            for (user, address) in &doors {
                let party = party(*address, round % 2 == 0);
                assert!(party.discover().await.unwrap() >= 2);
                let login = party.begin();
                let callback = party.visit(&login).await.unwrap();
                let tokens = party.finish(&login, &callback).await.unwrap();
                assert_eq!(tokens.claims["sub"], format!("userid:{user}"));
                party.userinfo(&tokens).await.unwrap();
                let renewed = party.refresh(&tokens).await.unwrap();
                party.userinfo(&renewed).await.unwrap();
            }
        }
    });
}

/// Ambient login: each authorization is a fresh sight of the person, at both applications.
#[test]
fn the_same_person_has_the_same_subject_everywhere() {
    let daemon = Daemon::new();
    let subject = |app: App, who| jwt(&app.login(who, &[]).member("id_token")).1["sub"].clone();
    let (public, confidential) = (App::public(&daemon), App::confidential(&daemon));
    assert_eq!(subject(public, &ALICE), subject(confidential, &ALICE));
    assert_eq!(subject(public, &ALICE), subject(public, &crate::support::tailnet::PHONE));
    assert_ne!(subject(public, &ALICE), subject(public, &BOB));
}
