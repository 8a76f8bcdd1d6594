//! Known answers of others against our boundary: the appendices of the RFCs, and Wycheproof.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what is not as expected fails the test")]

mod rfc;
mod wycheproof;
