//! The content of a device authorization's record; its key is the user code.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tsidecar_oauth::device::{
    Approval, DeviceAnswer, DeviceAuthorization, DeviceCodeDigest, DeviceRequest, Owner, Requester,
};
use tsidecar_oauth::id::{ClientId, DeviceId, GrantId, Listener, Subject};
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::uri::ResourceIndicator;

use super::{PlaceV1, decode_kept, encode_kept};

/// A device authorization as its record holds it.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct DeviceV1<'a> {
    client: Cow<'a, ClientId>,
    scope: Cow<'a, Scope>,
    resources: Cow<'a, [ResourceIndicator]>,
    code: [u8; 32],
    requester: Option<RequesterV1<'a>>,
    place: PlaceV1<'a>,
    started_at: UnixTime,
    expires_at: UnixTime,
    answer: AnswerV1<'a>,
}

#[derive(Serialize, Deserialize)]
struct RequesterV1<'a> {
    device: Cow<'a, DeviceId>,
    name: Cow<'a, str>,
    /// Subject and name; none for a tagged node.
    owner: Option<(Cow<'a, Subject>, Cow<'a, str>)>,
}

#[derive(Serialize, Deserialize)]
enum AnswerV1<'a> {
    None,
    Denied,
    Approved {
        grant: GrantId,
        subject: Cow<'a, Subject>,
        device: Cow<'a, DeviceId>,
        address: IpAddr,
        listener: Cow<'a, Listener>,
        at: UnixTime,
        consented: bool,
    },
}

impl<'a> DeviceV1<'a> {
    /// The content for an authorization.
    pub(in crate::store) fn of(authorization: &'a DeviceAuthorization) -> Self {
        let request = &authorization.request;
        Self {
            client: Cow::Borrowed(&request.client),
            scope: Cow::Borrowed(&request.scope),
            resources: Cow::Borrowed(&request.resources),
            code: *request.code.as_bytes(),
            requester: request.requester.as_ref().map(RequesterV1::of),
            place: PlaceV1::of(request.place.as_ref()),
            started_at: request.started_at,
            expires_at: request.expires_at,
            answer: AnswerV1::of(authorization.answer.as_ref()),
        }
    }
}

impl From<DeviceV1<'_>> for DeviceAuthorization {
    fn from(v1: DeviceV1<'_>) -> Self {
        let request = DeviceRequest {
            client: v1.client.into_owned(),
            scope: v1.scope.into_owned(),
            resources: v1.resources.into_owned(),
            code: DeviceCodeDigest::from_bytes(v1.code),
            requester: v1.requester.map(Into::into),
            place: v1.place.into(),
            started_at: v1.started_at,
            expires_at: v1.expires_at,
        };
        Self { request, answer: v1.answer.into() }
    }
}

impl<'a> RequesterV1<'a> {
    fn of(requester: &'a Requester) -> Self {
        let owner = match &requester.owner {
            Owner::Person { subject, name } => Some((Cow::Borrowed(subject), Cow::Borrowed(name.as_str()))),
            Owner::Tagged => None,
        };
        Self { device: Cow::Borrowed(&requester.device), name: Cow::Borrowed(&requester.name), owner }
    }
}

impl From<RequesterV1<'_>> for Requester {
    fn from(v1: RequesterV1<'_>) -> Self {
        let person = |(subject, name): (Cow<'_, Subject>, Cow<'_, str>)| Owner::Person {
            subject: subject.into_owned(),
            name: name.into_owned(),
        };
        let owner = v1.owner.map_or(Owner::Tagged, person);
        Self { device: v1.device.into_owned(), name: v1.name.into_owned(), owner }
    }
}

impl<'a> AnswerV1<'a> {
    fn of(answer: Option<&'a DeviceAnswer>) -> Self {
        match answer {
            None => Self::None,
            Some(DeviceAnswer::Denied) => Self::Denied,
            Some(DeviceAnswer::Approved(approval)) => Self::Approved {
                grant: approval.grant,
                subject: Cow::Borrowed(&approval.subject),
                device: Cow::Borrowed(&approval.device),
                address: approval.address,
                listener: Cow::Borrowed(&approval.listener),
                at: approval.at,
                consented: approval.consented,
            },
        }
    }
}

impl From<AnswerV1<'_>> for Option<DeviceAnswer> {
    fn from(v1: AnswerV1<'_>) -> Self {
        match v1 {
            AnswerV1::None => None,
            AnswerV1::Denied => Some(DeviceAnswer::Denied),
            AnswerV1::Approved { grant, subject, device, address, listener, at, consented } => {
                Some(DeviceAnswer::Approved(Approval {
                    grant,
                    subject: subject.into_owned(),
                    device: device.into_owned(),
                    address,
                    listener: listener.into_owned(),
                    at,
                    consented,
                }))
            }
        }
    }
}

/// As [`survives`](super::survives), for this record.
pub(super) fn survives(bytes: &[u8]) -> bool {
    let Ok((until, v1)) = decode_kept::<DeviceV1<'_>>(bytes) else { return true };
    let authorization = DeviceAuthorization::from(v1);
    // Garbage may be longer than a record may be.
    let Ok(again) = encode_kept(until, &DeviceV1::of(&authorization)) else { return true };
    decode_kept::<DeviceV1<'_>>(&again)
        .is_ok_and(|(same, v1)| same == until && DeviceAuthorization::from(v1) == authorization)
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use tsidecar_oauth::fresh::FreshId;
    use tsidecar_oauth::grant::Place;

    use super::*;
    use crate::store::record::LONGEST_RECORD;

    fn times() -> impl Strategy<Value = UnixTime> {
        any::<u64>().prop_map(UnixTime::from_secs)
    }

    fn devices() -> impl Strategy<Value = DeviceId> {
        "[a-zA-Z0-9]{1,30}".prop_map(|text| DeviceId::parse(&text).unwrap())
    }

    fn requesters() -> impl Strategy<Value = Requester> {
        let owner = option::of((any::<i64>(), "\\PC{0,100}"));
        (devices(), "\\PC{0,100}", owner).prop_map(|(device, name, owner)| {
            let person = |(user, name)| Owner::Person { subject: Subject::user(user), name };
            Requester { device, name, owner: owner.map_or(Owner::Tagged, person) }
        })
    }

    fn answers() -> impl Strategy<Value = Option<DeviceAnswer>> {
        let approval = (any::<[u8; 16]>(), any::<i64>(), devices(), any::<IpAddr>(), times(), any::<bool>());
        let approval = approval.prop_map(|(fresh, user, device, address, at, consented)| {
            let subject = Subject::user(user);
            let grant = GrantId::new(&subject, FreshId::from_bytes(fresh));
            let listener = Listener::host();
            let approval = Approval { grant, subject, device, address, listener, at, consented };
            Some(DeviceAnswer::Approved(approval))
        });
        prop_oneof![Just(None), Just(Some(DeviceAnswer::Denied)), approval]
    }

    fn authorizations() -> impl Strategy<Value = DeviceAuthorization> {
        let asked = ("[a-z]{1,40}", "[ -~]{0,200}", any::<[u8; 32]>(), option::of(requesters()));
        let place = prop_oneof![
            Just(None),
            Just(Some(Place::Outside)),
            devices().prop_map(|device| Some(Place::Device(device))),
            devices().prop_map(|device| Some(Place::Page(device))),
        ];
        (asked, place, times(), times(), answers()).prop_map(
            |((client, scope, code, requester), place, started_at, expires_at, answer)| {
                let request = DeviceRequest {
                    client: ClientId::parse(&client).unwrap(),
                    scope: Scope::parse(&scope),
                    resources: vec![ResourceIndicator::parse("https://mcp.example/mcp").unwrap()],
                    code: DeviceCodeDigest::from_bytes(code),
                    requester,
                    place,
                    started_at,
                    expires_at,
                };
                DeviceAuthorization { request, answer }
            },
        )
    }

    proptest! {
        #[test]
        fn an_authorization_comes_back_as_it_was(authorization in authorizations(), place: prop::sample::Index) {
            let bytes = encode_kept(authorization.kept_until(), &DeviceV1::of(&authorization)).unwrap();
            prop_assert!(bytes.len() <= LONGEST_RECORD);
            let (until, v1): (_, DeviceV1<'_>) = decode_kept(&bytes).unwrap();
            prop_assert_eq!(until, authorization.kept_until());
            prop_assert_eq!(DeviceAuthorization::from(v1), authorization);
            let cut = bytes.get(..place.index(bytes.len())).unwrap();
            prop_assert!(decode_kept::<DeviceV1<'_>>(cut).is_err());
        }

        #[test]
        fn a_flipped_byte_never_panics(authorization in authorizations(), place: prop::sample::Index, byte: u8) {
            let mut bytes = encode_kept(authorization.kept_until(), &DeviceV1::of(&authorization)).unwrap();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            prop_assert!(survives(&bytes));
        }
    }
}
