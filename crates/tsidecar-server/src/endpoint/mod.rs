//! One file per URL: load, decide, commit, sign, respond. Endpoints never call each other; only the router names them.

pub mod admin;
pub mod authorize;
pub mod consents;
pub mod device;
pub mod device_authorization;
pub mod health;
pub mod introspect;
pub mod logout;
pub mod par;
pub mod register;
pub mod revoke;
mod stay;
pub mod token;
pub mod userinfo;
