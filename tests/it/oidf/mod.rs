//! What the OpenID Foundation's suite checks of a provider, as tests of our own: one per module, with the module's name.
//!
//! Written from the specifications and from reference/oauth.md part 3; nothing of the suite itself runs here, so a green run
//! is no run of the suite, and no certification. The suite's warnings are failures here.
//!
//! | Plan of the suite | Variant | Modules | Here |
//! | --- | --- | --- | --- |
//! | `oidcc-config-certification-test-plan` | | 1 | `config` |
//! | `oidcc-basic-certification-test-plan` | static clients | 35 | `basic`, written in `modules` |
//! | the same | registered clients | 38 | `basic_registered` |
//! | `oidcc-formpost-basic-certification-test-plan` | static clients | 35 | `form_post`, written in `modules` |
//! | the same | registered clients | 38 | `form_post_registered` |
//! | `oidcc-dynamic-certification-test-plan` | `response_type=code` | 21 of 23 | `dynamic`, which says what is left out |
//! | `oidcc-3rdparty-init-login-certification-test-plan` | `response_type=code` | 2 | `third_party_login` |
//! | `oidcc-rp-initiated-logout-certification-test-plan` | `response_type=code`, static clients | 11 | `rp_logout` |
//! | `oidcc-backchannel-rp-initiated-logout-certification-test-plan` | the same | 2 | `backchannel` |
//! | `fapi2-security-profile-final-test-plan` | `private_key_jwt`, `dpop`, `plain_fapi`, `openid_connect` | 56 | `fapi2` |
//! | the same | `private_key_jwt`, `dpop`, `fapi_client_credentials_grant` | 14 | `fapi2_client_credentials` |
//!
//! A test has the module's name with `_` for `-`. Basic has 38 modules, of which three run with registered clients only
//! (`oidcc-idtoken-signature`, `oidcc-idtoken-unsigned`, `oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported`).
//! A registered client is a stranger here: without more, the suite would meet the page that asks for consent. In the plans of Basic
//! the first client is therefore approved by `tsidecar client approve` between its registration and the first request, because modules
//! begin with an error that goes back to the client, and nobody is sent back with one to a client that nobody has approved or allowed.
//! The others are allowed by the person, once. Who runs the suite itself does the same.
//!
//! A module that the suite skips because the metadata does not advertise something (`address`, `phone`, unsigned request
//! objects) has a test as well: that it is not advertised, and that whoever asks for it anyway is answered rightly.
//!
//! `browser` is the suite's browser, `relying_party` its clients and the happy flow with every check on the way, `checks` the
//! checks themselves.

mod browser;
mod checks;
mod modules;
mod plans;
mod relying_party;

/// A test per module, each calling the function of that name with a variant.
macro_rules! plan {
    ($variant:expr; $($module:ident)*) => {
        $(
            #[test]
            fn $module() {
                crate::oidf::modules::$module($variant.into());
            }
        )*
    };
}

/// The modules of Basic for a variant.
macro_rules! basic {
    ($variant:expr) => {
        plan! { $variant;
            oidcc_server
            oidcc_response_type_missing
            oidcc_userinfo_get
            oidcc_userinfo_post_header
            oidcc_userinfo_post_body
            oidcc_ensure_request_without_nonce_succeeds_for_code_flow
            oidcc_scope_profile
            oidcc_scope_email
            oidcc_scope_address
            oidcc_scope_phone
            oidcc_scope_all
            oidcc_alternate_happy_flow
            oidcc_display_page
            oidcc_display_popup
            oidcc_prompt_login
            oidcc_prompt_none_not_logged_in
            oidcc_prompt_none_logged_in
            oidcc_max_age_1
            oidcc_max_age_10000
            oidcc_ensure_request_with_unknown_parameter_succeeds
            oidcc_id_token_hint
            oidcc_login_hint
            oidcc_ui_locales
            oidcc_claims_locales
            oidcc_ensure_request_with_acr_values_succeeds
            oidcc_codereuse
            oidcc_codereuse_30seconds
            oidcc_ensure_registered_redirect_uri
            oidcc_ensure_post_request_succeeds
            oidcc_server_client_secret_post
            oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported
            oidcc_claims_essential
            oidcc_ensure_request_object_with_redirect_uri
            oidcc_refresh_token
            oidcc_ensure_request_with_valid_pkce_succeeds
        }
    };
}

/// The modules of Basic that run with registered clients only.
macro_rules! registered {
    ($variant:expr) => {
        plan! { $variant;
            oidcc_idtoken_signature
            oidcc_idtoken_unsigned
            oidcc_request_uri_unsigned_supported_correctly_or_rejected_as_unsupported
        }
    };
}

mod backchannel;
mod basic;
mod basic_registered;
mod config;
mod dynamic;

mod fapi2;
mod fapi2_client_credentials;
mod form_post;
mod form_post_registered;
mod rp_logout;
mod third_party_login;
