//! `oidcc-basic-certification-test-plan` with static clients.

use super::browser::Mode;

basic!(Mode::Query);
