//! `oidcc-formpost-basic-certification-test-plan` with static clients: Basic, each response by `form_post`.

use super::browser::Mode;

basic!(Mode::FormPost);
