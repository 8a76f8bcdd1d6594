//! Everything reloadable as one value: clients, policy, resources, keys, and the documents made from them.
//!
//! A request takes the snapshot once; a change makes a new one and swaps it. A client in a file wins over a stored one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;
use tsidecar_oauth::client::{Client, ClientError};
use tsidecar_oauth::discovery::ProviderMetadata;
use tsidecar_oauth::grant::Holder;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::jose::{Algorithm, JoseError, SigningKeys};
use tsidecar_oauth::policy::{ClaimsPolicy, FileRule, Policy};
use tsidecar_oauth::resource::{Entry, Resources};
use tsidecar_oauth::rotation::{self, Demand, KeyRecord};
use tsidecar_oauth::seal::SealingKeys;
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::uri::Issuer;
use tsidecar_oauth::workload::{WorkloadRule, Workloads};

use crate::config::Config;
use crate::identity::{Sighting, sign_in_as};
use crate::keys::{KeyHome, KeyRing};
use crate::state::Pins;
use crate::store::StoredClient;

/// What requests decide on.
#[derive(Debug)]
pub struct Snapshot {
    /// The issuer; the same for the life of the process.
    pub issuer: Issuer,
    /// Every client that exists now, disabled ones included.
    pub clients: BTreeMap<ClientId, Arc<Client>>,
    /// Rules of the configuration, and how claims are made.
    pub policy: Policy,
    /// Configured resources.
    pub resources: Resources,
    /// Configured workloads.
    pub workloads: Workloads,
    /// What signs.
    pub signing: Arc<SigningKeys>,
    /// What seals.
    pub sealing: Arc<SealingKeys>,
    /// The documents that describe us.
    pub metadata: Metadata,
    /// What is kept of the keys beside themselves.
    pub keys: Arc<[KeyRecord]>,
    /// What clients and resources ask of the keys.
    demand: Demand,
    base: Base,
}

/// The well-known documents, made once per change.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// OpenID Connect Discovery and RFC 8414.
    pub provider: Bytes,
    /// The same for readers who came by Funnel.
    pub for_internet: Bytes,
    /// RFC 7517.
    pub jwks: Bytes,
}

/// What the next snapshot is made from, too.
#[derive(Clone, Debug)]
struct Base {
    pins: Arc<Pins>,
    config: Arc<Config>,
    /// Where clients of files stand.
    files: BTreeMap<ClientId, PathBuf>,
    /// Where the keys lie.
    key_home: Option<Arc<KeyHome>>,
    /// The right to replace the snapshot.
    changes: Arc<Mutex<()>>,
    /// What clients that registered themselves ask of the keys.
    registered: BTreeSet<Algorithm>,
}

/// Why a snapshot cannot be made; the one in use stays.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A client of a file is not valid.
    #[error("client \"{id}\": {error}")]
    Client {
        /// The client.
        id: String,
        /// What is wrong.
        error: ClientError,
    },
    /// There is no key for an algorithm that a client or resource asks for.
    #[error("{what}: {error}")]
    NoKey {
        /// The client or resource.
        what: String,
        /// Which key.
        error: JoseError,
    },
    /// A document cannot be written, which would be our own fault.
    #[error("the metadata cannot be written: {0}")]
    Metadata(#[from] serde_json::Error),
}

impl Snapshot {
    /// Makes the first snapshot of a process.
    ///
    /// # Errors
    /// [`SnapshotError`]. Stored clients that are no longer valid are left out and reported in the log instead: one of them
    /// must not keep all others out.
    pub fn build(
        config: &Arc<Config>,
        pins: Pins,
        ring: KeyRing,
        stored: &[StoredClient],
    ) -> Result<Self, SnapshotError> {
        let issuer = pins.issuer(config);
        let base = Base {
            pins: Arc::new(pins),
            config: Arc::clone(config),
            files: BTreeMap::new(),
            key_home: ring.home.clone(),
            changes: Arc::default(),
            registered: BTreeSet::new(),
        };
        Self::make(issuer, base, ring, stored)
    }

    /// Makes a snapshot from another configuration, or from other stored clients, with the same keys and issuer.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn next(&self, config: &Arc<Config>, stored: &[StoredClient]) -> Result<Self, SnapshotError> {
        let base = Base { config: Arc::clone(config), files: BTreeMap::new(), ..self.base.clone() };
        Self::make(self.issuer.clone(), base, self.ring(), stored)
    }

    fn ring(&self) -> KeyRing {
        KeyRing {
            signing: Arc::clone(&self.signing),
            sealing: Arc::clone(&self.sealing),
            records: Arc::clone(&self.keys),
            home: self.base.key_home.clone(),
        }
    }

    /// Makes a snapshot with other keys and the same configuration.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn with_keys(&self, ring: KeyRing, stored: &[StoredClient]) -> Result<Self, SnapshotError> {
        let base = Base { files: BTreeMap::new(), ..self.base.clone() };
        Self::make(self.issuer.clone(), base, ring, stored)
    }

    /// Makes a snapshot that keeps keys of these algorithms, too, for clients that registered themselves.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn with_registered(
        &self,
        algorithms: impl IntoIterator<Item = Algorithm>,
        stored: &[StoredClient],
    ) -> Result<Self, SnapshotError> {
        let registered = self.base.registered.iter().copied().chain(algorithms).collect();
        let base = Base { files: BTreeMap::new(), registered, ..self.base.clone() };
        Self::make(self.issuer.clone(), base, self.ring(), stored)
    }

    fn make(
        issuer: Issuer,
        mut base: Base,
        ring: KeyRing,
        stored: &[StoredClient],
    ) -> Result<Self, SnapshotError> {
        let config = Arc::clone(&base.config);
        let mut clients = from_store(stored, &ring.signing);
        for (spec, file) in &config.clients {
            let id = spec.id.clone();
            let ended = stored.iter().find(|client| client.id.as_str() == id);
            let not_before = ended.map_or(UnixTime::default(), |client| client.not_before);
            let client = Client::new(spec.clone(), not_before)
                .map_err(|error| SnapshotError::Client { id: id.clone(), error })?;
            has_keys(&client, &ring.signing)
                .map_err(|error| SnapshotError::NoKey { what: format!("client \"{id}\""), error })?;
            base.files.insert(client.id().clone(), file.clone());
            clients.insert(client.id().clone(), Arc::new(client));
        }
        for resource in &config.resources {
            let what = || format!("resource \"{}\"", resource.name().as_str());
            let key = ring.signing.active(resource.spec().alg);
            key.map_err(|error| SnapshotError::NoKey { what: what(), error })?;
        }
        let policy = Policy { rules: config.rules.clone(), claims: base.pins.claims(&config) };
        Ok(Self {
            metadata: metadata(&issuer, &ring.signing, &policy.claims, &config)?,
            policy,
            resources: Resources::new(config.resources.clone()),
            workloads: workloads(&config)?,
            clients,
            issuer,
            signing: ring.signing,
            sealing: ring.sealing,
            keys: ring.records,
            demand: demand(&config, stored).with_algorithms(base.registered.iter().copied()),
            base,
        })
    }

    /// The client with this id.
    pub fn client(&self, id: &str) -> Option<&Arc<Client>> {
        ClientId::parse(id).ok().and_then(|id| self.clients.get(&id))
    }

    /// Lets a tagged node sign in where a `[[rule]]` of the configuration gives it an identity; the first such rule counts.
    /// Everybody else stays as they are.
    pub fn recognise(&self, sighting: Sighting) -> Sighting {
        let Sighting::Workload(workload) = &sighting else { return sighting };
        let names = |rule: &&FileRule| {
            let ours = !workload.external || rule.rule.allow_external;
            ours && rule.tags.iter().any(|tag| workload.device.tags.contains(tag))
        };
        let identities =
            self.policy.rules.iter().filter(names).filter_map(|rule| rule.rule.tagged_identity.as_ref());
        match identities.into_iter().next() {
            Some(identity) => sign_in_as(workload, identity.clone(), self.config().identity.routers),
            None => sighting,
        }
    }

    /// As [`Self::recognise`], where the holder of a grant was seen: a workload stays a workload, whatever else its node may be.
    pub fn recognise_for(&self, holder: &Holder, sighting: Sighting) -> Sighting {
        match holder {
            Holder::Person(_) => self.recognise(sighting),
            Holder::Workload(_) | Holder::Client => sighting,
        }
    }

    /// The file in which a client stands; `None` for a stored one.
    pub fn file_of(&self, id: &ClientId) -> Option<&Path> {
        self.base.files.get(id).map(PathBuf::as_path)
    }

    /// The configuration that this snapshot was made from.
    pub const fn config(&self) -> &Arc<Config> {
        &self.base.config
    }

    /// The right to replace the snapshot of this process: hold it from reading what the change rests on until the swap.
    pub const fn changes(&self) -> &Arc<Mutex<()>> {
        &self.base.changes
    }

    /// Where the keys lie; `None` for keys that live in memory alone.
    pub const fn key_home(&self) -> Option<&Arc<KeyHome>> {
        self.base.key_home.as_ref()
    }

    /// What clients and resources ask of the keys.
    pub const fn demand(&self) -> &Demand {
        &self.demand
    }

    /// When keys are rotated, and what is asked of them.
    pub fn key_policy(&self) -> rotation::Policy {
        self.base.config.keys.policy(self.demand.clone())
    }

    /// What was pinned at the first start.
    pub fn pins(&self) -> &Pins {
        &self.base.pins
    }
}

/// What the clients and resources of a configuration, and stored clients, ask of the keys.
pub fn demand(config: &Config, stored: &[StoredClient]) -> Demand {
    let of_files = config.clients.iter().map(|(spec, _)| spec);
    let of_store = stored.iter().filter_map(|record| record.spec.as_ref());
    let always = Demand::default().with_algorithms(config.keys.algorithms.iter().copied());
    let of_documents = config.documents.pinned.values().map(|pinned| pinned.client.spec());
    let of_clients = of_files.chain(of_store).chain(of_documents).fold(always, Demand::with_client);
    config.resources.iter().map(Entry::spec).fold(of_clients, Demand::with_resource)
}

/// Tells whether everything that is signed for a client can be signed.
///
/// # Errors
/// [`JoseError::NoKey`].
pub fn has_keys(client: &Client, signing: &SigningKeys) -> Result<(), JoseError> {
    client.spec().signing_algorithms().try_for_each(|algorithm| signing.active(algorithm).map(drop))
}

fn from_store(stored: &[StoredClient], signing: &SigningKeys) -> BTreeMap<ClientId, Arc<Client>> {
    let mut clients = BTreeMap::new();
    for record in stored {
        let Some(spec) = &record.spec else { continue };
        let client = match Client::new(spec.clone(), record.not_before) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(client.id = %record.id, %error, "a stored client is not valid and is left out; remove it with `tsidecar client remove`");
                continue;
            }
        };
        if let Err(error) = has_keys(&client, signing) {
            tracing::error!(client.id = %record.id, %error, "a stored client is left out");
            continue;
        }
        clients.insert(record.id.clone(), Arc::new(client));
    }
    clients
}

fn workloads(config: &Config) -> Result<Workloads, SnapshotError> {
    let client = |rule: &WorkloadRule| match Client::of_workload(rule.clone()) {
        Ok(client) => Ok(Arc::new(client)),
        Err(error) => Err(SnapshotError::Client { id: rule.tag.clone(), error }),
    };
    Ok(Workloads::new(config.workloads.iter().map(client).collect::<Result<Vec<_>, _>>()?))
}

fn metadata(
    issuer: &Issuer,
    signing: &SigningKeys,
    claims: &ClaimsPolicy,
    config: &Config,
) -> Result<Metadata, SnapshotError> {
    let provider = ProviderMetadata::new(issuer, &signing.algorithms(), claims);
    let provider = provider.with_documents(config.documents.cimd);
    Ok(Metadata {
        provider: provider.to_json()?.into(),
        for_internet: provider.for_internet(config.registration.from).to_json()?.into(),
        jwks: serde_json::to_vec(&signing.jwks())?.into(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use tsidecar_oauth::client::ClientSpec;
    use tsidecar_oauth::jose::{Algorithm, PrivateKeyPem, SigningKey};
    use tsidecar_oauth::key::KeyState;

    use super::*;

    /// Keys that cost nothing to make: ES256 only.
    pub(crate) fn ring() -> KeyRing {
        let pem = PrivateKeyPem::generate(Algorithm::Es256).unwrap();
        let id = tsidecar_oauth::id::KeyId::parse("k1").unwrap();
        let key = SigningKey::from_pem(id, Algorithm::Es256, &pem).unwrap();
        KeyRing {
            signing: Arc::new(SigningKeys::new(vec![(key, KeyState::Active)])),
            sealing: Arc::new(SealingKeys::default()),
            records: Vec::new().into(),
            home: None,
        }
    }

    pub(crate) fn pins() -> Pins {
        Pins::first(&Config::default(), Issuer::parse("https://idp.tail.test").unwrap(), "example.com")
    }

    pub(crate) fn spec(id: &str, name: &str) -> ClientSpec {
        ClientSpec {
            id: id.into(),
            name: name.into(),
            public: true,
            redirect_uris: vec!["http://127.0.0.1/cb".into()],
            id_token_alg: Algorithm::Es256,
            ..ClientSpec::default()
        }
    }

    pub(crate) fn stored(id: &str, spec: Option<ClientSpec>, not_before: u64) -> StoredClient {
        let (id, not_before) = (ClientId::parse(id).unwrap(), UnixTime::from_secs(not_before));
        StoredClient { id, spec, not_before, changed_at: not_before }
    }

    pub(crate) fn config(clients: Vec<ClientSpec>) -> Arc<Config> {
        let clients = clients.into_iter().map(|spec| (spec, "/etc/tsidecar/tsidecar.toml".into())).collect();
        Arc::new(Config { clients, ..Config::default() })
    }

    #[test]
    fn a_client_in_a_file_wins_and_keeps_the_end_of_its_id() {
        let records = [
            stored("both", Some(spec("both", "stored")), 500),
            stored("stored", Some(spec("stored", "stored")), 0),
            stored("removed", None, 900),
            stored("bad", Some(ClientSpec { name: String::new(), ..spec("bad", "") }), 0),
            stored("rs", Some(ClientSpec { id_token_alg: Algorithm::Rs256, ..spec("rs", "rs") }), 0),
        ];
        let config = config(vec![spec("both", "file"), spec("removed", "again")]);
        let snapshot = Snapshot::build(&config, pins(), ring(), &records).unwrap();
        let ids: Vec<_> = snapshot.clients.keys().map(ClientId::as_str).collect();
        assert_eq!(ids, ["both", "removed", "stored"]);
        let client = |id| Arc::clone(snapshot.client(id).unwrap());
        assert_eq!((client("both").name(), client("both").not_before().as_secs()), ("file", 500));
        assert_eq!(client("removed").not_before().as_secs(), 900);
        assert!(snapshot.file_of(client("both").id()).is_some());
        assert!(snapshot.file_of(client("stored").id()).is_none());
        assert!(snapshot.client("userid:1").is_none());
    }

    #[test]
    fn a_rule_of_the_file_lets_a_tagged_node_sign_in() {
        use crate::identity::RefusedNode;
        use tsidecar_oauth::{
            id::DeviceId,
            identity::Device,
            rule::{Rule, TaggedIdentity},
            workload::Workload,
        };

        let kiosk = TaggedIdentity { subject: "kiosk".into(), email: None, name: Some("Kiosk".into()) };
        let rule = Rule { tagged_identity: Some(kiosk), ..Rule::default() };
        let rules = vec![FileRule { tags: vec!["tag:kiosk".into()], rule, ..FileRule::default() }];
        let config = Arc::new(Config { rules, ..Config::default() });
        let snapshot = Snapshot::build(&config, pins(), ring(), &[]).unwrap();
        let seen = |tag: &str, routes_for_others, external| {
            let device = Device {
                id: DeviceId::parse("nKIOSK").unwrap(),
                node_id: 5,
                name: "kiosk.tail.test".into(),
                key: "nodekey:00".into(),
                addresses: Vec::new(),
                tags: vec!["tag:other".into(), tag.into()],
            };
            let workload = Workload { device, rules: Vec::new(), routes_for_others, external };
            snapshot.recognise(Sighting::Workload(Arc::new(workload)))
        };
        let Sighting::Person(identity) = seen("tag:kiosk", false, false) else { panic!("a person") };
        assert_eq!((identity.subject.as_str(), identity.display_name.as_str()), ("kiosk", "Kiosk"));
        assert!(matches!(seen("tag:ci", false, false), Sighting::Workload(_)));
        assert!(matches!(seen("tag:kiosk", true, false), Sighting::Refused(RefusedNode::Router)));
        // Somebody else's tailnet has tags of its own.
        assert!(matches!(seen("tag:kiosk", false, true), Sighting::Workload(_)));
        assert!(matches!(snapshot.recognise(Sighting::Unknown), Sighting::Unknown));
    }

    #[test]
    fn a_key_that_is_not_there_is_an_error_for_a_file() {
        let config = config(vec![ClientSpec { id_token_alg: Algorithm::Rs256, ..spec("a", "A") }]);
        let error = Snapshot::build(&config, pins(), ring(), &[]).unwrap_err();
        assert_eq!(error.to_string(), "client \"a\": there is no active RS256 signing key");
    }

    #[test]
    fn documents_name_the_issuer_and_stay_across_changes() {
        let first = Snapshot::build(&config(Vec::new()), pins(), ring(), &[]).unwrap();
        let text = String::from_utf8(first.metadata.provider.to_vec()).unwrap();
        assert!(text.contains(r#""issuer":"https://idp.tail.test""#), "{text}");
        assert!(text.contains(r#""id_token_signing_alg_values_supported":["ES256"]"#), "{text}");
        let next = first.next(&config(vec![spec("a", "A")]), &[]).unwrap();
        assert!(first.client("a").is_none() && next.client("a").is_some());
        assert_eq!(first.metadata.jwks, next.metadata.jwks);
    }
}
