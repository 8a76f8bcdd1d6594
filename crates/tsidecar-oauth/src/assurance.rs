//! What a client is worth at this authorization: whether its person must be asked, and where its code is good (design section 6).
//!
//! Layer 1. **Computed each time, never stored**: from where the client comes from, from what its metadata says now, and from who
//! asks (attacks A23, A33, A34, A38).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::client::{AuthMethod, Client, ClientKeys};
use crate::identity::Identity;
use crate::provenance::{Provenance, Registrar};
use crate::uri::{RedirectUri, origin};

/// What a client is worth to one person with one redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assurance {
    /// Somebody responsible has approved it.
    Approved,
    /// Zero clicks as well, but the code is good only on the device of this authorization, and never through Funnel: a loopback
    /// address says nothing of who listens there.
    Here,
    /// Nobody knows it: the person is asked.
    Stranger,
}

/// On what terms a client was let in, as its codes and grants carry them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The code can be redeemed only on the device of its authorization.
    pub only_here: bool,
    /// The person consented, and may withdraw that.
    pub consented: bool,
}

impl Assurance {
    /// The terms of a code under this assurance. A stranger has come so far by consent.
    pub const fn terms(self) -> Terms {
        match self {
            Self::Approved => Terms { only_here: false, consented: false },
            Self::Here => Terms { only_here: true, consented: false },
            Self::Stranger => Terms { only_here: false, consented: true },
        }
    }
}

/// A digest of what an approval or a consent is given to: everything that a client says of itself and that gives it power, or keeps
/// others from using it. That is its name, where it sends people, its keys, how it authenticates and what it must sign, and the
/// grants that it may use. Any change of these makes another digest (attack A34).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetadataDigest([u8; 32]);

impl MetadataDigest {
    /// The digest of a client as it is now.
    pub fn of(client: &Client) -> Self {
        let spec = client.spec();
        let (kind, keys) = match &spec.keys {
            ClientKeys::None => ("none", ""),
            ClientKeys::Inline(text) => ("jwks", text.as_str()),
            ClientKeys::Uri(uri) => ("jwks_uri", uri.as_str()),
        };
        let methods = AuthMethod::ALL.into_iter().filter(|method| client.accepts(*method));
        let methods = methods.map(AuthMethod::as_str).collect::<Vec<_>>().join(" ");
        let mut grant_types: Vec<_> = spec.grant_types.iter().map(|grant_type| grant_type.as_str()).collect();
        grant_types.sort_unstable();
        let mut algorithms: Vec<_> = spec.signed.assertion_algs.iter().map(|alg| alg.as_str()).collect();
        algorithms.sort_unstable();
        let flags = [
            ("par", spec.require_par),
            ("dpop", spec.require_dpop),
            ("request_object", spec.signed.require_request_object),
            ("audience", spec.signed.token_endpoint_audience),
            ("backchannel_session", spec.logout.backchannel_session_required),
        ];
        let lists = [
            vec![spec.id.as_str(), spec.name.as_str(), kind, keys, methods.as_str()],
            spec.redirect_uris.iter().map(String::as_str).collect(),
            grant_types,
            flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect(),
            algorithms,
            spec.signed.request_object_alg.iter().map(|alg| alg.as_str()).collect(),
            spec.logout.post_logout_redirect_uris.iter().map(String::as_str).collect(),
            spec.logout.backchannel_uri.as_deref().into_iter().collect(),
        ];
        let mut hash = Sha256::new();
        // Each with its length: nothing can move from one field, or one list, to the next.
        let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes();
        for list in lists {
            hash.update(length(list.len()));
            for field in list {
                hash.update(length(field.len()));
                hash.update(field.as_bytes());
            }
        }
        Self(hash.finalize().into())
    }

    /// The digest that a record holds.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest for a record.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// As an administrator reads it and gives it back: the first half of it, as 32 hexadecimal digits. Whoever writes the metadata
/// could make two that agree in a shorter piece, show one, and put the other in its place.
impl std::fmt::Display for MetadataDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().take(16).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The documents that an administrator trusts (`[clients] trusted`): whole ids, or prefixes that end in `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted(Vec<String>);

impl Trusted {
    /// The entries of the configuration, validated there.
    pub const fn new(entries: Vec<String>) -> Self {
        Self(entries)
    }

    /// Tells whether a document is trusted. Its id is an [`IdUrl`](crate::cimd::IdUrl), so no dot segment is in it.
    pub fn names(&self, id: &str) -> bool {
        self.names_whole(id) || self.0.iter().any(|entry| entry.ends_with('/') && lies_under(entry, id))
    }

    /// Tells whether the whole id of a document is written down, and not only the beginning.
    pub fn names_whole(&self, id: &str) -> bool {
        self.0.iter().any(|entry| entry == id)
    }
}

/// Whether an id lies under a prefix for every server. Escapes may be decoded twice and segments cut at a semicolon, so that what
/// begins with the prefix leads out of it: with these in the rest of its path, only the whole id can be named.
fn lies_under(prefix: &str, id: &str) -> bool {
    let path = id.strip_prefix(prefix).map(|rest| rest.split('?').next().unwrap_or_default());
    path.is_some_and(|path| !path.contains(['%', ';']))
}

/// Judges a client for one person and one (registered) redirect URI. `approval` is what an administrator approved, if anything.
pub fn assess(
    client: &Client,
    redirect_uri: &str,
    identity: &Identity,
    trusted: &Trusted,
    approval: Option<MetadataDigest>,
) -> Assurance {
    let is_approved = || approval.is_some_and(|approved| approved == MetadataDigest::of(client));
    match client.provenance() {
        Provenance::Administrator => Assurance::Approved,
        Provenance::Registered(_) | Provenance::Document if is_approved() => Assurance::Approved,
        Provenance::Document if trusted.names(client.id().as_str()) => {
            let home = origin(client.id().as_str());
            match origin(redirect_uri) {
                // The document and the place to return to are one host's (attack A38).
                Some(target) if Some(&target) == home.as_ref() => Assurance::Approved,
                _ if RedirectUri::is_loopback(redirect_uri) => Assurance::Here,
                _ => Assurance::Stranger,
            }
        }
        Provenance::Registered(registration) => match &registration.by {
            Registrar::Application(registrant) if registrant.is(identity) && only_loopback(client) => {
                Assurance::Here
            }
            Registrar::Application(_) | Registrar::Workload { .. } | Registrar::Page | Registrar::Outside => {
                Assurance::Stranger
            }
        },
        Provenance::Document => Assurance::Stranger,
    }
}

fn only_loopback(client: &Client) -> bool {
    client.redirect_uris().iter().all(|uri| RedirectUri::is_loopback(uri.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::VerifyAlgorithm;
    use crate::client::tests::public;
    use crate::client::{ClientSpec, GrantType};
    use crate::policy::tests::alice;
    use crate::provenance::{Registrant, Registration};
    use crate::settle::tests::at;
    use crate::time::UnixTime;

    const LOOPBACK: &str = "http://127.0.0.1:3000/cb";

    fn registered(redirects: &[&str], by: Registrar) -> Client {
        let redirect_uris = redirects.iter().map(|uri| (*uri).to_owned()).collect();
        let spec = ClientSpec { redirect_uris, ..public() };
        Client::registered(spec, Registration { by, at: at(1_000) }).unwrap()
    }

    fn document(id: &str, redirects: &[&str]) -> Client {
        let redirect_uris = redirects.iter().map(|uri| (*uri).to_owned()).collect();
        Client::of_document(ClientSpec { id: id.into(), redirect_uris, ..public() }, UnixTime::default())
            .unwrap()
    }

    fn judge(client: &Client, redirect_uri: &str) -> Assurance {
        let trusted = Trusted::new(vec!["https://apps.test/".into(), "https://one.test/client".into()]);
        assess(client, redirect_uri, &alice(), &trusted, None)
    }

    #[test]
    fn what_an_administrator_wrote_is_approved() {
        let client = Client::new(public(), UnixTime::default()).unwrap();
        assert_eq!(judge(&client, LOOPBACK), Assurance::Approved);
    }

    /// A33, A34: only the same person, on the same device, with nothing but loopback redirects, and no web page in between.
    #[test]
    fn ones_own_registration_needs_no_page() {
        let by = || Registrar::Application(Registrant::of(&alice()));
        assert_eq!(judge(&registered(&["http://127.0.0.1/cb"], by()), LOOPBACK), Assurance::Here);
        let mixed = registered(&["http://127.0.0.1/cb", "https://evil.test/cb"], by());
        assert_eq!(judge(&mixed, LOOPBACK), Assurance::Stranger);
        let mut other = Registrant::of(&alice());
        other.device = crate::id::DeviceId::parse("nOTHER").unwrap();
        let elsewhere = registered(&["http://127.0.0.1/cb"], Registrar::Application(other));
        assert_eq!(judge(&elsewhere, LOOPBACK), Assurance::Stranger);
        for by in [Registrar::Page, Registrar::Outside, Registrar::Workload { node: "ci".into() }] {
            assert_eq!(judge(&registered(&["http://127.0.0.1/cb"], by), LOOPBACK), Assurance::Stranger);
        }
    }

    /// A38: a tenant of a trusted host, whose redirect leads elsewhere.
    #[test]
    fn a_trusted_document_returns_to_its_own_host_or_to_this_device() {
        let client = document(
            "https://apps.test/a.json",
            &["https://apps.test/cb", "http://127.0.0.1/cb", "https://x.test/"],
        );
        assert_eq!(judge(&client, "https://apps.test/cb"), Assurance::Approved);
        assert_eq!(judge(&client, LOOPBACK), Assurance::Here);
        assert_eq!(judge(&client, "https://x.test/"), Assurance::Stranger);
        for (id, redirect) in [
            ("https://apps.test.evil.test/a", "https://apps.test.evil.test/cb"),
            ("https://one.test/client2", "https://one.test/cb"),
            ("https://apps.test:8443/a", "https://apps.test:8443/cb"),
        ] {
            assert_eq!(judge(&document(id, &[redirect]), redirect), Assurance::Stranger, "{id}");
        }
        let port = document("https://apps.test/a", &["https://apps.test:8443/cb"]);
        assert_eq!(judge(&port, "https://apps.test:8443/cb"), Assurance::Stranger);
    }

    /// A38: another tenant of the host, whose document lies outside the prefix for those servers that decode a path before they
    /// read it (nginx `%2f`), take a backslash for a slash (IIS) or cut segments at a semicolon (Tomcat).
    #[test]
    fn a_prefix_names_nothing_that_a_server_may_read_as_outside() {
        let trusted = Trusted::new(vec!["https://h.test/team-a/".into(), "https://h.test/one;v=%41".into()]);
        for id in [
            "https://h.test/team-a/c.json",
            "https://h.test/team-a/b/c.json?of=%2f;",
            "https://h.test/one;v=%41",
        ] {
            assert!(trusted.names(id), "{id}");
        }
        for id in [
            "https://h.test/team-a/..%2fteam-b/c.json",
            "https://h.test/team-a/..%5Cteam-b/c.json",
            "https://h.test/team-a/..;/team-b/c.json",
            "https://h.test/team-a/..%252fteam-b/c.json",
            "https://h.test/team-a/..%3b/team-b/c.json",
            "https://h.test/team-a/;/c.json",
            "https://h.test/one;v=%41/c.json",
            "https://h.test/team-b/c.json",
        ] {
            assert!(!trusted.names(id), "{id}");
        }
    }

    /// A34: an approval is of what was seen; any change ends it.
    #[test]
    fn an_approval_binds_what_was_approved() {
        let client = registered(&["https://app.test/cb"], Registrar::Page);
        let approved = MetadataDigest::of(&client);
        let judge = |client: &Client| {
            assess(client, "https://app.test/cb", &alice(), &Trusted::default(), Some(approved))
        };
        assert_eq!(judge(&client), Assurance::Approved);
        let change = |change: fn(&mut ClientSpec)| {
            let mut spec = client.spec().clone();
            change(&mut spec);
            let registration = Registration { by: Registrar::Page, at: at(1_000) };
            Client::registered(spec, registration).unwrap()
        };
        for (what, other) in [
            ("name", change(|spec| spec.name = "Other".into())),
            ("redirect", change(|spec| spec.redirect_uris.push("https://evil.test/cb".into()))),
            ("keys", change(|spec| spec.keys = ClientKeys::Uri("https://app.test/jwks".into()))),
            (
                "method",
                change(|spec| {
                    spec.public = false;
                    spec.secrets = vec![crate::secret::ClientSecret::new("s".repeat(40)).digest()];
                }),
            ),
            // A device code needs no redirect URI at all.
            ("grant types", change(|spec| spec.grant_types.push(GrantType::DeviceCode))),
            ("pushed requests", change(|spec| spec.require_par = true)),
            ("DPoP", change(|spec| spec.require_dpop = true)),
            ("assertions", change(|spec| spec.signed.assertion_algs = vec![VerifyAlgorithm::Rs256])),
            ("request objects", change(|spec| spec.signed.request_object_alg = Some(VerifyAlgorithm::Rs256))),
            (
                "after logout",
                change(|spec| spec.logout.post_logout_redirect_uris = vec!["https://evil.test/".into()]),
            ),
        ] {
            assert_eq!(judge(&other), Assurance::Stranger, "{what}");
        }
        let shown = approved.to_string();
        assert!(shown.len() == 32 && shown.bytes().all(|byte| byte.is_ascii_hexdigit()), "{shown}");
        let reordered = change(|spec| spec.grant_types.reverse());
        assert_eq!(judge(&reordered), Assurance::Approved, "an order says nothing");
    }
}
