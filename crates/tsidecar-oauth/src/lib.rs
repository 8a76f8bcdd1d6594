//! Every rule of OAuth 2.1 and OpenID Connect that tsidecar follows.
//!
//! The contract: nothing in this crate waits, reads a clock, draws a random byte, opens a file or a socket. Time and
//! fresh bytes are arguments. The one exception is [`jose`], whose key generation, ES256 nonces and RSA blinding come from
//! OpenSSL; it is called when keys are made and at respond only.
//!
//! A request **loads** what it needs, **decides** in pure functions of this crate, **commits** once, where the committer
//! **settles** the change on the current record ([`settle`]), then **signs** and **responds**.
//!
//! Layers; a module uses its own layer and lower ones:
//!
//! | Layer | Modules |
//! | --- | --- |
//! | 0, values | [`id`], [`secret`], [`fresh`], [`time`], [`params`], [`uri`], [`address`], [`scope`], [`pkce`], [`key`], [`algorithm`], [`mark`], [`acr`], [`requested`], [`excerpt`] |
//! | 1, things with a life | [`client`], [`metadata`], [`provenance`], [`assurance`], [`consent`], [`identity`], [`rule`], [`policy`], [`resource`], [`grant`], [`settle`], [`seal`], [`claims`], [`jose`], [`assertion`], [`dpop`], [`request_object`], [`rotation`], [`backchannel`], [`session`], [`hint`], [`workload`] |
//! | 2, one module per endpoint | [`client_auth`], [`cimd`], [`authorize`], [`par`], [`device`], [`token`], [`userinfo`], [`issued`], [`introspect`], [`revoke`], [`logout`], [`discovery`] |
//! | 3, the way out | [`error`] |
//!
//! Why things are as they are stands in [`decisions`].

#![deny(missing_docs)]

pub mod acr;
pub mod address;
pub mod algorithm;
pub mod assertion;
pub mod assurance;
pub mod authorize;
pub mod backchannel;
pub mod cimd;
pub mod claims;
pub mod client;
pub mod client_auth;
pub mod consent;
pub mod decisions;
pub mod device;
pub mod discovery;
pub mod dpop;
pub mod error;
pub mod excerpt;
pub mod fresh;
pub mod grant;
pub mod hint;
pub mod id;
pub mod identity;
pub mod introspect;
pub mod issued;
pub mod jose;
pub mod key;
pub mod logout;
pub mod mark;
pub mod metadata;
pub mod par;
pub mod params;
pub mod pkce;
pub mod policy;
pub mod provenance;
pub mod request_object;
pub mod requested;
pub mod resource;
pub mod revoke;
pub mod rotation;
pub mod rule;
pub mod scope;
pub mod seal;
pub mod secret;
pub mod session;
pub mod settle;
pub mod time;
pub mod token;
pub mod uri;
pub mod userinfo;
pub mod workload;
