//! Clients that nobody has approved, and people who are asked about them.

use std::time::SystemTime;

use tsidecar_oauth::client::ClientSpec;
use tsidecar_oauth::id::{ClientId, DeviceId, Subject};
use tsidecar_oauth::provenance::{Registrant, Registrar, Registration};
use tsidecar_oauth::secret::ClientSecret;
use tsidecar_oauth::time::{Lifetime, UnixTime};
use tsidecar_server::store::RegisteredClient;

use super::visitor::{ORIGIN, Visitor, form_token};
use super::{Reply, Request, wire::form};

/// A program on alice's laptop.
pub(crate) fn on_laptop() -> Registrar {
    program(1001, "alice@example.com", "nALICELAPTOPCNTRL", "alice-laptop.tail.test")
}

/// A program on bob's machine.
pub(crate) fn at_bobs() -> Registrar {
    program(1002, "bob@github", "nBOBDESKCNTRL", "bob-desk.tail.test")
}

fn program(user: i64, login: &str, device: &str, name: &str) -> Registrar {
    Registrar::Application(Registrant {
        subject: Subject::user(user),
        login: login.to_owned(),
        device: DeviceId::parse(device).unwrap(),
        device_name: name.to_owned(),
    })
}

/// A public client that registered itself three minutes ago.
pub(crate) fn registered(id: &str, name: &str, redirects: &[&str], by: Registrar) -> RegisteredClient {
    let spec = ClientSpec {
        id: id.to_owned(),
        name: name.to_owned(),
        public: true,
        redirect_uris: redirects.iter().map(|uri| (*uri).to_owned()).collect(),
        ..ClientSpec::default()
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = UnixTime::from_secs(now.as_secs() - 190);
    RegisteredClient {
        id: ClientId::parse(id).unwrap(),
        spec,
        registration: Registration { by, at },
        token: ClientSecret::new("t".repeat(43)).digest(),
        used_at: at,
        keep_for: Lifetime::from_days(90),
        metadata: "{}".to_owned(),
    }
}

/// What a browser sends when *Allow* or *Deny* is pressed.
pub(crate) fn consent(token: &str, decision: &str) -> Request {
    own("/authorize/consent", &[("form", token), ("decision", decision)])
}

/// A form of a page of ours, as Chromium sends it.
pub(crate) fn own(path: &str, pairs: &[(&str, &str)]) -> Request {
    let mut request = Request::new("POST", path)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Origin", ORIGIN)
        .header("Sec-Fetch-Site", "same-origin")
        .header("Sec-Fetch-Mode", "navigate")
        .header("Sec-Fetch-Dest", "document");
    request.body = form(pairs).into_bytes();
    request
}

impl Visitor<'_> {
    /// Presses *Allow* or *Deny* on a page that must be there.
    #[track_caller]
    pub(crate) fn decide(&mut self, page: &Reply, decision: &str) -> Reply {
        assert!(asks(page), "no page that asks for consent: {}", page.show());
        self.send(consent(&form_token(page), decision))
    }

    /// Visits `/authorize` and presses *Allow* on the page that must come.
    #[track_caller]
    pub(crate) fn allow(&mut self, changes: &super::Pairs) -> Reply {
        let page = self.authorize(changes);
        self.decide(&page, "allow")
    }
}

/// Tells whether a page asks for consent.
pub(crate) fn asks(page: &Reply) -> bool {
    page.status == 200 && page.text().contains("action=\"/authorize/consent\"")
}
