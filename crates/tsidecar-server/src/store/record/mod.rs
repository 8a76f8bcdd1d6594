//! How records look as bytes: a version byte, then `postcard` of a private struct per version.
//!
//! A new version gets a new struct and a new arm; records of older versions are upgraded when they are read and written
//! in the newest form with their next change. Decoding never panics, reads every byte or fails, and an unreadable record
//! is an error, never "not found". Enums of the core stand here as numbers of our own: reordering one there changes
//! nothing here.

mod client;
mod device;
pub(super) mod number;

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tsidecar_oauth::grant::{
    Actor, Exchange, Generation, Grant, GrantFacts, GrantState, Holder, Place, Seen,
};
use tsidecar_oauth::id::{ClientId, DeviceId, GrantId, Listener, SessionId, Subject, Thumbprint};
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::seal::CodeEpoch;
use tsidecar_oauth::time::{Lifetime, UnixTime};
use tsidecar_oauth::uri::ResourceIndicator;

pub(super) use self::client::{SpecV1, decode_client, encode_client, spec_of};
pub(super) use self::device::DeviceV1;
use self::number::{acr, acr_number, method, method_number, requested};
use super::StoreError;

/// The most bytes that a record may have: values that sled moves to its blob files are never synced (attacks.md 6.3).
pub const LONGEST_RECORD: usize = 7 * 1024;

/// The key of the one meta record.
pub(super) const META_KEY: &[u8] = b"meta";

/// The first and only version so far.
const V1: u8 = 1;

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No byte at all.
    #[error("it is empty")]
    Empty,
    /// Written by a newer tsidecar, or garbage.
    #[error("it has the unknown version {0}")]
    Version(u8),
    /// The bytes are not those of a record of its version.
    #[error("its content cannot be read")]
    Content,
    /// A number stands for nothing.
    #[error("its field {0} has an unknown value")]
    Value(&'static str),
    /// Bytes after the end.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// A key that no record of its kind can have.
    #[error("its key is malformed")]
    Key,
}

/// What the store remembers of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The highest time that a change carried.
    pub(super) highest: UnixTime,
    /// The number of the current code key.
    pub(super) epoch: CodeEpoch,
    /// Counts the writes of this record, so that a database that lost its newest part can be told from a whole one.
    pub(super) serial: u64,
}

#[derive(Serialize, Deserialize)]
struct GrantV1<'a> {
    client: Cow<'a, ClientId>,
    subject: Cow<'a, Subject>,
    holder: HolderV1<'a>,
    consented: bool,
    exchange: Option<ExchangeV1<'a>>,
    scope: Cow<'a, Scope>,
    resources: Cow<'a, [ResourceIndicator]>,
    auth_time: UnixTime,
    acr: u8,
    session: Option<SessionId>,
    requested: [u16; 2],
    key: Option<Thumbprint>,
    issued_at: UnixTime,
    method: u8,
    place: PlaceV1<'a>,
    expires_at: UnixTime,
    idle: Option<Lifetime>,
    generation: u32,
    rotated_at: UnixTime,
    last_used: UnixTime,
    revoked_at: Option<UnixTime>,
}

#[derive(Serialize, Deserialize)]
enum HolderV1<'a> {
    Person(SeenV1<'a>),
    Workload(SeenV1<'a>),
    Client,
}

#[derive(Serialize, Deserialize)]
struct SeenV1<'a> {
    device: Cow<'a, DeviceId>,
    address: IpAddr,
    listener: Cow<'a, Listener>,
}

#[derive(Serialize, Deserialize)]
struct ExchangeV1<'a> {
    parent: GrantId,
    actors: Cow<'a, [Actor]>,
}

impl<'a> HolderV1<'a> {
    fn of(holder: &'a Holder) -> Self {
        let seen = |seen: &'a Seen| SeenV1 {
            device: Cow::Borrowed(&seen.device),
            address: seen.address,
            listener: Cow::Borrowed(&seen.listener),
        };
        match holder {
            Holder::Person(place) => Self::Person(seen(place)),
            Holder::Workload(place) => Self::Workload(seen(place)),
            Holder::Client => Self::Client,
        }
    }
}

impl From<HolderV1<'_>> for Holder {
    fn from(holder: HolderV1<'_>) -> Self {
        let seen = |seen: SeenV1<'_>| Seen {
            device: seen.device.into_owned(),
            address: seen.address,
            listener: seen.listener.into_owned(),
        };
        match holder {
            HolderV1::Person(place) => Self::Person(seen(place)),
            HolderV1::Workload(place) => Self::Workload(seen(place)),
            HolderV1::Client => Self::Client,
        }
    }
}

#[derive(Serialize, Deserialize)]
enum PlaceV1<'a> {
    Unbound,
    Outside,
    Device(Cow<'a, DeviceId>),
    Page(Cow<'a, DeviceId>),
}

impl<'a> PlaceV1<'a> {
    fn of(place: Option<&'a Place>) -> Self {
        match place {
            None => Self::Unbound,
            Some(Place::Outside) => Self::Outside,
            Some(Place::Device(device)) => Self::Device(Cow::Borrowed(device)),
            Some(Place::Page(device)) => Self::Page(Cow::Borrowed(device)),
        }
    }
}

impl From<PlaceV1<'_>> for Option<Place> {
    fn from(place: PlaceV1<'_>) -> Self {
        match place {
            PlaceV1::Unbound => None,
            PlaceV1::Outside => Some(Place::Outside),
            PlaceV1::Device(device) => Some(Place::Device(device.into_owned())),
            PlaceV1::Page(device) => Some(Place::Page(device.into_owned())),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct MetaV1 {
    highest: UnixTime,
    epoch: u32,
    serial: u64,
}

/// The bytes of a grant; its id is the key, not part of them.
///
/// # Errors
/// [`StoreError::TooLarge`].
pub(super) fn encode_grant(grant: &Grant) -> Result<Vec<u8>, StoreError> {
    let (facts, state) = (grant.facts(), grant.state());
    encode(&GrantV1 {
        client: Cow::Borrowed(&facts.client),
        subject: Cow::Borrowed(&facts.subject),
        holder: HolderV1::of(&facts.holder),
        consented: facts.consented,
        exchange: facts
            .exchange
            .as_ref()
            .map(|exchange| ExchangeV1 { parent: exchange.parent, actors: Cow::Borrowed(&exchange.actors) }),
        scope: Cow::Borrowed(&facts.scope),
        resources: Cow::Borrowed(&facts.resources),
        auth_time: facts.auth_time,
        acr: acr_number(facts.acr),
        session: facts.session,
        requested: [facts.requested.id_token.bits(), facts.requested.userinfo.bits()],
        key: facts.key,
        issued_at: facts.issued_at,
        method: method_number(facts.method),
        place: PlaceV1::of(facts.place.as_ref()),
        expires_at: facts.expires_at,
        idle: facts.idle,
        generation: state.generation.number(),
        rotated_at: state.rotated_at,
        last_used: state.last_used,
        revoked_at: state.revoked_at,
    })
}

/// Reads a grant back.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn decode_grant(id: GrantId, bytes: &[u8]) -> Result<Grant, DecodeError> {
    let v1: GrantV1<'_> = match split(bytes)? {
        (V1, content) => content_of(content)?,
        (version, _) => return Err(DecodeError::Version(version)),
    };
    let facts = GrantFacts {
        client: v1.client.into_owned(),
        subject: v1.subject.into_owned(),
        holder: v1.holder.into(),
        consented: v1.consented,
        exchange: v1.exchange.map(|v1| Exchange { parent: v1.parent, actors: v1.actors.into_owned() }),
        scope: v1.scope.into_owned(),
        resources: v1.resources.into_owned(),
        auth_time: v1.auth_time,
        acr: acr(v1.acr)?,
        session: v1.session,
        requested: requested(v1.requested),
        key: v1.key,
        issued_at: v1.issued_at,
        method: method(v1.method)?,
        place: v1.place.into(),
        expires_at: v1.expires_at,
        idle: v1.idle,
    };
    let state = GrantState {
        generation: Generation::from_number(v1.generation),
        rotated_at: v1.rotated_at,
        last_used: v1.last_used,
        revoked_at: v1.revoked_at,
    };
    Ok(Grant::from_stored(id, facts, state))
}

/// The bytes of the meta record.
///
/// # Errors
/// None that can happen: the record has at most 27 bytes.
pub(super) fn encode_meta(meta: Meta) -> Result<Vec<u8>, StoreError> {
    encode(&MetaV1 { highest: meta.highest, epoch: meta.epoch.0, serial: meta.serial })
}

/// Reads the meta record back.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn decode_meta(bytes: &[u8]) -> Result<Meta, DecodeError> {
    let v1: MetaV1 = match split(bytes)? {
        (V1, content) => content_of(content)?,
        (version, _) => return Err(DecodeError::Version(version)),
    };
    Ok(Meta { highest: v1.highest, epoch: CodeEpoch(v1.epoch), serial: v1.serial })
}

/// Tells whether bytes that any record can be read from say the same once they are written again; bytes that no record can
/// be read from do. For the fuzz target: decoding never panics, and nothing is lost in an upgrade.
pub fn survives(bytes: &[u8]) -> bool {
    let id = GrantId::from_bytes([7; 24]);
    let grant = decode_grant(id, bytes)
        .is_ok_and(|grant| encode_grant(&grant).is_ok_and(|again| decode_grant(id, &again) != Ok(grant)));
    let client = ClientId::parse("fuzz").is_ok_and(|id| {
        decode_client(id.clone(), bytes).is_ok_and(|client| {
            let shown = format!("{client:?}");
            let again = encode_client(&client).map(|again| decode_client(id, &again));
            again.is_ok_and(|again| !again.is_ok_and(|again| format!("{again:?}") == shown))
        })
    });
    let meta = decode_meta(bytes).is_ok_and(|meta| {
        encode_meta(meta).is_ok_and(|again| !decode_meta(&again).is_ok_and(|again| again == meta))
    });
    !(grant || client || meta)
        && device::survives(bytes)
        && super::pushed::survives(bytes)
        && super::jobs::survives(bytes)
        && super::registered::survives(bytes)
        && super::consents::survives(bytes)
}

/// The bytes of a record that is kept for some time: version, the end of that time as eight bytes, content.
///
/// # Errors
/// [`StoreError::TooLarge`].
pub(super) fn encode_kept<T: Serialize>(until: UnixTime, content: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(V1);
    bytes.extend_from_slice(&until.as_secs().to_be_bytes());
    let bytes =
        postcard::to_extend(content, bytes).map_err(|_| StoreError::TooLarge { bytes: usize::MAX })?;
    if bytes.len() > LONGEST_RECORD {
        return Err(StoreError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Reads the end of the time and the content of such a record.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn decode_kept<T: DeserializeOwned>(bytes: &[u8]) -> Result<(UnixTime, T), DecodeError> {
    let (until, content) = split_kept(bytes)?;
    Ok((until, content_of(content)?))
}

/// As [`decode_kept`], for a content that borrows from the bytes.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn decode_kept_borrowed<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
) -> Result<(UnixTime, T), DecodeError> {
    let (until, content) = split_kept(bytes)?;
    Ok((until, content_of(content)?))
}

/// The end of the time of such a record.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn end_of_kept(bytes: &[u8]) -> Result<UnixTime, DecodeError> {
    split_kept(bytes).map(|(until, _)| until)
}

fn split_kept(bytes: &[u8]) -> Result<(UnixTime, &[u8]), DecodeError> {
    match split(bytes)? {
        (V1, content) => {
            let (until, content) = content.split_first_chunk().ok_or(DecodeError::Content)?;
            Ok((UnixTime::from_secs(u64::from_be_bytes(*until)), content))
        }
        (version, _) => Err(DecodeError::Version(version)),
    }
}

fn encode<T: Serialize>(content: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(V1);
    // Serialising our own structs into memory cannot fail; if it ever does, the record is refused, not written in part.
    let bytes =
        postcard::to_extend(content, bytes).map_err(|_| StoreError::TooLarge { bytes: usize::MAX })?;
    if bytes.len() > LONGEST_RECORD {
        return Err(StoreError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

fn split(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    bytes.split_first().map(|(version, content)| (*version, content)).ok_or(DecodeError::Empty)
}

fn content_of<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Result<T, DecodeError> {
    let (value, rest) = postcard::take_from_bytes(content).map_err(|_| DecodeError::Content)?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use tsidecar_oauth::acr::Acr;
    use tsidecar_oauth::algorithm::VerifyAlgorithm;
    use tsidecar_oauth::client::{
        AuthMethod, ClientKeys, ClientSpec, GrantType, Lives, Login, LogoutSpec, PkceRule, SignedRequests,
    };
    use tsidecar_oauth::fresh::FreshId;
    use tsidecar_oauth::jose::Algorithm;
    use tsidecar_oauth::policy::Access;
    use tsidecar_oauth::requested::{ClaimSet, RequestedClaims};
    use tsidecar_oauth::secret::SecretDigest;

    use super::number::{algorithm, grant_type, pkce};
    use super::*;
    use crate::store::StoredClient;

    fn id() -> GrantId {
        GrantId::new(&Subject::user(1), FreshId::from_bytes([9; 16]))
    }

    fn times() -> impl Strategy<Value = UnixTime> {
        prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 1_700_000_000..1_900_000_000u64]
            .prop_map(UnixTime::from_secs)
    }

    #[expect(clippy::too_many_lines, reason = "one line a field")]
    fn facts() -> impl Strategy<Value = GrantFacts> {
        let names = ("[ -~]{1,40}", any::<i64>(), "[ -~]{1,128}", "svc:[a-z]{1,20}");
        let places = prop_oneof![
            Just(None),
            Just(Some(Place::Outside)),
            "[a-zA-Z0-9]{1,30}".prop_map(|d| Some(Place::Device(DeviceId::parse(&d).unwrap()))),
            "[a-zA-Z0-9]{1,30}".prop_map(|d| Some(Place::Page(DeviceId::parse(&d).unwrap())))
        ];
        let methods = prop::sample::select([&AuthMethod::ALL[..], &[AuthMethod::Tailnet]].concat());
        let resources = vec("https://[a-z]{1,20}\\.example/[a-z]{0,9}", 0..4);
        let lives = (times(), times(), times(), option::of(any::<u64>()));
        let actor = "[a-z]{1,20}".prop_map(|name| Actor {
            subject: Subject::tagged(&name).unwrap(),
            client: ClientId::parse(&name).unwrap(),
        });
        let origin = (0u8..3, any::<bool>(), option::of(vec(actor, 0..4)));
        let signed_in = (
            prop::sample::select(Acr::ALL.to_vec()),
            option::of(any::<[u8; 16]>().prop_map(SessionId::from_bytes)),
            any::<[u16; 2]>().prop_map(requested),
            option::of(any::<[u8; 32]>().prop_map(Thumbprint::from_bytes)),
        );
        (names, any::<IpAddr>(), "[ -~]{0,200}", resources, (methods, signed_in, origin), places, lives)
            .prop_filter_map(
                "a client id that looks like a user",
                |(
                    (client, user, device, listener),
                    address,
                    scope,
                    resources,
                    (method, signed_in, (kind, consented, actors)),
                    place,
                    times,
                )| {
                    Some(GrantFacts {
                        client: ClientId::parse(&client).ok()?,
                        subject: Subject::user(user),
                        holder: holder(
                            kind,
                            Seen {
                                device: DeviceId::parse(&device).ok()?,
                                address,
                                listener: Listener::parse(&listener).ok()?,
                            },
                        ),
                        consented,
                        exchange: actors.map(|actors| Exchange { parent: id(), actors }),
                        scope: Scope::parse(&scope),
                        resources: resources
                            .iter()
                            .map(|uri| ResourceIndicator::parse(uri).unwrap())
                            .collect(),
                        auth_time: times.0,
                        acr: signed_in.0,
                        session: signed_in.1,
                        requested: signed_in.2,
                        key: signed_in.3,
                        issued_at: times.1,
                        method,
                        place,
                        expires_at: times.2,
                        idle: times.3.map(Lifetime::from_secs),
                    })
                },
            )
    }

    fn holder(kind: u8, seen: Seen) -> Holder {
        match kind {
            0 => Holder::Person(seen),
            1 => Holder::Workload(seen),
            _ => Holder::Client,
        }
    }

    fn grants() -> impl Strategy<Value = Grant> {
        (facts(), any::<u32>(), times(), times(), option::of(times())).prop_map(
            |(facts, generation, rotated_at, last_used, revoked_at)| {
                let generation = Generation::from_number(generation);
                let state = GrantState { generation, rotated_at, last_used, revoked_at };
                Grant::from_stored(id(), facts, state)
            },
        )
    }

    #[expect(clippy::too_many_lines, reason = "one line a field")]
    fn specs() -> impl Strategy<Value = ClientSpec> {
        let lists = || vec("\\PC{0,30}", 0..5);
        let credentials = (any::<bool>(), vec(any::<[u8; 32]>(), 0..3));
        let rules = (
            option::of(prop::sample::select(AuthMethod::ALL.to_vec())),
            vec(prop::sample::select(GrantType::ALL.to_vec()), 0..3),
            prop::sample::select(vec![PkceRule::Required, PkceRule::OrNonce, PkceRule::Optional]),
            prop::sample::select(Algorithm::ALL.to_vec()),
        );
        let access = option::of((lists(), lists(), lists(), any::<bool>()));
        let keys = prop_oneof![
            Just(ClientKeys::None),
            "\\PC{0,30}".prop_map(ClientKeys::Inline),
            "\\PC{0,30}".prop_map(ClientKeys::Uri),
        ];
        let signed = (
            vec(prop::sample::select(VerifyAlgorithm::ALL.to_vec()), 0..4),
            option::of(prop::sample::select(VerifyAlgorithm::ALL.to_vec())),
            any::<[bool; 5]>(),
        );
        let logins = prop::sample::select(vec![Login::Ambient, Login::Session, Login::Confirm]);
        let algs = option::of(prop::sample::select(Algorithm::ALL.to_vec()));
        let logout = (lists(), option::of("\\PC{0,30}"));
        let more = (keys, signed, logins, algs, logout);
        let rest = (any::<[u64; 4]>(), any::<bool>(), any::<bool>(), more);
        ("\\PC{0,100}", credentials, lists(), rules, access, rest).prop_map(
            |(
                name,
                (public, secrets),
                redirect_uris,
                rules,
                access,
                (lives, id_token_claims, disabled, more),
            )| {
                let (keys, (assertion_algs, request_object_alg, flags), login, userinfo_alg, logout) = more;
                let [id_token, access_token, refresh_idle, refresh_absolute] = lives.map(Lifetime::from_secs);
                ClientSpec {
                    id: "app".to_owned(),
                    name,
                    public,
                    secrets: secrets.into_iter().map(SecretDigest::from_bytes).collect(),
                    keys,
                    signed: SignedRequests {
                        assertion_algs,
                        token_endpoint_audience: flags[0],
                        request_object_alg,
                        require_request_object: flags[1],
                    },
                    userinfo_alg,
                    login,
                    require_par: flags[2],
                    require_dpop: flags[3],
                    logout: LogoutSpec {
                        post_logout_redirect_uris: logout.0,
                        backchannel_uri: logout.1,
                        backchannel_session_required: flags[4],
                    },
                    redirect_uris,
                    strict_auth_method: rules.0,
                    grant_types: rules.1,
                    pkce: rules.2,
                    allow: access.map(|(users, groups, tags, capability)| Access {
                        users,
                        groups,
                        tags,
                        capability,
                    }),
                    id_token_alg: rules.3,
                    id_token_claims,
                    lives: Lives { id_token, access_token, refresh_idle, refresh_absolute },
                    disabled,
                }
            },
        )
    }

    fn clients() -> impl Strategy<Value = StoredClient> {
        (option::of(specs()), times(), times()).prop_map(|(spec, not_before, changed_at)| {
            let id = ClientId::parse("app").unwrap();
            StoredClient { id, spec, not_before, changed_at }
        })
    }

    /// `ClientSpec` has no equality, because digests have none: their bytes are compared here.
    fn shown(client: &StoredClient) -> (String, Vec<[u8; 32]>) {
        let digests = client.spec.iter().flat_map(|spec| &spec.secrets).map(|digest| *digest.as_bytes());
        (format!("{client:?}"), digests.collect())
    }

    proptest! {
        #[test]
        fn a_grant_comes_back_as_it_was(grant in grants()) {
            let bytes = encode_grant(&grant).unwrap();
            prop_assert_eq!(decode_grant(id(), &bytes), Ok(grant));
        }

        #[test]
        fn a_client_comes_back_as_it_was(client in clients()) {
            let bytes = encode_client(&client).unwrap();
            let back = decode_client(client.id.clone(), &bytes).unwrap();
            prop_assert_eq!(shown(&back), shown(&client));
        }

        #[test]
        fn meta_comes_back_as_it_was(highest in times(), epoch: u32, serial: u64) {
            let meta = Meta { highest, epoch: CodeEpoch(epoch), serial };
            prop_assert_eq!(decode_meta(&encode_meta(meta).unwrap()), Ok(meta));
        }

        /// Cut short it is an error at every place; so is anything that follows.
        #[test]
        fn a_part_of_a_record_is_none(grant in grants(), client in clients(), place: prop::sample::Index) {
            let bytes = encode_grant(&grant).unwrap();
            prop_assert!(decode_grant(id(), &bytes[..place.index(bytes.len())]).is_err());
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert_eq!(decode_grant(id(), &longer), Err(DecodeError::Trailing(1)));
            let bytes = encode_client(&client).unwrap();
            prop_assert!(decode_client(client.id.clone(), &bytes[..place.index(bytes.len())]).is_err());
            let longer = [bytes.as_slice(), &[7, 7]].concat();
            prop_assert_eq!(decode_client(client.id, &longer).err(), Some(DecodeError::Trailing(2)));
        }

        #[test]
        fn garbage_never_panics(mut bytes in vec(any::<u8>(), 0..400)) {
            let client = ClientId::parse("app").unwrap();
            for version in [None, Some(V1)] {
                if let (Some(first), Some(version)) = (bytes.first_mut(), version) {
                    *first = version;
                }
                let _ = decode_grant(id(), &bytes);
                let _ = decode_client(client.clone(), &bytes);
                let _ = decode_meta(&bytes);
            }
        }

        /// One wrong byte in a real record reaches deeper than noise does.
        #[test]
        fn a_flipped_byte_never_panics(grant in grants(), place: prop::sample::Index, byte: u8) {
            let mut bytes = encode_grant(&grant).unwrap();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = decode_grant(id(), &bytes);
        }
    }

    /// The bytes of version 1, written down: a change of this test is a change of the format, and needs a version 2.
    #[test]
    fn version_one_stays_as_it_is() {
        let bytes = [
            1, 3, b'a', b'p', b'p', 8, b'u', b's', b'e', b'r', b'i', b'd', b':', b'5', 0, 2, b'n', b'D', 0,
            100, 64, 0, 2, 4, b'h', b'o', b's', b't', 0, 0, 2, 6, b'o', b'p', b'e', b'n', b'i', b'd', 5,
            b'e', b'm', b'a', b'i', b'l', 1, 15, b'h', b't', b't', b'p', b's', b':', b'/', b'/', b'm', b'c',
            b'p', b'.', b'e', b'x', b'/', 10, 1, 0, 8, 1, 0, 11, 2, 2, 2, b'n', b'D', 0xe8, 7, 1, 100, 3, 12,
            13, 1, 14,
        ];
        let facts = GrantFacts {
            client: ClientId::parse("app").unwrap(),
            subject: Subject::user(5),
            holder: Holder::Person(Seen {
                device: DeviceId::parse("nD").unwrap(),
                address: "100.64.0.2".parse().unwrap(),
                listener: Listener::host(),
            }),
            consented: false,
            exchange: None,
            scope: Scope::parse("openid email"),
            resources: vec![ResourceIndicator::parse("https://mcp.ex/").unwrap()],
            auth_time: UnixTime::from_secs(10),
            acr: Acr::Confirmed,
            session: None,
            requested: RequestedClaims {
                id_token: ClaimSet::default().with("email"),
                userinfo: ClaimSet::default().with("name"),
            },
            key: None,
            issued_at: UnixTime::from_secs(11),
            method: AuthMethod::ClientSecretPost,
            place: Some(Place::Device(DeviceId::parse("nD").unwrap())),
            expires_at: UnixTime::from_secs(1_000),
            idle: Some(Lifetime::from_secs(100)),
        };
        let state = GrantState {
            generation: Generation::from_number(3),
            rotated_at: UnixTime::from_secs(12),
            last_used: UnixTime::from_secs(13),
            revoked_at: Some(UnixTime::from_secs(14)),
        };
        let grant = Grant::from_stored(id(), facts, state);
        assert_eq!(encode_grant(&grant).unwrap(), bytes);
        assert_eq!(decode_grant(id(), &bytes), Ok(grant));
        let client = StoredClient {
            id: ClientId::parse("app").unwrap(),
            spec: None,
            not_before: UnixTime::from_secs(300),
            changed_at: UnixTime::from_secs(7),
        };
        assert_eq!(encode_client(&client).unwrap(), [1, 0xac, 2, 7, 0]);
        let meta = Meta { highest: UnixTime::from_secs(300), epoch: CodeEpoch(2), serial: 9 };
        assert_eq!(encode_meta(meta).unwrap(), [1, 0xac, 2, 2, 9]);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let app = ClientId::parse("app").unwrap();
        assert_eq!(decode_grant(id(), &[]), Err(DecodeError::Empty));
        assert_eq!(decode_grant(id(), &[9, 1, 2]), Err(DecodeError::Version(9)));
        assert_eq!(decode_client(app, &[0, 1, 2]).err(), Some(DecodeError::Version(0)));
        assert_eq!(decode_meta(&[1, 0xff]), Err(DecodeError::Content));
        assert_eq!(method(5), Err(DecodeError::Value("authentication method")));
        assert_eq!(grant_type(5), Err(DecodeError::Value("grant type")));
        assert_eq!(pkce(3), Err(DecodeError::Value("PKCE rule")));
        assert_eq!(algorithm(3), Err(DecodeError::Value("signature algorithm")));
    }

    #[test]
    fn a_record_never_spills_into_blobs() {
        let spec = |uris: usize| ClientSpec {
            redirect_uris: vec!["https://app.example/a/path/of/some/length".repeat(8); uris],
            ..ClientSpec::default()
        };
        let of = |uris| StoredClient {
            id: ClientId::parse("app").unwrap(),
            spec: Some(spec(uris)),
            not_before: UnixTime::default(),
            changed_at: UnixTime::default(),
        };
        assert!(encode_client(&of(20)).unwrap().len() <= LONGEST_RECORD);
        assert!(
            matches!(encode_client(&of(30)), Err(StoreError::TooLarge { bytes }) if bytes > LONGEST_RECORD)
        );
    }
}
