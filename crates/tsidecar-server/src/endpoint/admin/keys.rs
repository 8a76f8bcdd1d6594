//! `/admin/keys/rotate`: new keys by command, and keys that somebody else may hold.

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::rotation::{Haste, KeyKind, in_use};

use super::error::AdminError;
use super::shape::{KeysAnswer, KeysRequest};
use super::{answer, read_json};
use crate::keys::KeyInfo;
use crate::keys::rotation::Bench;
use crate::web::response::Answer;

/// The path.
pub(super) const ROTATE: &str = "/admin/keys/rotate";

pub(super) async fn rotate<B>(bench: Bench<'_>, request: Request<B>) -> Result<Answer, AdminError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if request.method() != Method::POST {
        return Err(AdminError::Method("POST"));
    }
    let asked: KeysRequest = read_json(request).await?;
    let changes = match asked {
        KeysRequest { compromised: Some(id), kind: None, now: false } => bench.replace(id).await?,
        KeysRequest { compromised: None, kind, now } => {
            let haste = if now { Haste::Now } else { Haste::InTime };
            bench.rotate(kind.map_or_else(|| in_use_now(bench), |kind| vec![kind]), haste).await?
        }
        KeysRequest { compromised: Some(_), .. } => {
            let text = "compromised stands alone: it says which key, and that it goes at once";
            return Err(AdminError::Invalid(text.to_owned()));
        }
    };
    let snapshot = bench.snapshot.load();
    let keys = KeyInfo::all(&snapshot.keys, &snapshot.key_policy());
    answer(StatusCode::OK, &KeysAnswer { changes, keys })
}

fn in_use_now(bench: Bench<'_>) -> Vec<KeyKind> {
    let snapshot = bench.snapshot.load();
    KeyKind::ALL.into_iter().filter(|kind| in_use(&snapshot.keys, *kind).is_some()).collect()
}
