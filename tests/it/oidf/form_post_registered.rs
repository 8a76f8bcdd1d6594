//! `oidcc-formpost-basic-certification-test-plan` with registered clients: Basic, each response by `form_post`.

use super::{browser::Mode, relying_party::Variant};

basic!(Variant::registered(Mode::FormPost));
registered!(Variant::registered(Mode::FormPost));
