//! The modules of Basic, each for a response mode: Form Post Basic has the same ones.

mod happy;
mod refusals;
mod sessions;
mod tokens;

pub(super) use self::{happy::*, refusals::*, sessions::*, tokens::*};
