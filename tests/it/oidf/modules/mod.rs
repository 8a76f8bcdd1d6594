//! The modules of Basic, each for a variant of its plan: Form Post Basic has the same ones.

mod happy;
mod refusals;
mod registered;
mod sessions;
mod tokens;

pub(super) use self::{happy::*, refusals::*, registered::*, sessions::*, tokens::*};
