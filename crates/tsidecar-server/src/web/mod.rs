//! HTTP around the endpoints: bodies in, answers and pages out. Knows no rule of OAuth and no store.

pub mod ask;
pub mod body;
pub mod consent;
pub mod cookie;
pub mod error;
pub mod form;
pub mod form_post;
pub mod header;
pub mod inbound;
pub mod navigation;
pub mod page;
pub mod response;
pub mod words;
