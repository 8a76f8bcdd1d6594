//! Black-box tests: the real binary, each test on a daemon, a folder and a scripted tailnet of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]

mod support;

mod authorize;
mod backchannel;
mod cimd;
mod cimd_withdrawn;
mod client_credentials;
mod confirm_page;
mod consent;
mod consent_documents;
mod consent_page;
mod consents;
mod cors;
mod device;
mod discovery;
mod dpop;
mod dpop_fapi;
mod dpop_proofs;
mod exchange;
mod flow_code;
mod flow_refresh;
mod form_post;
mod grants;
mod introspect;
mod keys;
mod killed;
mod limits;
mod log_leak;
mod logout;
mod metadata;
mod oidf;
mod outbound;
mod par;
mod policy;
mod private_key_jwt;
mod prompt;
mod refresh_races;
mod register;
mod register_manage;
mod request_object;
mod resource;
mod resource_command;
mod resource_rules;
mod resource_step_up;
mod restart;
mod revoke;
mod services;
mod session;
mod steering;
mod systemd;
mod token;
mod trust;
mod userinfo;
mod workload;

#[path = "../attacks/mod.rs"]
mod attacks;
