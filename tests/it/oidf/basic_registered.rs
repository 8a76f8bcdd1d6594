//! `oidcc-basic-certification-test-plan` with registered clients.

use super::{browser::Mode, relying_party::Variant};

basic!(Variant::registered(Mode::Query));
registered!(Variant::registered(Mode::Query));
